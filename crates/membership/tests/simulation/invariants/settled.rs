//! "All know" is never said when somebody who is up does not.

use sinew_membership::Event;

use super::Invariant;
use crate::world::{Told, World};

pub(super) struct Settled;

impl Invariant for Settled {
    fn name(&self) -> &'static str {
        "settled means that all know"
    }

    fn told(&mut self, _world: &World, told: &Told) -> Result<(), String> {
        // Looked at when it happened: a step later may be too late.
        match &told.event {
            Event::Settled { .. } => told.wrong.clone().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }
}

/// Who is up, in the eyes of the node, and does not know what it had published when it asked.
pub(crate) fn ignorant(world: &World, node: usize, token: u64) -> Option<String> {
    let waiting = world.nodes[node].waiting.get(&token)?;
    let me = &world.nodes[node];
    let epoch = me.membership.as_ref()?.record().info.epoch;
    for (peer, seen) in &me.view {
        let other = &world.nodes[world.index(peer)?];
        let Some(membership) = &other.membership else { continue };
        // Who was started anew meanwhile, unknown to us, counts with what it was.
        if membership.record().info.epoch != seen.epoch {
            continue;
        }
        let held = membership.members().find(|member| member.record().peer() == me.peer);
        let knows =
            held.is_some_and(|member| member.record().info.epoch == epoch && member.version() >= waiting.version);
        // It knew, and then took us for dead: that is told it next.
        let forgot = held.is_none() && other.lost.contains_key(&me.peer);
        if !knows && !forgot {
            return Some(format!(
                "node {node} was told that all know version {}, but {} holds {:?}",
                waiting.version,
                peer.short(),
                held.map(|member| member.version())
            ));
        }
    }
    None
}
