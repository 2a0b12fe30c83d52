//! A simulated realm, and what it costs: `cargo run --release -p sinew-membership --example simulate -- --nodes 100`.
//!
//! Prints the seed, and figures per node and second: idle, with churn, and how long it took until a crash was known
//! everywhere. The same arguments give the same run, to the message; only the CPU time is measured.

#[path = "../tests/simulation/world/mod.rs"]
mod world;

use std::time::{Duration, Instant};

use sinew_membership::{Counters, Ed25519, Interest, Key, MembershipConfig, Signer, Value, Verifier};
use world::World;
use world::net::Net;

struct Options {
    nodes: usize,
    seed: u64,
    secs: u64,
    loss: f64,
    churn: f64,
    patterns: usize,
    delay: (u64, u64),
}

fn options() -> Result<Options, String> {
    let mut options =
        Options { nodes: 100, seed: 1, secs: 20, loss: 0.0, churn: 0.1, patterns: 10, delay: (200, 2_000) };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
        let wrong = |_| format!("{name} {value}: not a number");
        match name.as_str() {
            "--nodes" => options.nodes = value.parse().map_err(|_| wrong(()))?,
            "--seed" => options.seed = value.parse().map_err(|_| wrong(()))?,
            "--secs" => options.secs = value.parse().map_err(|_| wrong(()))?,
            "--loss" => options.loss = value.parse().map_err(|_| wrong(()))?,
            "--churn" => options.churn = value.parse().map_err(|_| wrong(()))?,
            "--patterns" => options.patterns = value.parse().map_err(|_| wrong(()))?,
            "--delay-us" => options.delay.1 = value.parse::<u64>().map_err(|_| wrong(()))?.max(200),
            _ => {
                return Err(format!(
                    "{name}: not one of --nodes N --seed S --secs T --loss P --churn CHANGES/S --patterns N --delay-us MAX"
                ));
            }
        }
    }
    Ok(options)
}

#[expect(clippy::disallowed_methods, reason = "measures the simulation, from outside of it")]
fn clock() -> Instant {
    Instant::now()
}

fn totals(world: &World) -> Counters {
    world.nodes.iter().filter_map(|node| node.membership.as_ref()).fold(Counters::default(), |mut all, membership| {
        let one = membership.counters();
        all.messages_out += one.messages_out;
        all.bytes_out += one.bytes_out;
        all.requests_out += one.requests_out;
        all.request_bytes_out += one.request_bytes_out;
        all.verified += one.verified;
        all.duplicates += one.duplicates;
        all.signed += one.signed;
        all
    })
}

/// What a signature and its check take here; the simulation itself uses cheap ones.
fn signature_costs() -> (Duration, Duration) {
    let key = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed");
    let public = ring::signature::KeyPair::public_key(&key).as_ref().try_into().expect("32 bytes");
    let peer = sinew_wire::PeerId::from_public_key(public);
    struct Real(ring::signature::Ed25519KeyPair);
    impl Signer for Real {
        fn sign(&self, message: &[u8]) -> [u8; 64] {
            self.0.sign(message).as_ref().try_into().expect("64 bytes")
        }
    }
    const TIMES: u32 = 500;
    let (message, real) = ([1; 600], Real(key));
    let start = clock();
    let mut signature = [0; 64];
    for _ in 0..TIMES {
        signature = real.sign(&message);
    }
    let signing = (clock() - start) / TIMES;
    let start = clock();
    for _ in 0..TIMES {
        assert!(Ed25519.verify(&peer, &message, &signature));
    }
    (signing, (clock() - start) / TIMES)
}

/// Runs for a while, and prints what it cost each node each second.
fn measure(
    world: &mut World,
    what: &str,
    secs: u64,
    signature: (Duration, Duration),
    mut each: impl FnMut(&mut World),
) {
    const STEPS: u64 = 20;
    let (before, start, nodes) = (totals(world), clock(), world.alive().len());
    for _ in 0..secs * STEPS {
        world.run(Duration::from_secs(1) / STEPS as u32);
        world.told.clear();
        each(world);
    }
    let (after, spent) = (totals(world), clock() - start);
    let per = |count: u64| count as f64 / nodes as f64 / secs as f64;
    let verified = per(after.verified - before.verified);
    let signed = per(after.signed - before.signed);
    let crypto = signature.0.as_secs_f64() * signed + signature.1.as_secs_f64() * verified;
    let rest = spent.as_secs_f64() / nodes as f64 / secs as f64;
    println!(
        "{what:<16} messages/s {:8.1}  KB/s {:8.2}  requests/s {:6.2}  their KB/s {:7.2}  records checked/s {verified:7.2}  \
         held already/s {:8.1}  CPU ms/s {:7.3} (of it signatures {:.3})",
        per(after.messages_out - before.messages_out),
        per(after.bytes_out - before.bytes_out) / 1e3,
        per(after.requests_out - before.requests_out),
        per(after.request_bytes_out - before.request_bytes_out) / 1e3,
        per(after.duplicates - before.duplicates),
        (rest + crypto) * 1e3,
        crypto * 1e3,
    );
}

fn publish(world: &mut World, index: usize, number: usize, direct: u32) {
    let value = Value::Interest(Interest { direct, ..Interest::default() });
    world.set(index, Key::Interest(format!("site.{index}.sensor.{number}.>")), Some(value));
}

fn main() {
    let options = match options() {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            std::process::exit(2);
        }
    };
    println!(
        "{} nodes, seed {}, {} patterns each, loss {}, delay {} to {} us",
        options.nodes, options.seed, options.patterns, options.loss, options.delay.0, options.delay.1
    );
    let net = Net { loss: options.loss, duplicates: 0.0, delay: options.delay, cuts: Default::default() };
    let mut world = World::new(options.seed, options.nodes, net, MembershipConfig::new("simulated"));
    let signature = signature_costs();
    println!("a signature takes {:?}, its check {:?}", signature.0, signature.1);
    for index in 0..options.nodes {
        // All know the first one, as a seed of a cluster.
        world.start(index, if index == 0 { &[] } else { &[0] });
        for number in 0..options.patterns {
            publish(&mut world, index, number, 1);
        }
        world.run(Duration::from_millis(20));
    }
    let started = world.now;
    while world.unconverged().is_some() && world.now - started < Duration::from_secs(60) {
        world.run(Duration::from_millis(50));
        world.told.clear();
    }
    let wrong = world.unconverged();
    println!(
        "converged {:?} after the last start{}",
        world.now - started,
        wrong.map_or(String::new(), |w| format!(": NOT: {w}"))
    );
    world.run(Duration::from_secs(5));
    measure(&mut world, "idle", options.secs, signature, |_| {});

    let per_step = options.churn * options.nodes as f64 / 20.0;
    let (mut due, mut direct) = (0.0, 1);
    measure(&mut world, &format!("churn {}/s", options.churn), options.secs, signature, |world| {
        due += per_step;
        while due >= 1.0 {
            due -= 1.0;
            direct += 1;
            let (index, number) = (world.chance.below(options.nodes), world.chance.below(options.patterns));
            publish(world, index, number, direct);
        }
    });
    world.run(Duration::from_secs(3));

    // How long a change takes to everybody.
    let (changed, key) = (world.now, Key::Interest("site.0.news".to_owned()));
    let value = Value::Interest(Interest { direct: 1, ..Interest::default() });
    world.set(0, key.clone(), Some(value));
    let origin = world.nodes[0].peer;
    let knows = |world: &World, index: usize| {
        index == 0 || world.nodes[index].view.get(&origin).is_some_and(|seen| seen.keys.contains_key(&key))
    };
    let mut half = None;
    while !(0..options.nodes).all(|index| knows(&world, index)) && world.now - changed < Duration::from_secs(20) {
        world.run(Duration::from_millis(1));
        let many = (0..options.nodes).filter(|index| knows(&world, *index)).count();
        if many * 2 >= options.nodes && half.is_none() {
            half = Some(world.now - changed);
        }
    }
    println!("a change is known to half after {:?}, to all after {:?}", half.unwrap_or_default(), world.now - changed);

    // How long a crash takes to everybody: ten in turn, of nodes that the others do not need.
    let mut took = Vec::new();
    for victim in (1..options.nodes).rev().take(10.min(options.nodes.saturating_sub(3))) {
        let (crashed, peer) = (world.now, world.nodes[victim].peer);
        world.crash(victim);
        while world.alive().iter().any(|index| world.nodes[*index].view.contains_key(&peer))
            && world.now - crashed < Duration::from_secs(30)
        {
            world.run(Duration::from_millis(20));
            world.told.clear();
        }
        took.push(world.now - crashed);
    }
    took.sort();
    if let (Some(first), Some(middle), Some(last)) = (took.first(), took.get(took.len() / 2), took.last()) {
        println!("a crash is known everywhere after {first:?} to {last:?}, {middle:?} in the middle");
    }
    match world.problems.first() {
        Some(problem) => println!("PROBLEM: {problem}"),
        None => println!("{} things happened, none of them refused", world.happened),
    }
}
