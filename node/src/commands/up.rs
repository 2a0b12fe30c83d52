use std::fmt;

use anyhow::Context;
use clap::ArgMatches;
use futures::future::join_all;
use serde::Serialize;
use sinew_node::{Config, Node};
use tokio::runtime::Builder;
use tracing::warn;

use super::signals::Signals;
use super::{config, raise_file_limit};
use crate::cli::{Common, Up};
use crate::exit::Code;
use crate::logging;
use crate::output::Output;

pub(crate) fn run(up: &Up, common: &Common, matches: &ArgMatches, output: Output) -> anyhow::Result<Code> {
    let config = config::load(&up.node, matches)?.config;
    let suppressed = logging::node(common, &config.log)?;
    raise_file_limit();
    let runtime = Builder::new_multi_thread().enable_all().thread_name("sinew").build();
    runtime.context("can't start the runtime")?.block_on(async {
        let mut signals = Signals::listen().context("can't listen to signals")?;
        tokio::spawn(suppressed.keep_reporting());
        let nodes = start(&config, up.nodes, output).await?;
        if config.open {
            warn!(realm = config.realm, "open: admits anyone who names the realm");
        }
        signals.next().await;
        tokio::select! {
            _ = join_all(nodes.into_iter().map(Node::shutdown)) => Ok(Code::Ok),
            () = signals.next() => {
                warn!("second signal: leaving at once");
                Ok(Code::Failure)
            }
        }
    })
}

/// Starts the node, or several that know each other, with a line for each.
async fn start(config: &Config, count: u16, output: Output) -> anyhow::Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    for index in 0..count {
        let mut config = if count == 1 { config.clone() } else { config.nth(index)? };
        if let Some(first) = nodes.first() {
            config.mesh.bootstrap.extend(first.mesh_addresses());
        }
        let node = Node::start(config.clone()).await?;
        let ready = Ready::of(&node, config.open);
        // Nobody may be there to read it, and the node runs all the same.
        let _ = output.result(&ready, &ready);
        nodes.push(node);
    }
    Ok(nodes)
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
            mesh: node.mesh_addresses(),
            admin: node.admin_address().map(|address| format!("http://{address}")),
            open,
        }
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ready: node {} serves clients on {}", self.node, self.client.join(" "))?;
        if !self.mesh.is_empty() {
            write!(f, ", nodes on {}", self.mesh.join(" "))?;
        }
        if let Some(admin) = &self.admin {
            write!(f, ", admin on {admin}")?;
        }
        if self.open {
            f.write_str(", open to anyone who names the realm")?;
        }
        Ok(())
    }
}
