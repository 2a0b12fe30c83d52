//! Looks at a node from the host it runs on: can it be reached, does it get what it needs, and what would mend it.
//!
//! The clocks of other nodes are not looked at: no node tells its time, and a guess would be worse than nothing.

mod host;
mod probe;
mod realm;
mod report;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::ArgMatches;
use futures::future::join_all;
use serde_json::Value;
use sinew_link::LinkConfig;
use sinew_node::{ADMIN_TOKEN_NAME, Address, Config};
use tokio::net::UnixStream;

use self::probe::{of_multiaddress, probe};
use self::report::{Line, Verdict};
use super::{admin, config, healthcheck};
use crate::cli::{Admin, Common, Doctor, Token};
use crate::exit::{Code, code_of};
use crate::output::Output;

/// Other nodes of which the listeners are tried.
const MAX_PEERS: usize = 32;

pub(crate) async fn run(doctor: Doctor, common: Common, matches: &ArgMatches, output: Output) -> anyhow::Result<Code> {
    let config = config::load(&doctor.node, matches)?.config;
    let lines = examine(&config, common.timeout).await;
    for line in &lines {
        output.result(line, line)?;
    }
    let failed = lines.iter().filter(|line| line.verdict == Verdict::Failed).count();
    if failed > 0 {
        output.say(format_args!("{failed} of {} failed", lines.len()));
        return Ok(Code::Failure);
    }
    Ok(Code::Ok)
}

async fn examine(config: &Config, limit: Duration) -> Vec<Line> {
    let mut lines = Vec::new();
    let node = match config.admin {
        Some(address) => ask(address, token(config), limit, &mut lines).await,
        None => {
            lines.push(Line::unknown("node", "its admin server is switched off: it can't be asked"));
            None
        }
    };
    let clients = match &node {
        Some(node) => texts(&node.status["client"]).filter_map(|text| text.parse().ok()).collect(),
        None => config.listeners(),
    };
    let mesh = match &node {
        Some(node) => texts(&node.status["mesh"]["addresses"]).map(str::to_owned).collect(),
        None => config.mesh.listeners(),
    };
    lines.extend(join_all(clients.iter().map(|address| listener("listener", address, limit))).await);
    let mesh: Vec<_> = mesh.iter().filter_map(|text| of_multiaddress(text)).collect();
    lines.extend(join_all(mesh.iter().map(|address| listener("mesh listener", address, limit))).await);
    if let Some(node) = &node {
        lines.extend(join_all(node.peers.iter().take(MAX_PEERS).map(|row| peer(row, limit))).await);
        lines.extend(realm::nat(&node.status["mesh"]));
    }
    lines.extend(realm::discovery(config, node.as_ref().map(|node| &node.status["mesh"])));
    lines.push(host::udp_buffers(LinkConfig::default().socket_buffer));
    let needed = host::files_needed(config.limits.max_clients, config.mesh.pool_max);
    lines.push(host::open_files(process(&clients).await, needed));
    lines
}

/// What a node says of itself.
struct Node {
    status: Value,
    peers: Vec<Value>,
}

/// Asks the node; what it answers to the question whether it is ready is a line of its own.
async fn ask(address: SocketAddr, token: Option<Token>, limit: Duration, lines: &mut Vec<Line>) -> Option<Node> {
    let here = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    };
    let admin = Admin { admin: here.to_string(), admin_token: token };
    let asked = async {
        let ready = admin::get(&admin, "/readyz", limit).await?;
        let status = admin::view(&admin, "/api/v1/node", limit).await?;
        let peers = admin::view(&admin, "/api/v1/peers", limit).await?;
        anyhow::Ok((ready, Node { status, peers: peers.as_array().cloned().unwrap_or_default() }))
    };
    match asked.await {
        Ok(((200, _), node)) => {
            lines.push(Line::passed("node", format!("{here} says that it is ready")));
            Some(node)
        }
        Ok(((_, report), node)) => {
            let failing = healthcheck::failing(&report);
            lines.push(Line::failed(
                "node",
                format!("{here} is not ready: {failing}"),
                "the lines below say more; /readyz says since when, and the log why",
            ));
            Some(node)
        }
        Err(error) => {
            let (what, mend) = match code_of(&error) {
                Code::Denied => ("it may not be asked", "run this with the configuration and as the user of the node"),
                _ => ("no node answers", "start it with `sinew up`, or name its admin server with --admin"),
            };
            lines.push(Line::failed("node", format!("{what}: {error:#}"), mend));
            None
        }
    }
}

/// The token that is configured, or the one that the node has made and kept.
fn token(config: &Config) -> Option<Token> {
    if let Some(token) = &config.admin_token {
        return Some(Token::from(token.reveal().to_owned()));
    }
    let kept = std::fs::read_to_string(config.data_dir.as_ref()?.join(ADMIN_TOKEN_NAME)).ok()?;
    Some(Token::from(kept.trim().to_owned()))
}

async fn listener(check: &'static str, address: &Address, limit: Duration) -> Line {
    if matches!(address, Address::Quic { port: 0, .. } | Address::Tls { port: 0, .. }) {
        return Line::unknown(
            check,
            format!("{address}: the system chooses the port, and the node can't be asked for it"),
        );
    }
    // The mesh's TCP is no TLS, but it begins the same way.
    let shown = match address {
        Address::Tls { host, port } if check != "listener" => format!("tcp {host} port {port}"),
        Address::Quic { host, port } if check != "listener" => format!("quic {host} port {port}"),
        _ => address.to_string(),
    };
    match probe(address, limit).await {
        Ok(took) => Line::passed(check, format!("{shown} answered within {:.1} ms", took.as_secs_f64() * 1e3)),
        Err(error) => Line::failed(
            check,
            format!("{shown}: {error:#}"),
            "see whether the node runs (`systemctl status sinew`), and whether a firewall of this host is in between",
        ),
    }
}

/// Whether the client listeners of another node can be reached from here: messages go there, not to its mesh port.
async fn peer(row: &Value, limit: Duration) -> Line {
    let name = row["node"].as_str().unwrap_or("?");
    let addresses: Vec<Address> = texts(&row["client"]).filter_map(|text| text.parse().ok()).collect();
    let answers = join_all(addresses.iter().map(|address| probe(address, limit))).await;
    if let Some((address, _)) = addresses.iter().zip(&answers).find(|(_, answer)| answer.is_ok()) {
        return Line::passed("peer", format!("{name} answers on {address}"));
    }
    let path = row["path"].as_str().unwrap_or("none");
    let tried = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    Line::failed(
        "peer",
        format!("{name} (path: {path}) answers on none of the addresses it tells: {tried}"),
        "open its client port (4400, UDP or TCP) to this host, or have it tell others with mesh.advertise; \
         until then messages go through the mesh port or a relay",
    )
}

/// The process that listens on the node's Unix socket, if it has one on this host.
async fn process(clients: &[Address]) -> Option<u32> {
    let path = clients.iter().find_map(|address| if let Address::Unix(path) = address { Some(path) } else { None })?;
    let socket = UnixStream::connect(path).await.ok()?;
    u32::try_from(socket.peer_cred().ok()?.pid()?).ok()
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
