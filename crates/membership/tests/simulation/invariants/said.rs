//! Nobody is said to publish what it never published.

use sinew_membership::Event;

use super::Invariant;
use crate::world::node::said;
use crate::world::{Told, World};

pub(super) struct Said;

impl Invariant for Said {
    fn name(&self) -> &'static str {
        "only what its origin published"
    }

    fn told(&mut self, world: &World, told: &Told) -> Result<(), String> {
        let Event::Changed { peer, key, value: Some(value) } = &told.event else { return Ok(()) };
        let Some(origin) = world.index(peer) else { return Err("a stranger published something".to_owned()) };
        let ever = &world.nodes[origin].ever;
        let said = said(key, value);
        if ever.contains(&said) {
            return Ok(());
        }
        Err(format!("node {} heard {said} of node {origin}, which never published it", told.node))
    }
}
