use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sinew_gateway::Gateway;
use sinew_link::Listener;
use sinew_observe::{Health, Jam, Pulse, Scope};

use super::MAX_SILENCE;
use crate::realm::Realm;

/// The owner tasks of a node, each with a check: it fails while the task is stuck, and for good when the task has ended
/// though the node goes on.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pulses: Vec<(String, Vec<Pulse>)>,
    ending: Arc<AtomicBool>,
}

impl Tasks {
    /// A check over tasks that share a name.
    pub(crate) fn add(&mut self, health: &Health, name: impl Into<String>, pulses: Vec<Pulse>) {
        let (name, ending, watched) = (name.into(), Arc::clone(&self.ending), pulses.clone());
        health.probe(name.clone(), Scope::Live, move || {
            if ending.load(Ordering::Relaxed) {
                return Ok(());
            }
            for (number, pulse) in watched.iter().enumerate() {
                let many = watched.len() > 1;
                pulse
                    .alive(MAX_SILENCE)
                    .map_err(|dead| if many { format!("number {number}: {dead}") } else { dead })?;
            }
            Ok(())
        });
        self.pulses.push((name, pulses));
    }

    /// The tasks of the realm.
    pub(crate) fn add_realm(&mut self, health: &Health, realm: &Realm) {
        self.add(health, "discovery", vec![realm.discovery.pulse()]);
        self.add(health, "call deadlines", vec![realm.calls.pulse()]);
        if let Some(others) = &realm.others {
            let pulse = Pulse::new();
            let shown = pulse.clone();
            others.overlay.on_beat(Box::new(move || {
                let shown = shown.clone();
                Box::pin(async move { shown.beat().await })
            }));
            self.add(health, "overlay task", vec![pulse]);
            self.add(health, "membership", vec![others.mesh.membership_pulse()]);
            self.add(health, "mesh pool", vec![others.mesh.pool_pulse()]);
        }
    }

    /// Begins to accept, and watches that it goes on.
    pub(crate) fn serve(&mut self, health: &Health, gateway: &Gateway, listener: Listener) {
        let address = listener.address();
        let (accepting, pulse) = gateway.serve(listener);
        health.probe(format!("listener {address}"), Scope::Ready, move || {
            if accepting.is_finished() { Err("does not accept".to_owned()) } else { Ok(()) }
        });
        self.add(health, format!("accepting on {address}"), vec![pulse]);
    }

    /// The node drains: from now on its tasks end one after the other, as they should.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// What can be jammed.
    pub(crate) fn names(&self) -> Vec<String> {
        self.pulses.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Holds tasks up, see [`Pulse::jam`].
    pub(crate) fn jam(&self, name: &str) -> Vec<Jam> {
        let of_name = self.pulses.iter().filter(|(known, _)| known == name);
        of_name.flat_map(|(_, pulses)| pulses.iter().map(Pulse::jam)).collect()
    }
}
