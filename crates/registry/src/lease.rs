use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew_wire::{PeerId, Procedure, ProviderHealth};

/// What an instance says about itself: keys and values, in the order in which it gave them.
pub type Metadata = Arc<[(String, String)]>;

/// Who holds a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The session, as the node numbers them; never used twice.
    pub session: u64,
    /// The publisher, as its link has proven it. Quotas go by it.
    pub peer: PeerId,
    /// The publisher's own number for the client object, kept over its reconnects.
    pub instance: u64,
}

/// A lease of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId {
    /// The session that holds it.
    pub session: u64,
    /// The client's number for it.
    pub lease: u32,
}

/// What is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The client's number for the lease.
    pub lease: u32,
    /// Name of the service: [`check_name`](crate::check_name).
    pub name: &'a str,
    /// Time to live without a renewal; zero for [`Limits::default_ttl`](crate::Limits::default_ttl).
    pub ttl: Duration,
    /// What the instance says about itself.
    pub metadata: Vec<(String, String)>,
    /// How it wants to be called, if it can be.
    pub procedure: Option<Procedure>,
}

/// One instance of a service, as of one moment: it is never changed, but replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The node's number for it, never used twice. A lease that a client takes along to another session gets a new one.
    pub number: u64,
    /// Who offers it.
    pub owner: Owner,
    /// The client's number for the lease.
    pub lease: u32,
    /// What it says about itself.
    pub metadata: Metadata,
    /// How it wants to be called, if it can be.
    pub procedure: Option<Arc<Procedure>>,
    /// How it is, by its own word.
    pub health: ProviderHealth,
    /// Time to live without a renewal.
    pub ttl: Duration,
    /// When the lease ends unless it is renewed.
    pub expires: Instant,
}

impl Instance {
    /// The lease.
    pub const fn id(&self) -> LeaseId {
        LeaseId { session: self.owner.session, lease: self.lease }
    }
}

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The name, shared with the registry.
    pub name: Arc<str>,
    /// The instance: [`Instance::number`].
    pub number: u64,
    /// Time to live without a renewal.
    pub ttl: Duration,
    /// Instances of the name now.
    pub instances: u32,
    /// The lease of a session before, which this one has replaced: its client had reconnected, and the node had not
    /// noticed that the session is gone.
    pub ended: Option<Ended>,
}

/// A lease that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The lease.
    pub id: LeaseId,
    /// The instance: [`Instance::number`].
    pub number: u64,
    /// Its name.
    pub name: Arc<str>,
    /// Instances of the name that remain.
    pub instances: u32,
}
