use std::fmt;

use anyhow::Context;
use clap::ArgMatches;
use serde::Serialize;
use sinew_node::Node;
use tokio::runtime::Builder;
use tracing::warn;

use super::{config, raise_file_limit};
use crate::cli::{Common, Up};
use crate::exit::Code;
use crate::logging;
use crate::output::Output;

pub(crate) fn run(up: &Up, common: &Common, matches: &ArgMatches, output: Output) -> anyhow::Result<Code> {
    let config = config::load(&up.node, matches)?.config;
    logging::node(common, &config.log)?;
    raise_file_limit();
    let runtime = Builder::new_multi_thread().enable_all().thread_name("sinew").build();
    runtime.context("can't start the runtime")?.block_on(async {
        let mut signals = Signals::listen().context("can't listen to signals")?;
        let open = config.open.then(|| config.realm.clone());
        let node = Node::start(config).await?;
        // Nobody may be there to read it, and the node runs all the same.
        let _ = output.result(&Ready::of(&node, open.is_some()), Ready::of(&node, open.is_some()));
        if let Some(realm) = open {
            warn!(realm, "open: admits anyone who names the realm");
        }
        signals.next().await;
        tokio::select! {
            _ = node.shutdown() => Ok(Code::Ok),
            () = signals.next() => {
                warn!("second signal: leaving at once");
                Ok(Code::Failure)
            }
        }
    })
}

/// What is printed once clients can connect.
#[derive(Debug, Serialize)]
struct Ready {
    event: &'static str,
    node: String,
    client: Vec<String>,
    mesh: Vec<String>,
    admin: Option<String>,
    /// Only there when it is true.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
}

impl Ready {
    fn of(node: &Node, open: bool) -> Self {
        Self {
            event: "ready",
            node: node.peer_id().to_string(),
            client: node.client_addresses().iter().map(ToString::to_string).collect(),
            mesh: Vec::new(),
            admin: node.admin_address().map(|address| format!("http://{address}")),
            open,
        }
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ready: node {} serves clients on {}", self.node, self.client.join(" "))?;
        if let Some(admin) = &self.admin {
            write!(f, ", admin on {admin}")?;
        }
        if self.open {
            f.write_str(", open to anyone who names the realm")?;
        }
        Ok(())
    }
}

/// The signals that ask a process to end.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            warn!(%error, "signals can't be heard");
            std::future::pending::<()>().await;
        }
    }
}
