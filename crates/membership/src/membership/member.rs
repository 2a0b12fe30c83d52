//! What is held of another node.

use std::sync::Arc;
use std::time::Instant;

use crate::Record;

/// A member, as [`crate::Membership::members`] shows it.
#[derive(Debug)]
pub struct Member {
    record: Arc<Record>,
    since: Instant,
    version: u64,
    keys: usize,
}

impl Member {
    /// Its newest record.
    pub const fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Since when it is up.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// The version up to which is known what it publishes; less than that of its record while it is being fetched.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many keys of it are held.
    pub const fn keys(&self) -> usize {
        self.keys
    }
}
