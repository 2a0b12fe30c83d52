//! Where the log goes: stderr, coloured only for people, and never flooded.

mod limit;

use std::io::{self, IsTerminal};

use anyhow::Context;
use sinew_node::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Format;

use self::limit::{Limited, Style};
use crate::cli::Common;

pub(crate) use self::limit::Suppressed;

/// Log of a client command: quiet unless asked.
pub(crate) fn client(common: &Common) -> anyhow::Result<()> {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    start(&Log { level: level.to_owned(), format: LogFormat::Text }).map(drop)
}

/// Log of a node: as configured, unless the command line says more or less. What is held back has to be reported.
pub(crate) fn node(common: &Common, log: &Log) -> anyhow::Result<Suppressed> {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "warn",
        (false, 0) => &log.level,
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    start(&Log { level: level.to_owned(), format: log.format })
}

fn start(log: &Log) -> anyhow::Result<Suppressed> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("log level {:?}", log.level))?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour);
    let suppressed = Suppressed::new();
    let given = suppressed.clone();
    match log.format {
        LogFormat::Text => {
            let limited =
                |format: Format| Limited { format: format.with_ansi(colour), style: Style::Text, suppressed: given };
            subscriber.map_event_format(limited).init();
        }
        LogFormat::Json => {
            let limited = |format| Limited { format, style: Style::Json, suppressed: given };
            subscriber.json().flatten_event(true).map_event_format(limited).init();
        }
    }
    Ok(suppressed)
}
