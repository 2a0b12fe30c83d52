//! The flags of the commands that watch over a node.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sinew_node::parse_duration;

use super::{Admin, NodeFlags};

const CHECK_HELP: &str = "\
One line for Nagios, Icinga and whatever else runs their plugins: the state, what is behind it, and the figures \
after a bar. Exit codes, of this command only: 0 ok, 1 warning, 2 critical, 3 unknown. A node that does not answer is \
critical; one that answers what no node would is unknown.

Examples:
  sinew check
  sinew check --admin 10.0.0.5:4600 --min-peers 4 --drops-warning 0";

/// Every threshold is the last value that is fine.
#[derive(Debug, Args)]
#[command(after_help = CHECK_HELP)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// Critical with fewer other nodes that are up
    #[arg(long, env = "SINEW_MIN_PEERS", hide_env = true, value_name = "N", default_value_t = 0)]
    pub(crate) min_peers: u32,
    /// Warn when a queue is fuller than so many percent
    #[arg(long, env = "SINEW_QUEUE_WARNING", hide_env = true, value_name = "PERCENT", default_value_t = 70.0,
          value_parser = parse_threshold)]
    pub(crate) queue_warning: f64,
    /// Critical when a queue is fuller than so many percent
    #[arg(long, env = "SINEW_QUEUE_CRITICAL", hide_env = true, value_name = "PERCENT", default_value_t = 90.0,
          value_parser = parse_threshold)]
    pub(crate) queue_critical: f64,
    /// Warn when more deliveries a second are dropped that nobody asked to drop
    #[arg(long, env = "SINEW_DROPS_WARNING", hide_env = true, value_name = "RATE", default_value_t = 1.0,
          value_parser = parse_threshold)]
    pub(crate) drops_warning: f64,
    /// Critical when more deliveries a second are dropped
    #[arg(long, env = "SINEW_DROPS_CRITICAL", hide_env = true, value_name = "RATE", default_value_t = 100.0,
          value_parser = parse_threshold)]
    pub(crate) drops_critical: f64,
    /// Warn when more percent of the links to other nodes are in use
    #[arg(long, env = "SINEW_POOL_WARNING", hide_env = true, value_name = "PERCENT", default_value_t = 80.0,
          value_parser = parse_threshold)]
    pub(crate) pool_warning: f64,
    /// Critical when more percent of the links to other nodes are in use
    #[arg(long, env = "SINEW_POOL_CRITICAL", hide_env = true, value_name = "PERCENT", default_value_t = 95.0,
          value_parser = parse_threshold)]
    pub(crate) pool_critical: f64,
    /// How long drops are counted
    #[arg(long, env = "SINEW_WINDOW", hide_env = true, value_name = "TIME", default_value = "1s",
          value_parser = parse_duration)]
    pub(crate) window: Duration,
}

const DOCTOR_HELP: &str = "\
Run it on the host of the node, with the configuration of the node: the same file, variables and flags. Each line is \
passed, failed or unknown, and what failed is followed by its mend. Exit code 1 when something failed.

Examples:
  sinew doctor
  sinew doctor --config /etc/sinew/sinew.toml --json";

#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

const MAN_HELP: &str = "\
Examples:
  sinew man | man -l -
  sinew man --dir /usr/local/share/man/man1         a page for each command";

#[derive(Debug, Args)]
#[command(after_help = MAN_HELP)]
pub(crate) struct Man {
    /// Write the pages of all commands into this directory, which is made if it is missing
    #[arg(long, env = "SINEW_DIR", hide_env = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Percent, or events a second.
fn parse_threshold(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "is not a number from 0".to_owned())
}
