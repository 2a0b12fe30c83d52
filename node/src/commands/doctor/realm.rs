//! How a node and the others find and reach each other, by what it says of itself.

use serde_json::Value;
use sinew_node::{Config, Mesh};

use super::report::Line;

/// Whether others can dial the node. Nothing for a node that stays alone.
pub(super) fn nat(mesh: &Value) -> Option<Line> {
    let kind = mesh["nat"].as_str()?;
    let relays = mesh["relays"].as_array().map_or(0, Vec::len);
    Some(match (kind, relays) {
        ("public", _) => Line::passed("nat", "public: others can dial this node"),
        ("private", 0) => Line::failed(
            "nat",
            "private: others can't dial this node, and no relay keeps an address for it",
            "forward the mesh port and name it with mesh.external; or give it a bootstrap node with \
             mesh.relay_server = true, and leave mesh.use_relays at \"when-private\"",
        ),
        ("private", _) => Line::passed("nat", format!("private: others reach this node through {relays} relays")),
        _ => Line::unknown("nat", "no other node has tried to dial this one yet"),
    })
}

/// What leads the node to others, and whether it does.
pub(super) fn discovery(config: &Config, mesh: Option<&Value>) -> Vec<Line> {
    let listeners = config.mesh.listeners();
    if listeners.is_empty() {
        return vec![Line::passed("discovery", "the node stays alone: mesh.listen is empty")];
    }
    let beyond_loopback = listeners.iter().any(|text| !Mesh::is_loopback(text));
    let mdns = config.mesh.mdns && beyond_loopback;
    let named = config.mesh.bootstrap.len();
    let methods = match (named, mdns) {
        (0, false) => "nothing: neither bootstrap addresses nor multicast DNS".to_owned(),
        (0, true) => "multicast DNS".to_owned(),
        (_, false) => format!("{named} bootstrap addresses"),
        (_, true) => format!("{named} bootstrap addresses, and multicast DNS"),
    };
    let Some(mesh) = mesh else {
        return vec![Line::unknown(
            "discovery",
            format!("configured: {methods}; the node can't be asked what came of it"),
        )];
    };
    let peers = mesh["peers"].as_u64().unwrap_or(0);
    let found = match (peers, named) {
        (0, 0) => Line::unknown("discovery", format!("no other node yet, by {methods}: fine for the first of a realm")),
        (0, _) => Line::failed(
            "discovery",
            format!("no other node is found by {methods}"),
            "one address that leads to a node that is up is enough: mesh.bootstrap, the same realm, \
             port 4500 open there",
        ),
        _ => Line::passed("discovery", format!("{peers} other nodes are connected; configured: {methods}")),
    };
    let bootstrap = mesh["bootstrap"].as_array().map(Vec::as_slice).unwrap_or_default();
    std::iter::once(found).chain(bootstrap.iter().map(|row| bootstrap_line(row, peers))).collect()
}

/// One that fails does no harm while others lead to nodes, and may be only another address of one of these.
fn bootstrap_line(row: &Value, peers: u64) -> Line {
    let address = row["address"].as_str().unwrap_or("?");
    let failures = row["failures"].as_u64().unwrap_or(0);
    match (row["node"].as_str(), row["ourselves"].as_bool()) {
        (Some(node), _) => Line::passed("bootstrap", format!("{address} leads to {node}")),
        (None, Some(true)) => Line::passed("bootstrap", format!("{address} is this node itself, and left alone")),
        _ if failures > 0 => {
            let problem = row["problem"].as_str().filter(|text| !text.is_empty()).unwrap_or("no reason is known");
            let detail = format!("{address}: {failures} attempts failed: {problem}");
            if peers > 0 {
                return Line::unknown("bootstrap", format!("{detail}; not needed now"));
            }
            let mend = "see whether that node is up, whether its name leads there, \
                        and whether its port 4500 (UDP or TCP) is open";
            Line::failed("bootstrap", detail, mend)
        }
        _ => Line::unknown("bootstrap", format!("{address} is being tried")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::Verdict::{Failed, Passed, Unknown};
    use super::*;

    fn config(listen: &[&str], bootstrap: &[&str]) -> Config {
        let mut config = Config::default();
        config.mesh.listen = Some(listen.iter().map(|&text| text.to_owned()).collect());
        config.mesh.bootstrap = bootstrap.iter().map(|&text| text.to_owned()).collect();
        config
    }

    #[test]
    fn only_a_private_node_without_a_relay_fails() {
        let verdict = |nat: &str, relays: &[&str]| nat_of(&json!({ "nat": nat, "relays": relays }));
        assert_eq!(verdict("public", &[]), Passed);
        assert_eq!(verdict("private", &[]), Failed);
        assert_eq!(verdict("private", &["a"]), Passed);
        assert_eq!(verdict("unknown", &[]), Unknown);
        assert!(nat(&Value::Null).is_none());
    }

    fn nat_of(mesh: &Value) -> super::super::report::Verdict {
        nat(mesh).expect("it has a mesh").verdict
    }

    #[test]
    fn a_node_that_was_told_of_others_and_meets_none_fails() {
        let loopback = ["/ip4/127.0.0.1/tcp/4500"];
        let found = |config: &Config, mesh: &Value| discovery(config, Some(mesh)).remove(0);
        let alone = json!({ "peers": 0 });
        assert_eq!(found(&config(&loopback, &["/dns4/a/tcp/1"]), &alone).verdict, Failed);
        assert_eq!(found(&config(&loopback, &[]), &alone).verdict, Unknown);
        assert_eq!(found(&config(&loopback, &["/dns4/a/tcp/1"]), &json!({ "peers": 2 })).verdict, Passed);
        assert_eq!(found(&config(&[], &[]), &Value::Null).verdict, Passed);
        assert_eq!(discovery(&config(&loopback, &[]), None).remove(0).verdict, Unknown);
    }

    #[test]
    fn multicast_dns_counts_only_beyond_loopback() {
        let found = |listen: &str| discovery(&config(&[listen], &[]), Some(&json!({ "peers": 1 }))).remove(0).detail;
        assert!(found("/ip4/0.0.0.0/tcp/4500").ends_with("multicast DNS"));
        assert!(found("/ip4/127.0.0.1/tcp/4500").contains("neither"));
    }

    #[test]
    fn each_bootstrap_address_is_judged() {
        let verdict = |row: Value| bootstrap_line(&row, 0).verdict;
        assert_eq!(verdict(json!({ "address": "a", "node": "12D", "failures": 0 })), Passed);
        assert_eq!(verdict(json!({ "address": "a", "ourselves": true, "failures": 3 })), Passed);
        assert_eq!(verdict(json!({ "address": "a", "ourselves": false, "failures": 0 })), Unknown);
        let row = json!({ "address": "a", "failures": 2, "problem": "refused" });
        assert_eq!(bootstrap_line(&row, 1).verdict, Unknown, "another one leads to a node");
        let failed = bootstrap_line(&row, 0);
        assert_eq!((failed.verdict, failed.detail.as_str()), (Failed, "a: 2 attempts failed: refused"));
    }
}
