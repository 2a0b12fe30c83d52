use std::time::Instant;

use sinew_balance::InstanceView;
use sinew_wire::ProviderHealth;

use crate::service::Service;

/// The calls of a node, as of one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallsView {
    /// Calls that are open.
    pub open: usize,
    /// Calls that wait for a provider of this node.
    pub queued: usize,
    /// Procedures that clients of this node have called lately.
    pub procedures: Vec<ProcedureView>,
    /// Providers among the clients of this node.
    pub providers: Vec<ProviderView>,
}

/// A procedure that clients of this node have called lately.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcedureView {
    /// Its name.
    pub name: String,
    /// What is known here of those who provide it.
    pub instances: Vec<InstanceView>,
}

/// A provider among the clients of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderView {
    /// The procedure.
    pub name: String,
    /// Its number on this node.
    pub instance: u64,
    /// Session of the client.
    pub session: u64,
    /// Calls that it has at hand.
    pub running: usize,
    /// Calls that wait for it.
    pub queued: usize,
    /// Calls that it gets at once.
    pub concurrency: usize,
    /// How it is, by its own word.
    pub health: ProviderHealth,
}

impl CallsView {
    pub(crate) fn of(service: &Service, now: Instant) -> Self {
        let providers: Vec<ProviderView> = providers(service);
        let procedures = service
            .procedures
            .all()
            .into_iter()
            .map(|procedure| ProcedureView { name: procedure.name.to_string(), instances: procedure.view(now) });
        let queued = providers.iter().map(|provider| provider.queued).sum();
        Self { open: service.table.open(), queued, procedures: procedures.collect(), providers }
    }

    /// Numbers that rise and fall, for metrics.
    pub(crate) fn gauges(service: &Service) -> Vec<(&'static str, u64)> {
        let providers = providers(service);
        let sum = |of: fn(&ProviderView) -> usize| providers.iter().map(of).sum::<usize>() as u64;
        vec![
            ("open", service.table.open() as u64),
            ("running", sum(|provider| provider.running)),
            ("queued", sum(|provider| provider.queued)),
            ("waiting_for_links", service.peers.waiting() as u64),
            ("providers", providers.len() as u64),
            ("kept_bytes", service.results.bytes()),
        ]
    }
}

fn providers(service: &Service) -> Vec<ProviderView> {
    let instances = service.instances.read();
    let view = instances.by_id.values().map(|instance| {
        let load = instance.load();
        ProviderView {
            name: instance.name.to_string(),
            instance: instance.id,
            session: instance.session,
            running: load.running,
            queued: load.queued,
            concurrency: instance.concurrency(),
            health: instance.health(),
        }
    });
    view.collect()
}
