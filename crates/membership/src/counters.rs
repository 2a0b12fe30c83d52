//! Plain numbers for metrics.

use crate::Refused;

/// What happened since the start, and what is held now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Members that are up, without this node.
    pub members: usize,
    /// Members that are down and still remembered.
    pub remembered: usize,
    /// Keys held of others.
    pub entries: usize,
    /// What they are charged with, in bytes.
    pub entry_bytes: usize,
    /// Keys that this node publishes.
    pub published: usize,
    /// Removals of its own that this node remembers.
    pub tombstones: usize,
    /// Outputs that wait to be fetched.
    pub outputs: usize,
    /// Requests under way.
    pub requests: usize,
    /// Messages made.
    pub messages_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Messages taken in.
    pub messages_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Requests made, and answers given.
    pub requests_out: u64,
    /// Their bytes.
    pub request_bytes_out: u64,
    /// Requests and answers taken in.
    pub requests_in: u64,
    /// Their bytes.
    pub request_bytes_in: u64,
    /// Requests that got no answer.
    pub requests_failed: u64,
    /// Messages dropped because too many outputs wait.
    pub messages_dropped: u64,
    /// Signatures checked.
    pub verified: u64,
    /// Records signed.
    pub signed: u64,
    /// Records that were held already: what the epidemic costs.
    pub duplicates: u64,
    /// How often the node had to contradict that it is down.
    pub renewals: u64,
    /// How often the node was not given CPU in time, so that probes were put off.
    pub stalls: u64,
    /// Errors of the failure detector.
    pub detector_errors: u64,
    /// What was refused, by [`Refused::index`]; their names are [`Refused::NAMES`].
    pub refused: [u64; Refused::REASONS],
}
