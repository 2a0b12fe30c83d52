//! The flags of remote calls.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgGroup, Args, ValueEnum};
use sinew_node::{parse_duration, parse_size};

use super::{parse_pair, parse_rate};

/// Largest argument of a measured call, in bytes: what an SDK takes by default.
const MAX_SIZE: u64 = 64 << 20;

const CALL_HELP: &str = "\
Prints the result, and a newline if it has none at its end. Exit codes: 1 the procedure failed or refused, 3 timed out, \
4 nobody provides it, 5 cannot connect, 6 denied.

Examples:
  sinew call math.square 12
  sinew call images.resize --file photo.jpg --header width=200 > small.jpg
  sinew call text.upper --stream --lines < poem.txt     an item for each line, and the answers as they come
  sinew call cache.flush --strategy all --json          everybody who provides it
  sinew call math.square 12 --count 1000 --parallel 16";

#[derive(Debug, Args)]
#[command(after_help = CALL_HELP)]
pub(crate) struct Call {
    /// Name of the procedure: tokens separated by dots
    pub(crate) name: String,
    /// Argument as text, or - to read standard input; empty when left out
    #[arg(conflicts_with_all = ["file", "lines"], allow_negative_numbers = true)]
    pub(crate) payload: Option<String>,
    /// Read the argument from a file
    #[arg(long, env = "SINEW_FILE", hide_env = true, conflicts_with = "lines")]
    pub(crate) file: Option<PathBuf>,
    /// How long the whole call may take [default: 10s]
    #[arg(long, env = "SINEW_DEADLINE", hide_env = true, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// How many times to call
    #[arg(long, env = "SINEW_COUNT", hide_env = true, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Calls open at once; results are printed in the order of the calls
    #[arg(long, env = "SINEW_PARALLEL", hide_env = true, value_name = "P", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel: u16,
    /// Take a stream of answers, and print each as it comes
    #[arg(long, env = "SINEW_STREAM", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) stream: bool,
    /// Send each line of standard input as an item of a stream
    #[arg(long, env = "SINEW_LINES", hide_env = true, value_parser = FalseyValueParser::new(), conflicts_with = "count")]
    pub(crate) lines: bool,
    /// Header of the call; may be repeated
    #[arg(long, env = "SINEW_HEADER", hide_env = true, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) header: Vec<(String, String)>,
    /// Who answers, if several provide it
    #[arg(long, env = "SINEW_STRATEGY", hide_env = true, default_value = "balanced", conflicts_with = "key")]
    pub(crate) strategy: Strategy,
    /// Calls of the same key go to the same provider, while it is there
    #[arg(long, env = "SINEW_KEY", hide_env = true)]
    pub(crate) key: Option<String>,
    /// With --strategy all: so many answers are enough [default: those of all]
    #[arg(long, env = "SINEW_ANSWERS", hide_env = true, value_name = "N")]
    pub(crate) answers: Option<u16>,
    /// Under overload calls of lower priority are given up first
    #[arg(long, env = "SINEW_PRIORITY", hide_env = true, value_name = "0-255")]
    pub(crate) priority: Option<u8>,
    /// It may be executed twice: try again although it may have been executed
    #[arg(long, env = "SINEW_IDEMPOTENT", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) idempotent: bool,
    /// Ask a second provider when an answer takes longer than usual; only for what may be executed twice
    #[arg(long, env = "SINEW_HEDGED", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) hedged: bool,
    /// Don't take the answer from a cache
    #[arg(long, env = "SINEW_FRESH", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) fresh: bool,
}

/// How a provider is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// The better of two taken at random
    Balanced,
    /// The one that answers soonest
    Fastest,
    /// One after the other
    RoundRobin,
    /// All of them: each answer is printed as it comes
    All,
}

const SERVE_HELP: &str = "\
With --exec a shell runs the command once per call: the argument is its standard input, what it prints is the result. If it \
ends with another code than 0, the caller gets an application error of that code, with what it said on standard error. It is \
killed, with all it has started, when the call is cancelled or its deadline passes. Its environment has SINEW_CALL_NAME, \
SINEW_CALL_CALLER, and TRACEPARENT if the caller gave one.

SIGINT or SIGTERM withdraws the procedure and waits for the calls that are open; a second one doesn't wait.

Examples:
  sinew serve math.square --exec 'read n; echo $((n * n))'
  sinew serve test.echo --echo --concurrency 256";

#[derive(Debug, Args)]
#[command(after_help = SERVE_HELP, group = ArgGroup::new("how").args(["echo", "exec"]).required(true))]
pub(crate) struct Serve {
    /// Name of the procedure: tokens separated by dots
    pub(crate) name: String,
    /// Answer with the argument, item by item where it is a stream
    #[arg(long, env = "SINEW_ECHO", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) echo: bool,
    /// Run this command for each call
    #[arg(long, env = "SINEW_EXEC", hide_env = true, value_name = "CMD")]
    pub(crate) exec: Option<String>,
    /// How long the realm believes in it without a renewal
    #[arg(long, env = "SINEW_TTL", hide_env = true, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) ttl: Duration,
    /// Calls that run at once; the others wait at the node
    #[arg(long, env = "SINEW_CONCURRENCY", hide_env = true, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) concurrency: u32,
    /// Told to whoever looks the procedure up; may be repeated
    #[arg(long, env = "SINEW_METADATA", hide_env = true, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// To execute a call twice does no harm: nodes may try again although it may have been executed
    #[arg(long, env = "SINEW_IDEMPOTENT", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) idempotent: bool,
    /// The nodes of callers may keep a result for so long
    #[arg(long, env = "SINEW_CACHE", hide_env = true, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) cache: Option<Duration>,
}

const BENCH_CALL_HELP: &str = "\
Calls with an argument of the size asked for, and takes what comes back. With --rate a latency counts from the moment the \
call was due, so that a provider that stalls shows in it. Errors are counted by kind; there is no latency of an error. Exit \
code 1 if there was one.

Example, in two terminals:
  sinew bench serve bench.echo
  sinew bench call bench.echo --count 1000000 --parallel 64";

#[derive(Debug, Args)]
#[command(after_help = BENCH_CALL_HELP)]
pub(crate) struct BenchCall {
    /// Name of the procedure
    pub(crate) name: String,
    /// Calls to make
    #[arg(long, env = "SINEW_COUNT", hide_env = true, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Calls open at once, over all connections
    #[arg(long, env = "SINEW_PARALLEL", hide_env = true, value_name = "P", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) parallel: u32,
    /// Bytes per argument
    #[arg(long, env = "SINEW_SIZE", hide_env = true, value_name = "SIZE", default_value = "128", value_parser = parse_call_size)]
    pub(crate) size: usize,
    /// Calls per second; as fast as they are answered when left out
    #[arg(long, env = "SINEW_RATE", hide_env = true, value_name = "N", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// Connections that share the calls; more for each 256 calls open at once, which is what a node allows to one
    #[arg(long, env = "SINEW_CONNECTIONS", hide_env = true, value_name = "C",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: Option<u32>,
    /// How long a call may take [default: 10s]
    #[arg(long, env = "SINEW_DEADLINE", hide_env = true, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// Calls may be executed twice
    #[arg(long, env = "SINEW_IDEMPOTENT", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) idempotent: bool,
}

const BENCH_SERVE_HELP: &str = "\
Prints `ready` on stderr once it can be called. SIGINT or SIGTERM ends it, with how many calls it has answered.

Example:
  sinew bench serve bench.echo --work 5ms --concurrency 8       as many as 1,600 calls/s";

#[derive(Debug, Args)]
#[command(after_help = BENCH_SERVE_HELP)]
pub(crate) struct BenchServe {
    /// Name of the procedure
    pub(crate) name: String,
    /// Providers, each with a connection of its own
    #[arg(long, env = "SINEW_PROVIDERS", hide_env = true, value_name = "P", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) providers: u32,
    /// Calls that a provider takes at once
    #[arg(long, env = "SINEW_CONCURRENCY", hide_env = true, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) concurrency: u32,
    /// How long an answer takes
    #[arg(long, env = "SINEW_WORK", hide_env = true, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) work: Option<Duration>,
    /// Bytes per answer; those of the argument when left out
    #[arg(long, env = "SINEW_SIZE", hide_env = true, value_name = "SIZE", value_parser = parse_call_size)]
    pub(crate) size: Option<usize>,
    /// To execute a call twice does no harm
    #[arg(long, env = "SINEW_IDEMPOTENT", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) idempotent: bool,
}

fn parse_call_size(text: &str) -> Result<usize, String> {
    let size = parse_size(text)?;
    let fits = usize::try_from(size).ok().filter(|_| size <= MAX_SIZE);
    fits.ok_or_else(|| format!("{size} is more than {MAX_SIZE} bytes"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::super::{Cli, Command};
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn a_call_takes_what_the_contract_says() {
        let line =
            "sinew call math.square -12 --deadline 2s --count 3 --parallel 2 --stream --header a=b --strategy all";
        let Command::Call(call) = parse(line).expect(line).command else { panic!("another command") };
        assert_eq!((call.name.as_str(), call.payload.as_deref()), ("math.square", Some("-12")));
        assert_eq!((call.deadline, call.count, call.parallel), (Some(Duration::from_secs(2)), 3, 2));
        assert!(call.stream && call.strategy == Strategy::All && call.header.len() == 1);
        let line = "sinew serve math.square --exec x --ttl 30s";
        let Command::Serve(serve) = parse(line).expect(line).command else { panic!("another command") };
        assert_eq!((serve.exec.as_deref(), serve.ttl), (Some("x"), Duration::from_secs(30)));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for (line, kind) in [
            ("sinew call", ErrorKind::MissingRequiredArgument),
            ("sinew call a --count 0", ErrorKind::ValueValidation),
            ("sinew call a --parallel 257", ErrorKind::ValueValidation),
            ("sinew call a b --file c", ErrorKind::ArgumentConflict),
            ("sinew call a --lines --count 2", ErrorKind::ArgumentConflict),
            ("sinew call a --key k --strategy all", ErrorKind::ArgumentConflict),
            ("sinew serve a", ErrorKind::MissingRequiredArgument),
            ("sinew serve a --echo --exec b", ErrorKind::ArgumentConflict),
            ("sinew serve a --echo --concurrency 0", ErrorKind::ValueValidation),
            ("sinew bench call a --size 65MiB", ErrorKind::ValueValidation),
        ] {
            assert_eq!(parse(line).expect_err(line).kind(), kind, "{line}");
        }
    }
}
