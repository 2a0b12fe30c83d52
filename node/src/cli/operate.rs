//! The flags of the commands that watch over a node.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
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
    #[command(flatten)]
    pub(crate) thresholds: Thresholds,
    /// How long drops are counted
    #[arg(long, env = "SINEW_WINDOW", hide_env = true, value_name = "TIME", default_value = "1s",
          value_parser = parse_duration)]
    pub(crate) window: Duration,
}

/// A figure and the last values of it that are fine: without a reproach, and without an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    pub(crate) warning: f64,
    pub(crate) critical: f64,
}

/// The bounds that two flags each set: `--queue-warning`, `--queue-critical` and so on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    /// Percent of the fullest queue.
    pub(crate) queue: Bound,
    /// Drops a second that nobody asked for.
    pub(crate) drops: Bound,
    /// Percent of the links to other nodes.
    pub(crate) pool: Bound,
}

/// Two flags that set a bound: each has its name, its variable, and its default.
#[derive(Debug, Clone, Copy)]
struct Pair {
    warning: [&'static str; 3],
    critical: [&'static str; 3],
    unit: &'static str,
    /// When they strike.
    when: &'static str,
}

/// One for each field of [`Thresholds`], in their order.
const PAIRS: [Pair; 3] = [
    Pair {
        warning: ["queue-warning", "SINEW_QUEUE_WARNING", "70"],
        critical: ["queue-critical", "SINEW_QUEUE_CRITICAL", "90"],
        unit: "PERCENT",
        when: "a queue is fuller than so many percent",
    },
    Pair {
        warning: ["drops-warning", "SINEW_DROPS_WARNING", "1"],
        critical: ["drops-critical", "SINEW_DROPS_CRITICAL", "100"],
        unit: "RATE",
        when: "more deliveries a second are dropped that nobody asked to drop",
    },
    Pair {
        warning: ["pool-warning", "SINEW_POOL_WARNING", "80"],
        critical: ["pool-critical", "SINEW_POOL_CRITICAL", "95"],
        unit: "PERCENT",
        when: "more percent of the links to other nodes are in use",
    },
];

impl Args for Thresholds {
    fn augment_args(command: Command) -> Command {
        let flag = |[name, variable, default]: [&'static str; 3], unit, help: String| {
            let arg = Arg::new(name).long(name).env(variable).hide_env(true).help(help);
            arg.value_name(unit).default_value(default).value_parser(parse_threshold)
        };
        command.args(PAIRS.iter().flat_map(|&Pair { warning, critical, unit, when }| {
            [flag(warning, unit, format!("Warn when {when}")), flag(critical, unit, format!("Critical when {when}"))]
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Thresholds {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let value = |[name, ..]: [&str; 3]| *matches.get_one(name).expect("it has a default");
        let [queue, drops, pool] =
            PAIRS.map(|pair| Bound { warning: value(pair.warning), critical: value(pair.critical) });
        Ok(Self { queue, drops, pool })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
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

const TOP_HELP: &str = "\
Nodes, topics, procedures, slow subscribers, queues and events of the whole realm, as the node that is asked sees them, twice \
a second; press ? for the keys. It connects again by itself. NO_COLOR switches the colours off.

Examples:
  sinew top
  sinew top --admin 10.0.0.5:4600 --admin-token \"$TOKEN\"
  sinew top --once --json | jq '.nodes[] | select(.state == \"lost\") | .node'";

#[derive(Debug, Args)]
#[command(after_help = TOP_HELP)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// Print one look with rates, which takes about a second, and end
    #[arg(long, env = "SINEW_ONCE", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) once: bool,
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
