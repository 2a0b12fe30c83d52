//! Layers, origins, and what is said about a wrong value.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sinew_node::{Config, ConfigError, KEYS, Key, Loader, LogFormat, Mesh, Origin};

fn read(text: &str) -> Result<sinew_node::Loaded, ConfigError> {
    Loader::new(Config::default()).toml(Path::new("sinew.toml"), text)?.finish()
}

fn complaint(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

fn var(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn key(name: &str) -> &'static Key {
    Key::find(name).expect("the key is known")
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "realm = \"file\"\nopen = true\n[limits]\nmax_clients = 7\nidle-timeout = \"90s\"\n";
    let variables = [var("SINEW_REALM", "env"), var("SINEW_OPEN", "false"), var("SINEW_LIMITS_MAX_CLIENTS", "")];
    let loaded = Loader::new(Config::default())
        .toml(Path::new("sinew.toml"), file)
        .and_then(|loader| loader.environment(variables))
        .and_then(|loader| loader.flag("realm", "--realm", &["flag".to_owned()]))
        .and_then(Loader::finish)
        .expect("all layers are fine");
    assert_eq!(loaded.config.realm, "flag");
    assert_eq!(loaded.origin(key("realm")), &Origin::Flag("--realm".to_owned()));
    assert!(!loaded.config.open);
    assert_eq!(loaded.origin(key("open")), &Origin::Environment("SINEW_OPEN".to_owned()));
    assert_eq!(loaded.config.limits.max_clients, 7, "an empty variable counts as not set");
    assert_eq!(loaded.origin(key("limits.max_clients")), &Origin::File(PathBuf::from("sinew.toml"), 4));
    assert_eq!(loaded.config.limits.idle_timeout, Duration::from_secs(90), "- and _ are the same in a name");
    assert_eq!(loaded.origin(key("limits.keep_alive")), &Origin::Default);
}

#[test]
fn errors_name_the_line_the_key_and_what_to_do() {
    for (text, expected) in [
        ("realm = \"a\"\n\nrealms = \"b\"\n", "sinew.toml:3: unknown key \"realms\"; did you mean \"realm\"?"),
        (
            "[limits]\nmax_cleints = 3\n",
            "sinew.toml:2: unknown key \"limits.max_cleints\"; did you mean \"limits.max_clients\"?",
        ),
        ("max_clients = 3\n", "sinew.toml:1: unknown key \"max_clients\"; did you mean \"limits.max_clients\"?"),
        ("[quantum]\nfoam = 1\n", "sinew.toml:1: unknown key \"quantum\""),
        (
            "[limits]\nidle_timeout = 60\n",
            "sinew.toml:2: limits.idle_timeout: \"60\" needs a unit: write it like 60s or 60ms",
        ),
        (
            "\n[limits]\nmax_clients = -1\n",
            "sinew.toml:3: limits.max_clients: \"-1\" is not a whole number of 0 or more",
        ),
        ("realm = [\"a\", \"b\"]\n", "sinew.toml:1: realm: expects one value, not a list"),
        ("[realm]\nname = \"a\"\n", "sinew.toml:1: realm: expects a text, a number or a list, not a table"),
        ("limits = 3\n", "sinew.toml:1: unknown key \"limits\""),
        ("open = \"maybe\"\n", "sinew.toml:1: open: \"maybe\" is neither true nor false"),
        ("data_dir = \"a\"\ndata-dir = \"b\"\n", "sinew.toml:2: data_dir: was given before, at sinew.toml:1"),
        (
            "[limits]\nmax_queue_bytes = \"4 parsecs\"\n",
            "sinew.toml:2: limits.max_queue_bytes: unknown unit \"parsecs\": sizes are written like 512B, 64KiB, 4MiB, 1GiB",
        ),
        ("[limits]\nmax_clients = 0\n", "sinew.toml:2: limits.max_clients: has to be at least 1"),
        (
            "[limits]\nkeep_alive = \"40s\"\n",
            "sinew.toml:2: limits.keep_alive: 40s is more than half of limits.idle_timeout (1m): links would be cut \
             between two pings",
        ),
        (
            "[limits]\nmax_message_bytes = \"2MiB\"\n",
            "sinew.toml:2: limits.max_message_bytes: 2MiB is more than the protocol carries, 1MiB",
        ),
    ] {
        assert_eq!(complaint(text), expected);
    }
    let syntax = complaint("realm = \"a\"\nopen = \n");
    assert!(syntax.starts_with("sinew.toml:2: "), "{syntax}");
    let twice = complaint("realm = \"a\"\nrealm = \"b\"\n");
    assert!(twice.starts_with("sinew.toml:2: "), "{twice}");
    let missing = Loader::new(Config::default()).file(Path::new("/nowhere/sinew.toml")).expect_err("there is no file");
    assert!(missing.to_string().starts_with("/nowhere/sinew.toml: "), "{missing}");
}

#[test]
fn unknown_variables_are_refused_where_they_can_only_be_ours() {
    let load = |name: &str| Loader::new(Config::default()).environment([var(name, "1")]).map(|_| ());
    assert!(load("SINEW_SERVER").is_ok());
    assert!(load("SINEW_PORT").is_ok());
    let error = load("SINEW_LIMITS_MAX_CLIENT").expect_err("a typing error").to_string();
    assert_eq!(
        error,
        "SINEW_LIMITS_MAX_CLIENT: unknown key \"limits.max_client\"; did you mean \"limits.max_clients\"?"
    );
}

#[test]
fn other_hosts_are_let_in_only_on_request() {
    for listen in ["quic://0.0.0.0:4400", "tls://192.0.2.7:4400", "tls://[::]:4400", "quic://example.org:4400"] {
        let text = complaint(&format!("listen = \"{listen}\"\n"));
        assert!(text.starts_with("sinew.toml:1: listen: "), "{text}");
        assert!(text.contains(listen) && text.contains("--open"), "{text}");
        assert!(read(&format!("open = true\nlisten = \"{listen}\"\n")).is_ok());
    }
    for listen in ["quic://127.0.0.1:4400", "tls://[::1]:0", "tls://localhost:0", "unix:///tmp/sinew.sock"] {
        assert!(read(&format!("listen = [\"{listen}\"]\n")).is_ok(), "{listen}");
    }
    let admin = complaint("admin = \"0.0.0.0:4600\"\n");
    assert!(admin.starts_with("sinew.toml:1: admin: 0.0.0.0:4600 can be reached from other hosts"), "{admin}");
}

#[test]
fn listeners_have_defaults_that_follow_the_data_directory() {
    let names = |config: &Config| config.listeners().iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut config = Config::default();
    assert_eq!(names(&config), ["quic://127.0.0.1:4400", "tls://127.0.0.1:4400"]);
    config.data_dir = Some(PathBuf::from("/var/lib/sinew"));
    assert_eq!(names(&config)[2], "unix:///var/lib/sinew/sinew.sock");
    assert_eq!(config.identity_file(), Some(PathBuf::from("/var/lib/sinew/identity")));
    let loaded = read("listen = [\"quic://127.0.0.1:1\", \"tls://127.0.0.1:2,tls://127.0.0.1:3\"]\n").expect("is fine");
    assert_eq!(names(&loaded.config), ["quic://127.0.0.1:1", "tls://127.0.0.1:2", "tls://127.0.0.1:3"]);
    let twice = complaint("listen = [\"tls://127.0.0.1:2\", \"tls://127.0.0.1:2\"]\n");
    assert_eq!(twice, "sinew.toml:1: listen: tls://127.0.0.1:2 is there twice");
    assert_eq!(complaint("listen = []\n"), "sinew.toml:1: listen: is empty: nobody could connect");
}

#[test]
fn every_key_has_one_name_one_variable_and_a_value() {
    let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    let variables: BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
    assert_eq!(names.len(), KEYS.len());
    assert_eq!(variables.len(), KEYS.len());
    for key in KEYS {
        assert!(!key.help.is_empty(), "{}", key.name);
    }
    assert_eq!(key("limits.max_clients").variable(), "SINEW_LIMITS_MAX_CLIENTS");
    assert_eq!(key("data-dir").variable(), "SINEW_DATA_DIR");
}

#[test]
fn the_mesh_is_configured_by_table_and_by_flag() {
    let table = read("[mesh]\nlisten = \"off\"\nbootstrap = [\"/dns4/a/tcp/4500\"]\nuse_relays = \"always\"\n")
        .expect("is fine");
    assert_eq!(table.config.mesh.listeners(), [""; 0]);
    let flags =
        read("mesh = [\"/ip4/127.0.0.1/tcp/1\"]\nbootstrap = \"/dns4/a/tcp/1,/dns4/b/tcp/1\"\n").expect("is fine");
    assert_eq!(flags.config.mesh.listeners(), ["/ip4/127.0.0.1/tcp/1"]);
    assert_eq!(flags.config.mesh.bootstrap.len(), 2);
    assert_eq!(
        (key("mesh").variable(), key("mesh.bootstrap").variable()),
        ("SINEW_MESH".into(), "SINEW_BOOTSTRAP".into())
    );
    for (wrong, key) in [
        ("mesh = \"/ip4/0.0.0.0/tcp/1\"", "mesh.listen"),
        ("bootstrap = \"node1:4500\"", "mesh.bootstrap"),
        ("[mesh]\nadvertise = \"unix:///run/s.sock\"", "mesh.advertise"),
        ("[mesh]\npool_max = 0", "mesh.pool_max"),
    ] {
        let error = read(wrong).expect_err(wrong).to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn what_is_shown_reads_back() {
    let file = "admin = \"off\"\nrealm = \"a\"\ndata_dir = \"/var/\\\"odd\\\"\"\n[log]\nformat = \"json\"\n\
                [limits]\nqueue_memory = \"1GiB\"\ndedup_window = \"1m 30s\"\nmax_clients = 0x10\n";
    let loaded = read(file).expect("is fine");
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(loaded.config.limits.max_clients, 16);
    let shown = loaded.to_toml();
    let again = read(&shown).unwrap_or_else(|e| panic!("{e}\n{shown}"));
    assert_eq!(again.config.listeners(), loaded.config.listeners());
    assert_eq!(again.config.identity_file(), loaded.config.identity_file());
    assert_eq!(again.config.mesh.listeners(), loaded.config.mesh.listeners());
    let fixed = |config: &Config| {
        let mesh = Mesh { listen: None, ..config.mesh.clone() };
        Config { listen: None, identity: None, mesh, ..config.clone() }
    };
    assert_eq!(fixed(&again.config), fixed(&loaded.config), "\n{shown}");
    assert!(shown.contains("queue_memory = \"1GiB\""), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("realm = \"a\"") && line.ends_with("# sinew.toml:2")), "{shown}");
    assert!(
        shown.lines().any(|line| line.starts_with("keep_alive = \"15s\"") && line.ends_with("# default")),
        "{shown}"
    );

    let rows = loaded.to_json();
    assert_eq!(rows["limits.queue_memory"], json!({ "value": "1GiB", "origin": "sinew.toml:7" }));
    assert_eq!(rows["limits.max_clients"]["value"], json!(16));
    assert_eq!(rows["open"], json!({ "value": false, "origin": "default" }));
}

#[test]
fn the_admin_token_is_checked_and_never_shown() {
    let token = "a-token.of_some~LENGTH-16";
    let loaded = read(&format!("admin_token = \"{token}\"\n")).expect("is fine");
    assert_eq!(loaded.config.admin_token.as_ref().map(sinew_node::Secret::reveal), Some(token));
    let shown = [loaded.to_toml(), loaded.to_json().to_string(), format!("{:?}", loaded.config)];
    for text in &shown {
        assert!(text.contains("***") && !text.contains(token), "{text}");
    }
    let again = read(&shown[0]).expect("what is shown can be read");
    assert_eq!(again.config.admin_token, None, "a mask is no token");
    for (wrong, problem) in [
        ("fifteen-letters", "admin_token: is 15 bytes long, not 16 to 128"),
        (&*"x".repeat(129), "admin_token: is 129 bytes long, not 16 to 128"),
        ("sixteen letters!", "admin_token: has something other than letters"),
    ] {
        let error = complaint(&format!("admin_token = \"{wrong}\"\n"));
        assert!(error.contains(problem) && !error.contains(wrong), "{error}");
    }
}
