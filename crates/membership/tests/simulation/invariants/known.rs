//! Nobody is declared down without a reason: not for being slow for 2 s, and not because of messages that were lost.

use std::time::Duration;

use sinew_membership::{DownReason, Event};

use super::Invariant;
use crate::world::{Told, World};

pub(super) struct Known;

/// For so long after a fault that explains it.
const REASON: Duration = Duration::from_secs(12);

impl Invariant for Known {
    fn name(&self) -> &'static str {
        "nobody is down without a reason"
    }

    fn told(&mut self, world: &World, told: &Told) -> Result<(), String> {
        let Event::Down { peer, reason } = &told.event else { return Ok(()) };
        let Some(other) = world.index(peer) else { return Err("a stranger was up".to_owned()) };
        let node = &world.nodes[other];
        let recent = |at| world.now.saturating_duration_since(at) < REASON;
        let excused = node.ended.is_some()
            || recent(node.started)
            || recent(world.nodes[told.node].started)
            || world.cut_at.is_some_and(recent)
            || world.net.loss > 0.1
            || !world.net.cuts.is_empty();
        if excused || *reason != DownReason::Failed {
            return Ok(());
        }
        Err(format!("node {} declared node {other} down, which is there and not cut off", told.node))
    }
}
