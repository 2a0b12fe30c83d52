//! Nothing grows beyond its bound, whatever happens.

use super::Invariant;
use crate::world::World;

pub(super) struct Bounded;

impl Invariant for Bounded {
    fn name(&self) -> &'static str {
        "tables and queues are bounded"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        let config = &world.config;
        for index in world.alive() {
            let Some(membership) = &world.nodes[index].membership else { continue };
            let counters = membership.counters();
            let held: usize = membership.members().map(|member| member.keys()).sum();
            let bounds = [
                ("members", counters.members, world.nodes.len() - 1),
                ("remembered", counters.members + counters.remembered, world.nodes.len() - 1),
                ("requests", counters.requests, config.max_requests),
                ("outputs", counters.outputs, 0),
                ("tombstones", counters.tombstones, config.max_tombstones),
                // 40 keys are all there are.
                ("entries", counters.entries, 40 * counters.members),
                ("entries counted", counters.entries, held),
                ("published", counters.published, 40),
                ("detector errors", usize::try_from(counters.detector_errors).unwrap_or(usize::MAX), 0),
            ];
            for (what, actual, most) in bounds {
                if actual > most {
                    return Err(format!("node {index} has {actual} {what}, at most {most} are allowed"));
                }
            }
        }
        Ok(())
    }
}
