//! The dependency arrows of `docs/architecture.md`, asserted from the manifests.
//!
//! Imports go down only: a crate sees the floors below its own, and a
//! neighbour on the same floor only along an arrow named here. Some outside
//! crates have one home, so that their types cannot leak through the house.
//!
//! Normal and build dependencies count. Development dependencies are exempt: a
//! test may look at anything.

use cargo_metadata::{DependencyKind, MetadataCommand};

/// One workspace crate and what it may see.
struct Room {
    name: &'static str,
    floor: u8,
    /// The highest floor it may look at; lower than `floor - 1` for a crate
    /// that must not know the services.
    sees_up_to: u8,
    /// Neighbours on its own floor that it may use.
    sideways: &'static [&'static str],
}

const fn room(floor: u8, name: &'static str) -> Room {
    Room { name, floor, sees_up_to: floor.saturating_sub(1), sideways: &[] }
}

const HOUSE: &[Room] = &[
    room(0, "sinew-topic"),
    room(0, "sinew-wire"),
    room(1, "sinew-flow"),
    room(1, "sinew-balance"),
    room(1, "sinew-membership"),
    room(1, "sinew-registry"),
    room(1, "sinew-live"),
    room(2, "sinew-link"),
    // One identity for both planes, and a link over a relayed stream.
    Room { sideways: &["sinew-link"], ..room(2, "sinew-overlay") },
    room(3, "sinew-observe"),
    Room { sideways: &["sinew-observe"], ..room(3, "sinew-pubsub") },
    Room { sideways: &["sinew-observe"], ..room(3, "sinew-discovery") },
    Room { sideways: &["sinew-discovery", "sinew-observe"], ..room(3, "sinew-rpc") },
    Room { sideways: &["sinew-rpc", "sinew-pubsub", "sinew-discovery", "sinew-observe"], ..room(3, "sinew-mesh") },
    Room {
        sideways: &["sinew-mesh", "sinew-rpc", "sinew-pubsub", "sinew-discovery", "sinew-observe"],
        ..room(3, "sinew-gateway")
    },
    // The SDK speaks the protocol; it never sees a service behind it.
    Room { sees_up_to: 2, ..room(4, "sinew-client") },
    room(4, "sinew-node"),
    room(5, "sinew"),
    room(5, "sinew-examples"),
    room(5, "sinew-tests"),
    // Networks and containers around what the other tests have.
    Room { sideways: &["sinew-tests"], ..room(5, "sinew-system-tests") },
    room(5, "sinew-benches"),
];

/// Outside crates that only the named workspace crates may use.
const HOMES: &[(&str, &[&str])] = &[
    ("quinn", &["sinew-link"]),
    ("quinn-proto", &["sinew-link"]),
    ("rustls", &["sinew-link"]),
    ("tokio-rustls", &["sinew-link"]),
    ("libp2p-tls", &["sinew-link"]),
    ("libp2p-identity", &["sinew-link", "sinew-overlay"]),
    ("libp2p", &["sinew-overlay"]),
    ("libp2p-stream", &["sinew-overlay"]),
    ("foca", &["sinew-membership"]),
    ("bincode", &["sinew-wire"]),
    ("prometheus-client", &["sinew-observe"]),
    ("axum", &["sinew-observe"]),
    ("clap", &["sinew"]),
    ("anyhow", &["sinew"]),
];

/// Nobody builds on these: they may use any outside crate, as a test may.
const UNSHIPPED: &[&str] = &["sinew-examples", "sinew-tests", "sinew-system-tests", "sinew-benches"];

/// Floors up to this one are pure: no runtime, no sockets, no ambient chance.
const PURE_UP_TO: u8 = 1;

/// What a pure crate must not use. A name ending in `*` stands for all that
/// begin like it.
const IMPURE: &[&str] = &[
    "tokio*",
    "async-*",
    "futures*",
    "mio",
    "polling",
    "socket2",
    "quinn*",
    "rustls*",
    "libp2p*",
    "hyper*",
    "axum*",
    "rand",
    "getrandom",
    "fastrand",
    "rustix",
    "libc",
    "nix",
];

/// A crate and the crates it depends on.
struct Crate {
    name: String,
    uses: Vec<String>,
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// Says what is wrong with the arrow from `room` to the crate `used`, if anything.
fn broken_arrow(room: &Room, used: &str) -> Option<String> {
    let name = room.name;
    if let Some(below) = HOUSE.iter().find(|r| r.name == used) {
        let down = below.floor < room.floor && below.floor <= room.sees_up_to;
        let sideways = below.floor == room.floor && room.sideways.contains(&used);
        return (!down && !sideways).then(|| {
            format!(
                "{name} (floor {}) must not use {used} (floor {}): imports go down only, and {name} sees floors up to {}",
                room.floor, below.floor, room.sees_up_to
            )
        });
    }
    if room.floor <= PURE_UP_TO && IMPURE.iter().any(|pattern| matches(pattern, used)) {
        return Some(format!("{name} (floor {}) is pure and must not use {used}", room.floor));
    }
    let (_, homes) = HOMES.iter().find(|(outside, _)| *outside == used)?;
    (!homes.contains(&name) && !UNSHIPPED.contains(&name))
        .then(|| format!("{name} must not use {used}: its home is {}", homes.join(", ")))
}

/// Everything wrong with these crates, one line each.
fn broken_arrows(crates: &[Crate]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in crates {
        let Some(room) = HOUSE.iter().find(|r| r.name == package.name) else {
            wrong.push(format!(
                "{} has no floor: give it a row in HOUSE of tests/arrows.rs and in docs/architecture.md",
                package.name
            ));
            continue;
        };
        wrong.extend(package.uses.iter().filter_map(|used| broken_arrow(room, used)));
    }
    wrong
}

/// The workspace as its manifests say. Without dependencies, so that nothing
/// is resolved, downloaded or built.
fn workspace() -> Vec<Crate> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .expect("cargo metadata reads the workspace");
    metadata
        .packages
        .into_iter()
        .map(|package| Crate {
            name: package.name.to_string(),
            uses: package
                .dependencies
                .into_iter()
                .filter(|dependency| dependency.kind != DependencyKind::Development)
                .map(|dependency| dependency.name)
                .collect(),
        })
        .collect()
}

#[test]
fn arrows_point_down() {
    let wrong = broken_arrows(&workspace());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_room_is_lived_in() {
    let crates = workspace();
    let empty: Vec<_> =
        HOUSE.iter().map(|room| room.name).filter(|name| crates.iter().all(|package| package.name != *name)).collect();
    assert!(empty.is_empty(), "rows of HOUSE without a crate: {empty:?}");
}

#[test]
fn wrong_arrows_are_named() {
    let refused = |name: &str, used: &str| {
        let package = Crate { name: name.to_owned(), uses: vec![used.to_owned()] };
        !broken_arrows(&[package]).is_empty()
    };
    for (name, used) in [
        ("sinew-topic", "sinew-flow"),
        ("sinew-topic", "sinew-wire"),
        ("sinew-wire", "tokio"),
        ("sinew-flow", "tokio-util"),
        ("sinew-flow", "rand"),
        ("sinew-observe", "sinew-pubsub"),
        ("sinew-pubsub", "sinew-gateway"),
        ("sinew-client", "sinew-pubsub"),
        ("sinew-client", "sinew-observe"),
        ("sinew-client", "sinew-node"),
        ("sinew-node", "sinew"),
        ("sinew-gateway", "quinn"),
        ("sinew-pubsub", "prometheus-client"),
        ("sinew-stranger", "serde"),
    ] {
        assert!(refused(name, used), "{name} -> {used} passed");
    }
    for (name, used) in [
        ("sinew-flow", "sinew-topic"),
        ("sinew-gateway", "sinew-pubsub"),
        ("sinew-client", "sinew-link"),
        ("sinew-link", "quinn"),
        ("sinew-observe", "axum"),
        ("sinew", "sinew-node"),
        ("sinew-tests", "quinn"),
    ] {
        assert!(!refused(name, used), "{name} -> {used} was refused");
    }
}
