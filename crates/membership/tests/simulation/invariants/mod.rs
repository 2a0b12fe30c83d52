//! What must hold at every step of every run.

mod bounded;
mod converged;
mod gone;
mod known;
mod said;
mod settled;
mod versions;

pub(crate) use self::settled::ignorant;
use crate::world::{Told, World};

/// One rule.
pub(crate) trait Invariant {
    /// What is printed when it is broken.
    fn name(&self) -> &'static str;

    /// A node told its owner something.
    fn told(&mut self, world: &World, told: &Told) -> Result<(), String> {
        let _ = (world, told);
        Ok(())
    }

    /// A step is over.
    fn look(&mut self, world: &World) -> Result<(), String> {
        let _ = world;
        Ok(())
    }
}

pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(bounded::Bounded),
        Box::new(converged::Converged),
        Box::new(gone::Gone),
        Box::new(known::Known),
        Box::new(said::Said),
        Box::new(settled::Settled),
        Box::<versions::Versions>::default(),
    ]
}
