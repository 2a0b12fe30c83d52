//! One node's view of its realm.

use std::time::Instant;

use sinew_wire::PeerId;

use crate::{Counters, Key, MembershipConfig, NodeInfo, Output, Refused, Signer, TooMany, Value};

mod member;

pub use member::Member;

/// One node's view of its realm. See the [crate] documentation.
///
/// After each call that takes `&mut self`, fetch what there is from [`Self::poll_output`], and ask
/// [`Self::next_deadline`] again. An answer of [`Self::handle_request`] is to be sent after the events of the same
/// call were carried out: it may say that the node knows now what they tell.
pub struct Membership {
    config: MembershipConfig,
}

impl Membership {
    /// A node that knows nobody yet. `seed` is the source of all chance; it need not be secret.
    pub fn new(
        config: MembershipConfig,
        info: NodeInfo,
        signer: Box<dyn Signer + Send>,
        seed: u64,
        now: Instant,
    ) -> Self {
        let _ = (&info, signer, seed, now);
        Self { config }
    }

    /// The overlay has a connection to a node of the realm. Call it again when there is a new one.
    pub fn introduce(&mut self, peer: PeerId, now: Instant) {
        let _ = (peer, now);
    }

    /// The node has other addresses than before.
    pub fn set_addresses(&mut self, data: Vec<String>, mesh: Vec<String>, now: Instant) {
        let _ = (data, mesh, now);
    }

    /// Publishes a value, or nothing any more, and returns the version of that. The others are told within
    /// milliseconds.
    ///
    /// # Errors
    /// When the others would refuse it; nothing has changed then.
    pub fn set(&mut self, key: Key, value: Option<Value>, now: Instant) -> Result<u64, TooMany> {
        let _ = (key, value, now, &self.config);
        Ok(0)
    }

    /// Takes a message of another node, whose identity the transport has proven.
    ///
    /// # Errors
    /// The first thing that was refused. What stood before it in the message has taken effect; what comes after it
    /// too, unless the reason [is hostile](Refused::is_hostile).
    pub fn handle_message(&mut self, from: PeerId, bytes: &[u8], now: Instant) -> Result<(), Refused> {
        let _ = (from, bytes, now);
        Ok(())
    }

    /// Takes a request of another node, whose identity the transport has proven, and returns the answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn handle_request(&mut self, from: PeerId, bytes: &[u8], now: Instant) -> Result<Vec<u8>, Refused> {
        let _ = (from, bytes, now);
        Ok(Vec::new())
    }

    /// Takes the answer to a request of this node, or that there is none.
    ///
    /// # Errors
    /// Why the answer is worth nothing. The request is done with then, too.
    pub fn handle_response(
        &mut self,
        from: PeerId,
        request: u64,
        outcome: Result<&[u8], ()>,
        now: Instant,
    ) -> Result<(), Refused> {
        let _ = (from, request, outcome, now);
        Ok(())
    }

    /// The time of [`Self::next_deadline`] has come. Does nothing before.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do or to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// Asks whether all members that are up know what this node has published until now. [`crate::Event::Settled`]
    /// answers as soon as they all do, or with how many may not after [`MembershipConfig::settle_timeout`].
    pub fn settle(&mut self, token: u64, now: Instant) {
        let _ = (token, now);
    }

    /// Says goodbye to all members. What comes in afterwards is refused; what is to be sent has to be fetched.
    pub fn leave(&mut self, now: Instant) {
        let _ = now;
    }

    /// The members that are up, without this node, in the order of their identities.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        [].iter()
    }

    /// Plain numbers for metrics.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}
