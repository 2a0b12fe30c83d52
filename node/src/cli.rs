//! The command line: every flag, its variable, its help.

mod calls;
mod operate;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sinew_node::{Address, parse_duration, parse_size};

pub(crate) use calls::{BenchCall, BenchServe, Call, Serve, Strategy};
pub(crate) use operate::{Check, Doctor, Man, Top};

const AFTER_HELP: &str = "\
Every flag has an environment variable: SINEW_ and its name (--data-dir is SINEW_DATA_DIR). A flag beats the \
variable, the variable beats the configuration file.

Exit codes: 0 ok, 1 failure, 2 usage, 3 timed out, 4 nobody there, 5 cannot connect, 6 denied.

Examples:
  sinew up                                     run a node on this host
  sinew sub 'sensors.>'                        print what sensors say
  sinew pub sensors.kitchen.temp 21.5          say something
  sinew serve math.square --exec 'read n; echo $((n * n))'
  sinew call math.square 12                    call it, from wherever";

/// Peer-to-peer mesh messaging: the node and its command line.
#[derive(Debug, Parser)]
#[command(name = "sinew", version, after_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Node to connect to: quic://host:port, tls://host:port or unix:///path; several, comma separated, are tried in turn
    #[arg(
        long,
        global = true,
        env = "SINEW_SERVER",
        hide_env = true,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "quic://127.0.0.1:4400"
    )]
    pub(crate) server: Vec<Address>,
    /// Realm to join or to serve [default: default]
    #[arg(long, global = true, env = "SINEW_REALM", hide_env = true)]
    pub(crate) realm: Option<String>,
    /// File of the identity key; without it a client has a new identity each time
    #[arg(long, global = true, env = "SINEW_IDENTITY", hide_env = true, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// How long to wait for the node to answer
    #[arg(long, global = true, env = "SINEW_TIMEOUT", hide_env = true, value_name = "TIME", default_value = "5s",
          value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Print results as JSON, one object per line
    #[arg(long, global = true, env = "SINEW_JSON", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// Say less; results are printed all the same
    #[arg(short, long, global = true, env = "SINEW_QUIET", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, env = "SINEW_VERBOSE", hide_env = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Up(Up),
    /// Publish messages
    Pub(Publish),
    /// Subscribe, and print what comes
    Sub(Subscribe),
    /// Call a procedure, and print its result
    Call(Call),
    /// Serve a procedure for as long as the program runs
    Serve(Serve),
    /// Measure a node
    #[command(subcommand)]
    Bench(Bench),
    /// Show the nodes of the realm and the paths to them
    Peers(Peers),
    /// Show the topics published lately, with how many listen
    Topics(Topics),
    /// Watch the realm live in the terminal
    Top(Top),
    /// Find and announce services
    #[command(subcommand)]
    Svc(Svc),
    /// Ask a node whether it is ready: exit code 0 or 1
    Healthcheck(Healthcheck),
    /// Ask a node how it fares, as a plugin of Nagios: exit code 0, 1, 2 or 3
    Check(Check),
    /// Look for what keeps the node of this host from working well, and say what mends it
    Doctor(Doctor),
    /// Make and show identities
    #[command(subcommand)]
    Key(Key),
    /// Show and check the configuration of a node
    #[command(subcommand)]
    Config(Config),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands
    Man(Man),
    /// Print the version
    Version,
}

const UP_HELP: &str = "\
Without flags the node serves this host: QUIC and TLS on port 4400 of the loopback address, and a Unix socket in its \
data directory; other nodes find it on port 4500. Settings without a flag of their own take --set; `sinew config show` lists them all.

Examples:
  sinew up
  sinew up --listen quic://127.0.0.1:5500 --admin off
  sinew up --config /etc/sinew.toml --set limits.max_clients=500
  sinew up --nodes 5                                 a mesh of five on this host, ports 4400, 4401, ...
  sinew up --open --listen quic://0.0.0.0:4400 --mesh /ip4/0.0.0.0/udp/4500/quic-v1 \
    --bootstrap /dns4/node1/udp/4500/quic-v1         join others, and admit anyone who names the realm";

#[derive(Debug, Args)]
#[command(after_help = UP_HELP)]
pub(crate) struct Up {
    /// Run a mesh of so many nodes in this process: node i on client port 4400+i, mesh port 4500+i, admin port 4600+i
    #[arg(long, env = "SINEW_NODES", hide_env = true, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) nodes: u16,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

/// Flags that configure a node. Their values are read by the configuration loader, so that a wrong one is explained the
/// same way wherever it stands; the environment is read there too.
#[derive(Debug, Args)]
pub(crate) struct NodeFlags {
    /// Configuration file (TOML)
    #[arg(long, env = "SINEW_CONFIG", hide_env = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory for the identity and the client socket
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Where clients connect: quic://host:port, tls://host:port, unix:///path; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) listen: Vec<String>,
    /// Where other nodes find this one, or "off" to stay alone [default: QUIC and TCP on 127.0.0.1:4500]; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) mesh: Vec<String>,
    /// Node to begin with, such as /dns4/node1/udp/4500/quic-v1; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) bootstrap: Vec<String>,
    /// Where the admin server listens, or "off" [default: 127.0.0.1:4600]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// What other hosts have to bring to ask the admin server, at least 16 characters; made when it is needed and not given
    #[arg(long, value_name = "TOKEN")]
    pub(crate) admin_token: Option<Token>,
    /// Admit anyone who names the realm; allows listeners that other hosts can reach
    #[arg(long)]
    pub(crate) open: bool,
    /// Any setting by its name, such as limits.max_clients=500; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) set: Vec<(String, String)>,
}

const PUB_HELP: &str = "\
Examples:
  sinew pub sensors.kitchen.temp 21.5
  date | sinew pub clock -                           payload from standard input
  sinew pub images.cam1 --file frame.jpg --header type=image/jpeg
  sinew pub orders.new '{\"id\":7}' --level acked --id order-7 --json
  sinew pub test.load x --count 100000 --rate 20000";

#[derive(Debug, Args)]
#[command(after_help = PUB_HELP)]
pub(crate) struct Publish {
    /// Topic: tokens separated by dots
    pub(crate) topic: String,
    /// Payload as text, or - to read standard input; empty when left out
    #[arg(conflicts_with = "file", allow_negative_numbers = true)]
    pub(crate) payload: Option<String>,
    /// Read the payload from a file
    #[arg(long, env = "SINEW_FILE", hide_env = true)]
    pub(crate) file: Option<PathBuf>,
    /// How many times to publish it
    #[arg(long, env = "SINEW_COUNT", hide_env = true, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Messages per second; as fast as they are taken when left out
    #[arg(long, env = "SINEW_RATE", hide_env = true, value_name = "N", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// Header of every message; may be repeated
    #[arg(long, env = "SINEW_HEADER", hide_env = true, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) header: Vec<(String, String)>,
    /// What success means: fire = the node has it, acked = every subscriber confirmed
    #[arg(long, env = "SINEW_LEVEL", hide_env = true, default_value = "fire")]
    pub(crate) level: Level,
    /// Drop it when it could not be delivered for so long
    #[arg(long, env = "SINEW_TTL", hide_env = true, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) ttl: Option<Duration>,
    /// Id for de-duplication: a second message with it goes to nobody. With --count, -1, -2 ... are appended
    #[arg(long, env = "SINEW_ID", hide_env = true)]
    pub(crate) id: Option<String>,
    /// Keep it as the topic's last value, for subscribers that ask for it
    #[arg(long, env = "SINEW_RETAIN", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) retain: bool,
    /// Fail with exit code 4 when nobody listens
    #[arg(long, env = "SINEW_REQUIRE_SUBSCRIBERS", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) require_subscribers: bool,
}

const SUB_HELP: &str = "\
A pattern is a topic in which * stands for one token, and > at the end for one or more.

Examples:
  sinew sub 'sensors.*.temp'
  sinew sub 'sensors.>' 'alarms.>' --json
  sinew sub orders.new --queue workers               each message goes to one of the workers
  sinew sub 'config.>' --last --count 3              begin with the retained values";

#[derive(Debug, Args)]
#[command(after_help = SUB_HELP)]
pub(crate) struct Subscribe {
    /// What to listen to; quote it, the shell knows * and > too
    #[arg(required = true, value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// Queue group: each message goes to one member
    #[arg(long, env = "SINEW_QUEUE", hide_env = true, value_name = "GROUP")]
    pub(crate) queue: Option<String>,
    /// Stop after so many messages
    #[arg(long, env = "SINEW_COUNT", hide_env = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// What the node does when this program reads too slowly
    #[arg(long, env = "SINEW_POLICY", hide_env = true, default_value = "drop-oldest")]
    pub(crate) policy: Policy,
    /// Messages the node may queue for it; the node's limit when left out
    #[arg(long, env = "SINEW_BUFFER", hide_env = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) buffer: Option<u32>,
    /// Begin with the retained values that match
    #[arg(long, env = "SINEW_LAST", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) last: bool,
    /// Wait until all nodes of the realm know of it, and say `ready` then
    #[arg(long, env = "SINEW_SETTLE", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) settle: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Publish as fast as the node takes it, or at a rate
    Pub(BenchPublish),
    /// Receive, count and measure
    Sub(BenchSubscribe),
    /// Call and measure, as fast as answers come or at a rate
    Call(BenchCall),
    /// Serve what `bench call` calls
    Serve(BenchServe),
}

const BENCH_PUB_HELP: &str = "\
The first 8 bytes of a payload are the time it was sent (CLOCK_MONOTONIC, ns, little endian), the next 8 its number. \
With --rate it is the time it was due, so that a node that stalls shows in the latencies.

Example, in two terminals:
  sinew bench sub bench.t --count 1000000
  sinew bench pub bench.t --count 1000000 --size 128";

#[derive(Debug, Args)]
#[command(after_help = BENCH_PUB_HELP)]
pub(crate) struct BenchPublish {
    /// Topic
    pub(crate) topic: String,
    /// Messages to send, over all publishers
    #[arg(long, env = "SINEW_COUNT", hide_env = true, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Bytes per payload, at least 16
    #[arg(long, env = "SINEW_SIZE", hide_env = true, value_name = "SIZE", default_value = "128", value_parser = parse_payload_size)]
    pub(crate) size: usize,
    /// Messages per second over all publishers; as fast as possible when left out
    #[arg(long, env = "SINEW_RATE", hide_env = true, value_name = "N", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// Publishers, each with a connection of its own
    #[arg(long, env = "SINEW_PUBLISHERS", hide_env = true, value_name = "P", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) publishers: u32,
    /// What success means
    #[arg(long, env = "SINEW_LEVEL", hide_env = true, default_value = "fire")]
    pub(crate) level: Level,
}

const BENCH_SUB_HELP: &str = "\
Prints `ready` on stderr once subscribed, then waits for all messages, or for 2 s of silence after the first.

Example:
  sinew bench sub bench.t --count 1000000 --subscribers 1000 --connections 10";

#[derive(Debug, Args)]
#[command(after_help = BENCH_SUB_HELP)]
pub(crate) struct BenchSubscribe {
    /// Pattern to subscribe to
    pub(crate) pattern: String,
    /// Messages each subscriber waits for
    #[arg(long, env = "SINEW_COUNT", hide_env = true, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Subscribers
    #[arg(long, env = "SINEW_SUBSCRIBERS", hide_env = true, value_name = "S", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subscribers: u32,
    /// Connections the subscribers share; one each when left out
    #[arg(long, env = "SINEW_CONNECTIONS", hide_env = true, value_name = "C",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: Option<u32>,
    /// What the node does when a subscriber reads too slowly
    #[arg(long, env = "SINEW_POLICY", hide_env = true, default_value = "block")]
    pub(crate) policy: Policy,
}

#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    #[command(flatten)]
    pub(crate) admin: Admin,
}

/// Which node to ask, for commands that ask its admin server.
#[derive(Debug, Args)]
pub(crate) struct Admin {
    /// Admin server of the node
    #[arg(long, env = "SINEW_ADMIN", hide_env = true, value_name = "HOST:PORT", default_value = "127.0.0.1:4600")]
    pub(crate) admin: String,
    /// Its admin token; not needed on its host
    #[arg(long, env = "SINEW_ADMIN_TOKEN", hide_env = true, value_name = "TOKEN")]
    pub(crate) admin_token: Option<Token>,
}

/// What opens an admin server to others. Never printed.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// To be sent, not shown.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Debug, Args)]
pub(crate) struct Peers {
    #[command(flatten)]
    pub(crate) admin: Admin,
}

#[derive(Debug, Args)]
pub(crate) struct Topics {
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// Only those that nobody in the realm listens to
    #[arg(long, env = "SINEW_UNHEARD", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) unheard: bool,
}

const ANNOUNCE_HELP: &str = "\
The lease is renewed until the program is interrupted, and then withdrawn.

Example:
  sinew svc announce math.square --ttl 30s --metadata version=2";

#[derive(Debug, Subcommand)]
pub(crate) enum Svc {
    /// List the services of the realm
    Ls,
    /// Show who provides a service; exit code 4 when nobody does
    Get {
        /// Name of the service
        name: String,
    },
    /// Announce a service for as long as the program runs
    #[command(after_help = ANNOUNCE_HELP)]
    Announce {
        /// Name of the service: tokens separated by dots; several may be given
        #[arg(required = true)]
        name: Vec<String>,
        /// How long the realm believes in it without a renewal
        #[arg(long, env = "SINEW_TTL", hide_env = true, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
        ttl: Duration,
        /// Told to whoever looks the service up; may be repeated
        #[arg(long, env = "SINEW_METADATA", hide_env = true, value_name = "K=V", value_parser = parse_pair)]
        metadata: Vec<(String, String)>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new identity in --identity FILE, and print its peer id
    New,
    /// Print the peer id of --identity FILE, or of the node's data directory
    Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print every setting of a node with its value and where it came from
    Show(NodeFlags),
    /// Say whether a node would accept its configuration
    Check(NodeFlags),
}

/// What success of a publish means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Fire,
    Acked,
}

/// What a full queue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    DropOldest,
    DropNewest,
    Latest,
    Block,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not KEY=VALUE".to_owned()),
    }
}

/// Messages per second: `20000`, `20k`, `1.5M`, with or without `/s`.
fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (number, factor) = match number.as_bytes().last() {
        Some(b'k' | b'K') => (&number[..number.len() - 1], 1e3),
        Some(b'M') => (&number[..number.len() - 1], 1e6),
        _ => (number, 1.0),
    };
    let rate = number.replace('_', "").parse::<f64>().ok().map(|n| n * factor);
    rate.filter(|rate| *rate > 0.0 && rate.is_finite() && *rate <= 1e9)
        .ok_or_else(|| "is not a rate: write messages per second like 500, 20k or 1.5M".to_owned())
}

fn parse_payload_size(text: &str) -> Result<usize, String> {
    let size = parse_size(text)?;
    match usize::try_from(size) {
        Ok(size @ 16..=0x10_0000) => Ok(size),
        _ => Err(format!("{size} is not between 16 and 1048576 bytes")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable() {
        // The settings of a node are read from the environment by the configuration loader.
        let by_loader = ["data-dir", "listen", "mesh", "bootstrap", "admin", "admin-token", "open", "set"];
        fn check(command: &clap::Command, by_loader: &[&str]) {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
                let expected = format!("SINEW_{}", long.replace('-', "_").to_uppercase());
                match arg.get_env() {
                    Some(variable) => assert_eq!(variable, expected.as_str()),
                    None => assert!(by_loader.contains(&long), "--{long} of {} has none", command.get_name()),
                }
            }
            command.get_subcommands().for_each(|inner| check(inner, by_loader));
        }
        check(&Cli::command(), &by_loader);
    }

    #[test]
    fn common_flags_stand_before_or_after_the_command() {
        for line in ["sinew --json --timeout 250ms sub a", "sinew sub a --timeout 250ms --json"] {
            let cli = parse(line).expect(line);
            assert!(cli.common.json);
            assert_eq!(cli.common.timeout, Duration::from_millis(250));
        }
        let cli = parse("sinew pub a b --server unix:///run/s.sock,tls://127.0.0.1:4400").expect("two servers");
        assert_eq!(cli.common.server.len(), 2);
    }

    #[test]
    fn a_publish_takes_what_the_contract_says() {
        let line = "sinew pub t p --count 3 --rate 20k --header a=b --header c=d=e --level acked --ttl 2s --id x \
                    --retain --require-subscribers";
        let Command::Pub(publish) = parse(line).expect(line).command else { panic!("another command") };
        assert_eq!((publish.count, publish.rate), (3, Some(20_000.0)));
        assert_eq!(publish.header[1], ("c".to_owned(), "d=e".to_owned()));
        assert_eq!((publish.level, publish.ttl), (Level::Acked, Some(Duration::from_secs(2))));
        assert!(publish.retain && publish.require_subscribers);
        let Command::Pub(publish) = parse("sinew pub t -").expect("standard input").command else { panic!() };
        assert_eq!(publish.payload.as_deref(), Some("-"));
        let Command::Pub(publish) = parse("sinew pub t -21.5").expect("a negative number").command else { panic!() };
        assert_eq!(publish.payload.as_deref(), Some("-21.5"));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for (line, kind) in [
            ("sinew", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("sinew fly", ErrorKind::InvalidSubcommand),
            ("sinew up --nodes 0", ErrorKind::ValueValidation),
            ("sinew svc get", ErrorKind::MissingRequiredArgument),
            ("sinew sub", ErrorKind::MissingRequiredArgument),
            ("sinew sub a --policy sometimes", ErrorKind::InvalidValue),
            ("sinew sub a --count 0", ErrorKind::ValueValidation),
            ("sinew pub a b --file c", ErrorKind::ArgumentConflict),
            ("sinew pub a b --header c", ErrorKind::ValueValidation),
            ("sinew pub a b --timeout 5", ErrorKind::ValueValidation),
            ("sinew pub a b --server http://localhost", ErrorKind::ValueValidation),
            ("sinew bench pub a --size 15", ErrorKind::ValueValidation),
            ("sinew bench pub a --rate fast", ErrorKind::ValueValidation),
        ] {
            assert_eq!(parse(line).expect_err(line).kind(), kind, "{line}");
        }
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, rate) in
            [("500", 500.0), ("20k", 20_000.0), ("1.5M/s", 1_500_000.0), ("0.5", 0.5), ("20_000/s", 20_000.0)]
        {
            assert_eq!(parse_rate(text), Ok(rate));
        }
        for text in ["", "0", "-1", "inf", "NaN", "k", "1e300"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
