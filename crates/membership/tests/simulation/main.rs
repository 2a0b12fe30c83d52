//! The membership in a simulated realm: virtual time, everything drawn from a seed, and a network that loses, delays,
//! repeats, reorders and cuts; nodes that crash, leave, come back, and get no CPU.
//!
//! `SINEW_SEEDS` says how many seeds the small realms get, `SINEW_SEED` which one alone. `docs/simulation.md` tells more.

mod back;
mod invariants;
mod scenario;
mod world;

use scenario::Scenario;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds until one fails, and says how to run that one again.
fn run(test: &str, seeds: impl Iterator<Item = u64>, scenario: impl Fn(u64) -> Scenario) {
    let only = number("SINEW_SEED");
    for seed in seeds.filter(|seed| only.is_none_or(|only| only == *seed)) {
        let scenario = scenario(seed);
        if let Err(wrong) = scenario.run() {
            panic!(
                "seed {seed}, {} nodes: {wrong}\nrepeat it: SINEW_SEED={seed} cargo test -p sinew-membership --test simulation {test}",
                scenario.nodes
            );
        }
    }
}

/// A quarter of the seeds for small realms: four tests, so that they run side by side.
fn small(test: &str, quarter: u64) {
    let most = number("SINEW_SEED").map_or(0, |seed| seed + 1).max(number("SINEW_SEEDS").unwrap_or(1_000));
    run(test, (0..most).filter(|seed| seed % 4 == quarter), Scenario::small);
}

#[test]
fn small_realms_a() {
    small("small_realms_a", 0);
}

#[test]
fn small_realms_b() {
    small("small_realms_b", 1);
}

#[test]
fn small_realms_c() {
    small("small_realms_c", 2);
}

#[test]
fn small_realms_d() {
    small("small_realms_d", 3);
}

#[test]
fn a_hundred_nodes() {
    run("a_hundred_nodes", 0..2, |seed| Scenario::large(seed, 100));
}

#[test]
fn a_thousand_nodes() {
    run("a_thousand_nodes", 0..1, Scenario::huge);
}
