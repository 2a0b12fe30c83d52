//! The configuration of a node: read, shown, checked.

use std::path::PathBuf;

use anyhow::Context;
use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::json;
use sinew_node::{Address, Config, ConfigError, Invalid, Key, Loaded, Loader};

use crate::cli;
use crate::cli::NodeFlags;
use crate::exit::Code;
use crate::output::Output;

pub(crate) fn run(command: &cli::Config, matches: &ArgMatches, output: Output) -> anyhow::Result<Code> {
    match command {
        cli::Config::Show(flags) => {
            let loaded = load(flags, matches)?;
            output.result(&loaded.to_json(), loaded.to_toml().trim_end())?;
        }
        cli::Config::Check(flags) => {
            load(flags, matches)?;
            output.result(&json!({ "ok": true }), "the configuration is fine")?;
        }
    }
    Ok(Code::Ok)
}

/// Defaults, file, environment, flags.
pub(crate) fn load(flags: &NodeFlags, matches: &ArgMatches) -> Result<Loaded, ConfigError> {
    let defaults = Config { data_dir: default_data_dir(), ..Config::default() };
    let mut loader = Loader::new(defaults);
    if let Some(path) = &flags.config {
        loader = loader.file(path)?;
    }
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    loader = loader.environment(variables)?;
    for (key, flag, values) in given(flags, matches) {
        loader = loader.flag(key, flag, &values)?;
    }
    for (key, value) in &flags.set {
        loader = loader.flag(key, "--set", std::slice::from_ref(value))?;
    }
    let loaded = loader.finish()?;
    match loaded.config.listeners().iter().find(|address| matches!(address, Address::Memory(_))) {
        None => Ok(loaded),
        Some(address) => {
            let problem = format!("{address} is for programs that embed a node: nobody else could connect");
            let key = Key::find("listen").expect("is a key");
            Err(ConfigError::Invalid {
                origin: loaded.origin(key).clone(),
                invalid: Invalid { key: key.name, problem },
            })
        }
    }
}

/// The settings that stand on the command line itself, not in a variable: those are the loader's.
fn given(flags: &NodeFlags, matches: &ArgMatches) -> Vec<(&'static str, &'static str, Vec<String>)> {
    let matches = innermost(matches);
    let common = |name: &str| {
        let typed = matches.value_source(name) == Some(ValueSource::CommandLine);
        let raw = matches.get_raw(name).filter(|_| typed).into_iter().flatten();
        raw.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let mut given = vec![
        ("data_dir", "--data-dir", flags.data_dir.iter().cloned().collect()),
        ("listen", "--listen", flags.listen.clone()),
        ("mesh.listen", "--mesh", flags.mesh.clone()),
        ("mesh.bootstrap", "--bootstrap", flags.bootstrap.clone()),
        ("admin", "--admin", flags.admin.iter().cloned().collect()),
        ("admin_token", "--admin-token", flags.admin_token.iter().map(|token| token.as_str().to_owned()).collect()),
        ("realm", "--realm", common("realm")),
        ("identity", "--identity", common("identity")),
        ("open", "--open", flags.open.then(|| "true".to_owned()).into_iter().collect()),
    ];
    given.retain(|(_, _, values): &(_, _, Vec<String>)| !values.is_empty());
    given
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    let mut matches = matches;
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches
}

/// Where a node keeps its things unless told: `$XDG_STATE_HOME/sinew`, or `~/.local/share/sinew`.
fn default_data_dir() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = from("XDG_STATE_HOME").filter(|path| path.is_absolute());
    state.or_else(|| from("HOME").map(|home| home.join(".local/share"))).map(|dir| dir.join("sinew"))
}

/// The file of the node's identity, by the configuration a node would find here without flags.
pub(crate) fn node_identity() -> anyhow::Result<PathBuf> {
    let defaults = Config { data_dir: default_data_dir(), ..Config::default() };
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let loaded = Loader::new(defaults).environment(variables)?.finish()?;
    loaded.config.identity_file().context("there is no data directory here: name the file with --identity FILE")
}
