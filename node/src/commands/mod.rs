//! One module per command.

mod admin;
mod bench;
mod call;
mod check;
mod completions;
mod config;
pub(crate) mod connect;
mod doctor;
mod healthcheck;
mod key;
mod man;
mod payload;
mod peers;
mod publish;
mod serve;
mod services;
mod signals;
mod subscribe;
mod table;
mod top;
mod topics;
mod up;
mod version;

use std::future::Future;

use anyhow::Context;
use clap::ArgMatches;

use crate::cli::{Bench, Cli, Command};
use crate::exit::Code;
use crate::logging;
use crate::output::Output;

/// Runs the command and gives its exit code.
pub(crate) fn run(cli: Cli, matches: &ArgMatches, output: Output) -> anyhow::Result<Code> {
    let Cli { common, command } = cli;
    match command {
        Command::Up(up) => return up::run(&up, &common, matches, output),
        Command::Completions { shell } => return completions::run(shell),
        Command::Man(man) => return man::run(&man, output),
        Command::Version => return version::run(output),
        Command::Config(command) => return config::run(&command, matches, output),
        _ => logging::client(&common)?,
    }
    match command {
        Command::Pub(publish) => block_on(publish::run(publish, common, output)),
        Command::Sub(subscribe) => block_on(subscribe::run(subscribe, common, output)),
        Command::Call(call) => block_on(call::run(call, common, output)),
        Command::Serve(serve) => block_on(serve::run(serve, common, output)),
        Command::Bench(Bench::Call(call)) => bench::call::run(&call, &common, output),
        Command::Bench(Bench::Serve(serve)) => bench::serve::run(&serve, &common, output),
        Command::Bench(Bench::Pub(publish)) => bench::publish::run(&publish, &common, output),
        Command::Bench(Bench::Sub(subscribe)) => bench::subscribe::run(&subscribe, &common, output),
        Command::Healthcheck(check) => block_on(healthcheck::run(check, common, output)),
        Command::Check(check) => block_on(check::run(check, common, output)),
        Command::Doctor(doctor) => block_on(doctor::run(doctor, common, matches, output)),
        Command::Peers(peers) => block_on(peers::run(peers, common, output)),
        Command::Topics(topics) => block_on(topics::run(topics, common, output)),
        Command::Top(top) => block_on(top::run(top, common, output)),
        Command::Svc(command) => block_on(services::run(command, common, output)),
        Command::Key(command) => key::run(&command, &common, output),
        Command::Up(_) | Command::Completions { .. } | Command::Man(_) | Command::Version | Command::Config(_) => {
            Ok(Code::Ok)
        }
    }
}

/// Runs a client command, which has one thing to do at a time.
fn block_on(work: impl Future<Output = anyhow::Result<Code>>) -> anyhow::Result<Code> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("can't start the runtime")?.block_on(work)
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() -> std::io::Result<()> {
    let mut signals = signals::Signals::listen()?;
    signals.next().await;
    Ok(())
}

/// Lets the process have as many sockets as the system allows it.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays where it is");
        }
    }
}
