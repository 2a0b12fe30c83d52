//! Ten seconds after a crash nobody counts on the node any more; after a goodbye much sooner.

use std::time::Duration;

use sinew_membership::DownReason;

use super::Invariant;
use crate::world::World;

pub(super) struct Gone;

const CRASHED: Duration = Duration::from_secs(10);
const LEFT: Duration = Duration::from_secs(2);

impl Invariant for Gone {
    fn name(&self) -> &'static str {
        "a crashed node is gone after 10 s"
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        for ended in &world.nodes {
            let Some((at, reason)) = ended.ended else { continue };
            // A goodbye that could not arrive is a crash to those whom it did not reach.
            let heard = world.net.loss == 0.0 && world.calm() > LEFT && world.cut_at.is_none_or(|cut| cut < at);
            let left = reason == DownReason::Left && heard;
            let patience = if left { LEFT } else { CRASHED };
            for index in world.alive() {
                let node = &world.nodes[index];
                // Who was cut off, or had no CPU, had something else to find out.
                let busy = node.starved_until.max(node.started);
                let cut = world.cut_at.map_or(at, |cut| cut.max(at));
                let since = at.max(busy).max(cut);
                if world.now.saturating_duration_since(since) > patience && node.view.contains_key(&ended.peer) {
                    let waited = world.now - at;
                    return Err(format!("node {index} holds {} for up, {waited:?} after it ended", ended.peer.short()));
                }
            }
        }
        Ok(())
    }
}
