//! What goes wrong in a run, drawn from its seed.

use std::time::Duration;

use sinew_membership::{Interest, Key, MembershipConfig, ServiceSummary, Value};

use crate::invariants::{self, Invariant};
use crate::world::World;
use crate::world::chance::Chance;
use crate::world::net::Net;

/// How many things go wrong, and how.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// How long things go wrong.
    pub(crate) trouble: Duration,
    /// How long they are then left alone.
    pub(crate) quiet: Duration,
    /// Faults per second.
    pub(crate) faults: f64,
    /// Changes of what is published, per second and node.
    pub(crate) churn: f64,
    /// How often invariants are looked at.
    pub(crate) step: Duration,
}

impl Scenario {
    pub(crate) fn small(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5ca1_ab1e);
        Self {
            seed,
            nodes: 3 + chance.below(5),
            trouble: Duration::from_secs(chance.between(3, 12)),
            quiet: Duration::from_secs(12),
            faults: [0.0, 0.2, 0.5, 1.0][chance.below(4)],
            churn: [0.2, 1.0, 4.0][chance.below(3)],
            step: Duration::from_millis(250),
        }
    }

    pub(crate) fn large(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            nodes,
            trouble: Duration::from_secs(6),
            quiet: Duration::from_secs(12),
            faults: 0.5,
            churn: 0.05,
            step: Duration::from_millis(500),
        }
    }

    /// Little time, since each second of it is a second here.
    pub(crate) fn huge(seed: u64) -> Self {
        Self {
            trouble: Duration::from_secs(1),
            quiet: Duration::from_secs(11),
            churn: 0.01,
            ..Self::large(seed, 1_000)
        }
    }

    /// Runs it. What is wrong, if anything.
    pub(crate) fn run(&self) -> Result<World, String> {
        let mut chance = Chance::new(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(self.nodes as u64));
        let net = Net {
            loss: [0.0, 0.01, 0.05, 0.2][chance.below(4)],
            duplicates: [0.0, 0.1][chance.below(2)],
            delay: [(50, 200), (200, 5_000), (1_000, 60_000)][chance.below(3)],
            cuts: Default::default(),
        };
        // Small, so that the bounds are met.
        let config = MembershipConfig {
            inline_bytes: [0, 120, 512][chance.below(3)],
            max_tombstones: [1, 4, 4_096][chance.below(3)],
            ..MembershipConfig::new("simulated")
        };
        let mut world = World::new(chance.word(), self.nodes, net, config);
        world.judge = Some(invariants::ignorant);
        let mut invariants = invariants::all();
        for index in 0..self.nodes {
            let seeds = if index == 0 { vec![] } else { vec![chance.below(index)] };
            world.start(index, &seeds);
            if self.nodes <= 8 {
                world.run(Duration::from_millis(chance.between(0, 200)));
            }
        }
        let end = world.now + self.trouble;
        while world.now < end {
            self.trouble(&mut world, &mut chance);
            self.step(&mut world, &mut invariants)?;
        }
        world.heal();
        for index in 0..self.nodes {
            if !world.nodes[index].is_alive() && chance.happens(0.5) {
                restart(&mut world, index, &mut chance);
            }
        }
        // Every connection is made again some time: what was cut off from the beginning has nobody to go to.
        reconnect(&mut world);
        let end = world.now + self.quiet;
        while world.now < end {
            if self.nodes <= 8 && chance.happens(0.1) {
                let alive = world.alive();
                if !alive.is_empty() {
                    world.settle(alive[chance.below(alive.len())]);
                }
            }
            self.step(&mut world, &mut invariants)?;
        }
        match world.unconverged() {
            Some(wrong) => Err(format!("not converged at the end: {wrong}")),
            None => Ok(world),
        }
    }

    fn step(&self, world: &mut World, invariants: &mut [Box<dyn Invariant>]) -> Result<(), String> {
        world.run(self.step);
        if let Some(problem) = world.problems.first() {
            return Err(problem.clone());
        }
        let told = std::mem::take(&mut world.told);
        for invariant in &mut *invariants {
            for told in &told {
                invariant.told(world, told).map_err(|wrong| at(world, invariant.name(), &wrong))?;
            }
            invariant.look(world).map_err(|wrong| at(world, invariant.name(), &wrong))?;
        }
        Ok(())
    }

    fn trouble(&self, world: &mut World, chance: &mut Chance) {
        let alive = world.alive();
        let step = self.step.as_secs_f64();
        let changes = self.churn * step * alive.len() as f64;
        let certain = changes as usize + usize::from(chance.happens(changes.fract()));
        for _ in 0..certain {
            if let Some(index) = alive.get(chance.below(alive.len())) {
                change(world, *index, chance);
            }
        }
        if !alive.is_empty() && chance.happens(self.churn.min(1.0) * step) {
            world.settle(alive[chance.below(alive.len())]);
        }
        if !chance.happens(self.faults * step) {
            return;
        }
        let index = chance.below(self.nodes);
        match chance.below(7) {
            0 | 1 if world.nodes[index].is_alive() && alive.len() > 2 => world.crash(index),
            0..=2 if !world.nodes[index].is_alive() => restart(world, index, chance),
            2 if alive.len() > 2 => world.leave(index),
            3 => partition(world, chance),
            4 => {
                // One way only.
                let other = chance.below(self.nodes);
                if other != index {
                    world.cut(index, other);
                }
            }
            5 => {
                world.heal();
                reconnect(world);
            }
            6 if world.nodes[index].is_alive() => {
                let time = chance.between(100, 2_000);
                world.starve(index, Duration::from_millis(time));
            }
            _ => {}
        }
    }
}

fn at(world: &World, name: &str, wrong: &str) -> String {
    format!("{name}, after {:.3} s: {wrong}", world.elapsed().as_secs_f64())
}

/// Adds, changes or removes one of few keys, so that they meet each other; sometimes many at once.
pub(crate) fn change(world: &mut World, index: usize, chance: &mut Chance) {
    let count = if chance.happens(0.1) { 30 } else { 1 };
    for _ in 0..count {
        let number = chance.below(40);
        let key = if number < 30 {
            Key::Interest(format!("simulated.{number}.*"))
        } else {
            Key::Service(format!("service-{number}"))
        };
        let value = (!chance.happens(0.4)).then(|| match key {
            Key::Interest(_) => {
                let direct = chance.below(5) as u32;
                let groups = (0..chance.below(3)).map(|group| (format!("group-{group}"), 1 + chance.below(3) as u32));
                Value::Interest(Interest { direct, blocking: direct / 2, groups: groups.collect() })
            }
            Key::Service(_) => Value::Service(ServiceSummary { instances: 1 + chance.below(9) as u32 }),
        });
        world.set(index, key, value);
    }
}

fn restart(world: &mut World, index: usize, chance: &mut Chance) {
    let alive = world.alive();
    let seeds = if alive.is_empty() { vec![] } else { vec![alive[chance.below(alive.len())]] };
    world.start(index, &seeds);
}

fn partition(world: &mut World, chance: &mut Chance) {
    let side: Vec<bool> = world.nodes.iter().map(|_| chance.happens(0.5)).collect();
    for one in 0..side.len() {
        for other in 0..side.len() {
            if side[one] != side[other] {
                world.cut(one, other);
            }
        }
    }
}

/// What overlays do on their own: they dial their bootstrap nodes again. Here each its neighbour, in a ring.
fn reconnect(world: &mut World) {
    let alive = world.alive();
    for pair in alive.windows(2) {
        world.connect(pair[0], pair[1]);
    }
}
