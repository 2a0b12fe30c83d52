//! Some seconds after the last fault everybody alive knows everybody alive and exactly what they publish, and goes on
//! knowing it: a healed partition, a restarted node, a false suspicion need no more.

use std::time::Duration;

use super::Invariant;
use crate::world::World;

pub(super) struct Converged;

/// After the last fault. What crashed has to be found out first, perhaps anew by those who were told of it when a
/// partition healed; where a fifth of all messages is lost, it takes longer.
pub(crate) fn patience(world: &World) -> Duration {
    let crashed =
        world.nodes.iter().filter_map(|node| node.ended).any(|(at, _)| world.now < at + Duration::from_secs(30));
    let healing = if world.net.loss > 0.1 { 9 } else { 5 };
    Duration::from_secs(if crashed { 10 } else { healing })
}

impl Invariant for Converged {
    fn name(&self) -> &'static str {
        "converged after the last fault"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        if world.calm() < patience(world) || world.changed_within(Duration::from_secs(2)) {
            return Ok(());
        }
        world.unconverged().map_or(Ok(()), Err)
    }
}
