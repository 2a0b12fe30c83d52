use sinew_balance::InstanceView;
use sinew_wire::ProviderHealth;

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
