//! The binary by itself: configuration, keys, health, start-up errors, measuring.

use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sinew_tests::{Node, Running, binary, sinew, soon};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

/// Runs the binary with these variables and no others of ours.
async fn sinew_with(variables: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    Ok(soon("the end of the command", command.output()).await??)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn configuration_is_shown_with_its_origins() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("sinew.toml");
    std::fs::write(
        &file,
        "realm = \"file\"\nadmin = \"off\"\n\n[limits]\nmax_clients = 5\nmax_queue_bytes = \"8MiB\"\n",
    )?;
    let path = file.to_str().context("a plain path")?;
    let variables = [("SINEW_CONFIG", path), ("SINEW_REALM", "env"), ("SINEW_LIMITS_MAX_CLIENTS", "6"), ("HOME", "/h")];
    let flags = ["config", "show", "--set", "limits.max_clients=7", "--listen", "tls://127.0.0.1:1"];

    let shown = sinew_with(&variables, &[&flags[..], &["--json"]].concat()).await?;
    let shown: Value = serde_json::from_slice(&shown.stdout).with_context(|| text(&shown.stderr))?;
    for (key, value, origin) in [
        ("realm", json!("env"), "SINEW_REALM".to_owned()),
        ("admin", json!("off"), format!("{path}:2")),
        ("limits.max_clients", json!(7), "--set".to_owned()),
        ("limits.max_queue_bytes", json!("8MiB"), format!("{path}:6")),
        ("listen", json!(["tls://127.0.0.1:1"]), "--listen".to_owned()),
        ("data_dir", json!("/h/.local/share/sinew"), "default".to_owned()),
        ("limits.keep_alive", json!("15s"), "default".to_owned()),
    ] {
        assert_eq!(shown[key], json!({ "value": value, "origin": origin }), "{key}");
    }

    let toml = sinew_with(&variables, &flags).await?;
    let copy = dir.path().join("copy.toml");
    std::fs::write(&copy, &toml.stdout)?;
    let check = sinew_with(&[], &["config", "check", "--config", copy.to_str().context("a plain path")?]).await?;
    assert!(check.status.success(), "what is shown can be read: {}\n{}", text(&check.stderr), text(&toml.stdout));
    Ok(())
}

#[tokio::test]
async fn a_wrong_configuration_is_a_usage_error_that_names_the_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("sinew.toml");
    std::fs::write(&file, "realm = \"a\"\nlisten = [\"tls://0.0.0.0:4400\"]\n")?;
    let path = file.to_str().context("a plain path")?;
    let refused = sinew(&["up", "--config", path]).await?;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    ensure!(refused.stderr.contains(&format!("{path}:2: listen: tls://0.0.0.0:4400 ")), "{}", refused.stderr);
    ensure!(refused.stderr.contains("--open"), "says what to do: {}", refused.stderr);

    std::fs::write(&file, "[limits]\n\nmax_cleints = 3\n")?;
    let unknown = sinew(&["config", "check", "--config", path]).await?;
    assert_eq!(unknown.code, Some(2));
    ensure!(unknown.stderr.contains(&format!("{path}:3: unknown key \"limits.max_cleints\"")), "{}", unknown.stderr);

    let embedded = sinew(&["up", "--listen", "memory://x"]).await?;
    assert_eq!(embedded.code, Some(2));
    ensure!(embedded.stderr.contains("--listen: listen: memory://x is for programs that embed"), "{}", embedded.stderr);

    for arguments in
        [&["up", "--nodes", "0"][..], &["up", "--listen", "http://x"], &["pub"], &["config", "show", "--set", "a"]]
    {
        assert_eq!(sinew(arguments).await?.code, Some(2), "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_taken_is_named_at_the_start() -> Result<()> {
    let node = Node::start(&[]).await?;
    let tls = node.url("tls");
    let dir = tempfile::tempdir()?;
    let fresh = dir.path().to_str().context("a plain path")?;
    let port = sinew(&["up", "--data-dir", fresh, "--admin", "off", "--mesh", "off", "--listen", &tls]).await?;
    assert_eq!(port.code, Some(1));
    ensure!(port.stderr.contains(&format!("{tls} is in use by another process")), "{}", port.stderr);

    let used = node.data_dir().to_str().context("a plain path")?;
    let both =
        sinew(&["up", "--data-dir", used, "--admin", "off", "--mesh", "off", "--listen", "tls://127.0.0.1:0"]).await?;
    assert_eq!(both.code, Some(1));
    ensure!(both.stderr.contains("another node is using it"), "{}", both.stderr);
    Ok(())
}

#[tokio::test]
async fn a_node_is_ready_in_words_open_when_told_and_ends_on_a_signal() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path().to_str().context("a plain path")?;
    let flags = [
        "up",
        "--data-dir",
        dir,
        "--admin",
        "127.0.0.1:0",
        "--open",
        "--mesh",
        "off",
        "--listen",
        "tls://0.0.0.0:0",
        "-q",
    ];
    let mut node = Running::start(&flags)?;
    let line = node.line().await?.context("a ready line")?;
    ensure!(line.starts_with("ready: node 12D3KooW") && line.contains("tls://0.0.0.0:"), "{line}");
    ensure!(line.ends_with("open to anyone who names the realm"), "{line}");
    let admin = line.split("http://").nth(1).and_then(|rest| rest.split(',').next()).context("an admin address")?;

    let healthy = sinew(&["healthcheck", "--admin", admin, "--json"]).await?;
    assert_eq!(healthy.code, Some(0), "{}", healthy.stderr);
    assert_eq!(healthy.json()?[0]["report"]["open"], json!(true));
    sinew_tests::signal(node.pid(), rustix::process::Signal::INT)?;
    assert_eq!(node.end().await?, Some(0));
    let gone = sinew(&["healthcheck", "--admin", admin]).await?;
    assert_eq!(gone.code, Some(1), "{}", gone.stderr);
    Ok(())
}

#[tokio::test]
async fn keys_are_made_once_and_shown() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("keys").join("client");
    let path = file.to_str().context("a plain path")?;
    let made = sinew(&["key", "new", "--identity", path]).await?;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let shown = sinew(&["key", "show", "--identity", path, "--json"]).await?;
    assert_eq!(shown.json()?[0]["peer"], json!(made.stdout.trim()));
    assert_eq!(sinew(&["key", "new", "--identity", path]).await?.code, Some(1), "a key is never overwritten");
    assert_eq!(sinew(&["key", "show", "--identity", "/nowhere/key"]).await?.code, Some(1));

    let node = Node::start(&[]).await?;
    let dir = node.data_dir().to_str().context("a plain path")?;
    let own = sinew_with(&[("SINEW_DATA_DIR", dir)], &["key", "show"]).await?;
    let (_, shown) = node.admin("/api/v1/node").await?;
    assert_eq!(serde_json::from_str::<Value>(&shown)?["node"], json!(text(&own.stdout).trim()));

    let mut subscriber = Command::new(binary())
        .args(["sub", "--server", &node.url("unix"), "a", "--count", "1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut talk = BufReader::new(subscriber.stderr.take().context("stderr is piped")?).lines();
    soon("the subscription", talk.next_line()).await??.context("it says what it listens to")?;
    let published = sinew(&["pub", "--server", &node.url("tls"), "--identity", path, "a", "1"]).await?;
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let message = soon("the message", subscriber.wait_with_output()).await??;
    let message: Value = serde_json::from_slice(&message.stdout)?;
    assert_eq!(message["publisher"], json!(made.stdout.trim()), "messages carry the identity");
    Ok(())
}

#[tokio::test]
async fn a_reader_that_had_enough_ends_a_subscriber_quietly() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let mut subscriber = Command::new(binary())
        .args(["sub", "--server", &server, "a"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut talk = BufReader::new(subscriber.stderr.take().context("stderr is piped")?);
    let mut line = String::new();
    soon("the subscription", talk.read_line(&mut line)).await??;
    assert_eq!(line, "listening to a\n");
    drop(subscriber.stdout.take());
    let status = loop {
        sinew(&["pub", "--server", &server, "a", "1"]).await?;
        if let Some(status) = subscriber.try_wait()? {
            break status;
        }
    };
    assert_eq!(status.code(), Some(0));
    let mut rest = String::new();
    talk.read_to_string(&mut rest).await?;
    assert_eq!(rest, "", "nothing to complain about");
    Ok(())
}

#[tokio::test]
async fn a_payload_comes_from_standard_input() -> Result<()> {
    let node = Node::start(&[]).await?;
    let server = node.url("unix");
    let file = node.data_dir().join("payload");
    std::fs::write(&file, "from afar")?;
    let publish = Command::new(binary())
        .args(["pub", "--server", &server, "a", "-", "--retain"])
        .stdin(std::fs::File::open(&file)?)
        .kill_on_drop(true)
        .status();
    assert_eq!(soon("the publish", publish).await??.code(), Some(0));
    let last = sinew(&["sub", "--server", &server, "a", "--last", "--count", "1"]).await?;
    assert_eq!((last.code, last.stdout.as_str()), (Some(0), "from afar\n"));
    Ok(())
}

#[tokio::test]
async fn a_measurement_counts_everything() -> Result<()> {
    const KEYS: [&str; 13] = [
        "received",
        "expected",
        "lost",
        "duplicated",
        "reordered",
        "secs",
        "msgs_per_s",
        "mb_per_s",
        "p50_us",
        "p95_us",
        "p99_us",
        "p999_us",
        "max_us",
    ];
    let node = Node::start(&[]).await?;
    let server = node.url("quic");
    for flags in [
        &[][..],
        &["--rate", "5k"],
        &["--publishers", "3"],
        &["--level", "acked"],
        &["--level", "acked", "--rate", "5k"],
    ] {
        let mut subscriber = Command::new(binary())
            .args([
                "bench",
                "sub",
                "--server",
                &server,
                "b.>",
                "--count",
                "500",
                "--subscribers",
                "4",
                "--connections",
                "2",
            ])
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut talk = BufReader::new(subscriber.stderr.take().context("stderr is piped")?).lines();
        assert_eq!(soon("the subscriptions", talk.next_line()).await??.as_deref(), Some("ready"));
        let arguments = ["bench", "pub", "--server", &server, "b.t", "--count", "500", "--size", "64", "--json"];
        let sent = sinew(&[&arguments[..], flags].concat()).await?;
        assert_eq!(sent.code, Some(0), "{flags:?}: {}", sent.stderr);
        let sent = &sent.json()?[0];
        assert_eq!(sent["sent"], json!(500));
        if flags.contains(&"acked") {
            assert_eq!((&sent["matched"], &sent["delivered"]), (&json!(2_000), &json!(2_000)), "{flags:?}");
        }
        let received = soon("the measurement", subscriber.wait_with_output()).await??;
        let received: Value = serde_json::from_slice(&received.stdout)?;
        for key in KEYS {
            ensure!(received[key].is_number(), "{key} is missing in {received}");
        }
        let counts = ["received", "expected", "lost", "duplicated", "reordered"].map(|key| received[key].as_u64());
        assert_eq!(counts, [Some(2_000), Some(2_000), Some(0), Some(0), Some(0)], "{flags:?}: {received}");
    }
    Ok(())
}

#[tokio::test]
async fn completions_and_version_are_printed() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = sinew(&["completions", shell]).await?;
        ensure!(script.code == Some(0) && script.stdout.contains("healthcheck"), "{shell}");
    }
    let version = sinew(&["version", "--json"]).await?;
    assert_eq!(version.json()?[0]["name"], json!("sinew"));
    Ok(())
}
