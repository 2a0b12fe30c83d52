//! What is held of another node.

use std::sync::Arc;
use std::time::Instant;

use crate::packet::Identity;
use crate::replica::Replica;
use crate::{DownReason, Record};

/// A member, as [`crate::Membership::members`] shows it.
#[derive(Debug)]
pub struct Member {
    pub(super) record: Arc<Record>,
    pub(super) status: Status,
    /// Since when it has that status.
    pub(super) since: Instant,
    /// When its newest record came.
    pub(super) heard: Instant,
    /// Whether a message of its own has come, which only the member itself can send.
    pub(super) direct: bool,
    /// Whether it has shown that it holds our newest record.
    pub(super) knows: bool,
    /// Which version of ours it holds, if it has told since our record was another one.
    pub(super) confirmed: Option<u64>,
    /// It has asked what we hold, and is to be told when that is all there is.
    pub(super) asked: bool,
    /// It knows something else than we do.
    pub(super) differs: bool,
    pub(super) replica: Replica,
    pub(super) pull: Pull,
    /// Failures of it in a row.
    pub(super) pull_failures: u32,
    /// Requests under way to check whether it is gone, and how many had no answer in a row.
    pub(super) doubt: Doubt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Up,
    Down(DownReason),
}

/// How far the fetching of what a member publishes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Pull {
    #[default]
    Idle,
    /// It waits for its turn.
    Queued,
    /// The request has this number.
    Asked(u64),
    /// It failed, and is tried again then.
    Later(Instant),
}

/// Somebody else says that it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Doubt {
    #[default]
    None,
    /// So many requests had no answer.
    Asking(u32),
}

impl Member {
    pub(super) fn new(record: Arc<Record>, now: Instant) -> Self {
        Self {
            record,
            status: Status::Down(DownReason::Failed),
            since: now,
            heard: now,
            direct: false,
            knows: false,
            confirmed: None,
            asked: false,
            differs: false,
            replica: Replica::default(),
            pull: Pull::Idle,
            pull_failures: 0,
            doubt: Doubt::None,
        }
    }

    /// Its newest record.
    pub const fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Since when it is up, or down.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// The version up to which is known what it publishes; less than that of its record while it is being fetched.
    pub const fn version(&self) -> u64 {
        self.replica.version()
    }

    /// How many keys of it are held.
    pub fn keys(&self) -> usize {
        self.replica.len()
    }

    /// Whether a message of its own has come, other than what others say about it.
    pub const fn is_direct(&self) -> bool {
        self.direct
    }

    pub(super) fn is_up(&self) -> bool {
        self.status == Status::Up
    }

    pub(super) fn identity(&self) -> Identity {
        identity(&self.record)
    }
}

pub(super) fn identity(record: &Record) -> Identity {
    Identity { peer: record.peer(), epoch: record.info.epoch, life: record.life }
}
