use std::sync::atomic::{AtomicU64, Ordering};

use sinew_membership::Counters;
use sinew_observe::Reading;

/// One number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the mesh counts beside the metrics of the pool.
        #[derive(Debug, Default)]
        pub(crate) struct MeshCounters {
            $($(#[$doc])* pub(crate) $name: Count,)*
        }

        impl MeshCounters {
            /// All of them with their names.
            pub(crate) fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Messages that the overlay did not take.
    messages_not_sent,
    /// Messages of nodes that the membership refused.
    messages_refused,
    /// Requests of nodes that the membership refused.
    requests_refused,
    /// Patterns and services that could not be published, because a limit was reached.
    unpublished,
    /// Patterns of other nodes refused, because the node has more than it may.
    interest_refused,
    /// Links refused, because their node is no member.
    strangers_refused,
    /// Links refused for want of room for those that wait for their node's record.
    strangers_turned_away,
    /// Links refused in the handshake for another reason: another realm, say.
    hellos_refused,
    /// Handshakes that broke or were not finished in time.
    handshakes_failed,
    /// Links that yielded to one that the peer had dialled at the same time.
    yielded,
    /// Links ended because the peer broke the protocol.
    violations,
    /// Links ended because nothing was heard of the peer.
    silent,
}

/// What the membership has counted, by name.
pub(crate) fn counted(counters: &Counters) -> Vec<Reading> {
    vec![
        ("messages_out", counters.messages_out),
        ("bytes_out", counters.bytes_out),
        ("messages_in", counters.messages_in),
        ("bytes_in", counters.bytes_in),
        ("requests_out", counters.requests_out),
        ("request_bytes_out", counters.request_bytes_out),
        ("requests_in", counters.requests_in),
        ("request_bytes_in", counters.request_bytes_in),
        ("requests_failed", counters.requests_failed),
        ("messages_dropped", counters.messages_dropped),
        ("verified", counters.verified),
        ("signed", counters.signed),
        ("duplicates", counters.duplicates),
        ("renewals", counters.renewals),
        ("stalls", counters.stalls),
        ("detector_errors", counters.detector_errors),
    ]
}

/// What the membership holds, by name.
pub(crate) fn held(counters: &Counters) -> Vec<Reading> {
    let held = [
        ("members", counters.members),
        ("remembered", counters.remembered),
        ("entries", counters.entries),
        ("entry_bytes", counters.entry_bytes),
        ("published", counters.published),
        ("tombstones", counters.tombstones),
        ("outputs", counters.outputs),
        ("requests", counters.requests),
    ];
    held.map(|(name, number)| (name, number as u64)).to_vec()
}
