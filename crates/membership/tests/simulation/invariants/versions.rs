//! What is known of a node never gets older, as long as it is up.

use sinew_membership::Event;
use sinew_wire::PeerId;

use super::Invariant;
use crate::world::{Told, World};

/// In which run of the one who holds it, and the epoch and version held.
type Held = (u64, u64, u64);

/// Of each pair: what was held last. By the one who holds it, in the order of identities: a thousand nodes make a million pairs,
/// which are walked through side by side with what is held now.
#[derive(Default)]
pub(super) struct Versions {
    held: Vec<Vec<(PeerId, Held)>>,
}

impl Invariant for Versions {
    fn name(&self) -> &'static str {
        "versions do not go back"
    }

    fn told(&mut self, _world: &World, told: &Told) -> Result<(), String> {
        if let Event::Down { peer, .. } = &told.event
            && let Some(held) = self.held.get_mut(told.node)
            && let Ok(at) = held.binary_search_by_key(peer, |(peer, _)| *peer)
        {
            held.remove(at);
        }
        Ok(())
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        self.held.resize(world.nodes.len(), Vec::new());
        for index in world.alive() {
            let node = &world.nodes[index];
            let Some(membership) = &node.membership else { continue };
            let mut before = std::mem::take(&mut self.held[index]).into_iter().peekable();
            let mut held = Vec::with_capacity(world.nodes.len());
            for member in membership.members() {
                let record = member.record();
                let peer = record.peer();
                let now = (node.epoch, record.info.epoch, member.version());
                while let Some(other) = before.next_if(|(other, _)| *other < peer) {
                    held.push(other);
                }
                if let Some((_, before)) = before.next_if(|(other, _)| *other == peer)
                    && before.0 == now.0
                    && (before.1, before.2) > (now.1, now.2)
                {
                    return Err(format!("node {index} held {before:?} of {}, and now holds {now:?}", peer.short()));
                }
                held.push((peer, now));
            }
            held.extend(before);
            self.held[index] = held;
        }
        Ok(())
    }
}
