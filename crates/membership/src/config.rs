//! Limits and times of a membership.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sinew_wire::PeerId;

/// Limits and times. The defaults make a crash known everywhere after about 6 s, and forgive a node 2 s without CPU.
///
/// The times must be the same at all nodes of a realm.
#[derive(Debug, Clone)]
pub struct MembershipConfig {
    /// The realm. Records of any other are refused.
    pub realm: String,
    /// Most members, this node included: 2,048. As many are remembered after they went down.
    pub max_members: usize,
    /// Most patterns, and most services, that one node publishes: 100,000 each.
    pub max_keys: usize,
    /// Most memory for what one node publishes, in bytes: 64 MiB.
    pub max_node_bytes: usize,
    /// Most memory for what all others publish together, in bytes: 512 MiB.
    pub max_bytes: usize,
    /// Most removals that are remembered, so that others learn of them one by one: 4,096. Who is further behind is
    /// told everything anew.
    pub max_tombstones: usize,
    /// Most outputs that wait to be fetched: 65,536. Beyond it messages are dropped and what comes in is refused.
    pub max_outputs: usize,
    /// Most requests under way at once: 256; one of a kind for each peer.
    pub max_requests: usize,
    /// Most calls of [`crate::Membership::settle`] that are open at once: 1,024.
    pub max_settles: usize,
    /// How much of what changed last is put into the record itself, in bytes: 512.
    pub inline_bytes: usize,
    /// How long changes are collected before they are told: 5 ms; longer in large realms, by [`Self::spread`].
    pub coalesce: Duration,
    /// By how much [`Self::coalesce`] grows per member: 50 µs.
    pub spread: Duration,
    /// How often a member is probed by each other: 500 ms.
    pub probe_period: Duration,
    /// How long the answer to a probe may take before others are asked to try: 200 ms.
    pub probe_rtt: Duration,
    /// How long a member that does not answer has to prove the opposite: 4 s.
    pub suspicion: Duration,
    /// How often what is known is compared with others: 1 s.
    pub anti_entropy: Duration,
    /// How often members that are down are tried again: 1 s.
    pub retry_down: Duration,
    /// For how long they are tried and remembered: 10 min.
    pub forget_down: Duration,
    /// How long the node's record is valid, unless it is renewed, which happens at a third of it: 10 min.
    pub record_lifetime: Duration,
    /// After how long a request counts as lost: 5 s.
    pub request_timeout: Duration,
    /// After how long a settle is answered with what is missing: 10 s.
    pub settle_timeout: Duration,
    /// Who checks signatures.
    pub verifier: VerifierHandle,
}

impl MembershipConfig {
    /// The defaults, for a realm.
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            max_members: 2_048,
            max_keys: 100_000,
            max_node_bytes: 64 << 20,
            max_bytes: 512 << 20,
            max_tombstones: 4_096,
            max_outputs: 65_536,
            max_requests: 256,
            max_settles: 1_024,
            inline_bytes: 512,
            coalesce: Duration::from_millis(5),
            spread: Duration::from_micros(50),
            probe_period: Duration::from_millis(500),
            probe_rtt: Duration::from_millis(200),
            suspicion: Duration::from_secs(4),
            anti_entropy: Duration::from_secs(1),
            retry_down: Duration::from_secs(1),
            forget_down: Duration::from_secs(600),
            record_lifetime: Duration::from_secs(600),
            request_timeout: Duration::from_secs(5),
            settle_timeout: Duration::from_secs(10),
            verifier: VerifierHandle::default(),
        }
    }
}

/// Signs with the key of the node.
pub trait Signer {
    /// The Ed25519 signature of `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// Checks signatures. Anything but [`Ed25519`] is for simulations, where a thousand nodes check the same record.
pub trait Verifier: Send + Sync {
    /// Whether `signature` is that of `peer`, over `message`.
    fn verify(&self, peer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// The real [`Verifier`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Ed25519;

impl Verifier for Ed25519 {
    fn verify(&self, peer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, peer.public_key());
        key.verify(message, signature).is_ok()
    }
}

/// A shared [`Verifier`]; [`Ed25519`] by default.
#[derive(Clone)]
pub struct VerifierHandle(pub Arc<dyn Verifier>);

impl Default for VerifierHandle {
    fn default() -> Self {
        Self(Arc::new(Ed25519))
    }
}

impl fmt::Debug for VerifierHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifierHandle")
    }
}
