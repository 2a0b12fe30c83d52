//! What is known of a node never gets older, as long as it is up.

use std::collections::BTreeMap;

use sinew_membership::Event;
use sinew_wire::PeerId;

use super::Invariant;
use crate::world::{Told, World};

/// Of each pair: what was held last, and in which run of the one who holds it.
#[derive(Default)]
pub(super) struct Versions {
    held: BTreeMap<(usize, PeerId), (u64, u64, u64)>,
}

impl Invariant for Versions {
    fn name(&self) -> &'static str {
        "versions do not go back"
    }

    fn told(&mut self, _world: &World, told: &Told) -> Result<(), String> {
        if let Event::Down { peer, .. } = &told.event {
            self.held.remove(&(told.node, *peer));
        }
        Ok(())
    }

    fn look(&mut self, world: &World) -> Result<(), String> {
        for index in world.alive() {
            let node = &world.nodes[index];
            for member in node.membership.iter().flat_map(|membership| membership.members()) {
                let record = member.record();
                let now = (node.epoch, record.info.epoch, member.version());
                let before = self.held.insert((index, record.peer()), now).unwrap_or_default();
                if before.0 == now.0 && (before.1, before.2) > (now.1, now.2) {
                    let peer = record.peer().short();
                    return Err(format!("node {index} held {before:?} of {peer}, and now holds {now:?}"));
                }
            }
        }
        Ok(())
    }
}
