//! What nodes ask each other about services: one request, one reply, over [`sinew_overlay::Purpose::Discovery`].
//!
//! The overlay has proven who answers, and a node answers only for its own clients: that is why details carry no signature, and
//! why whatever an answer says, the `node` of its instances is the peer that gave it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sinew_registry::check_name;
use sinew_wire::{DecodeError, PeerId, Procedure, ProviderHealth, ServiceInstance, codec};

use crate::Provider;
use crate::cache::Remote;

/// Largest question, in bytes.
pub(crate) const MAX_QUESTION: usize = 1 << 10;

/// Largest answer, in bytes.
pub(crate) const MAX_ANSWER: usize = 64 << 10;

/// Most instances in one answer.
pub(crate) const MAX_INSTANCES: usize = 256;

/// A longer remaining time than this is nonsense: leases last an hour.
const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Which instances of a service do you have?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Instances of one name, beginning at any place; who goes on asks for those behind what it got.
    Instances {
        /// The service.
        name: String,
        /// The place to begin at.
        start: u32,
        /// How many to give at most.
        max: u32,
    },
}

/// Answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// As many as fit an answer, of those that were asked for.
    Instances {
        /// The service.
        name: String,
        /// Region label of the node.
        region: String,
        /// The instances.
        instances: Vec<Detail>,
        /// Whether more follow.
        more: bool,
    },
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// Who provides it.
    pub(crate) provider: PeerId,
    /// The provider's instance.
    pub(crate) instance: u64,
    /// As announced.
    pub(crate) metadata: Vec<(String, String)>,
    /// How long the lease still holds unless it is renewed, in milliseconds.
    pub(crate) ttl_ms: u64,
    /// How it is called, if it can be.
    pub(crate) callable: Option<Callable>,
}

/// What an instance has that can be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Callable {
    /// The node's number for it.
    pub(crate) id: u64,
    /// How it wants to be called.
    pub(crate) procedure: Procedure,
    /// How it is, by its own word.
    pub(crate) health: ProviderHealth,
}

impl Detail {
    /// As somebody else sees it.
    fn into_remote(self, name: &str, node: PeerId, region: &Arc<str>) -> Remote {
        let Self { provider, instance, metadata, ttl_ms, callable } = self;
        let callable = callable.map(|Callable { id, procedure, health }| Provider {
            node,
            id,
            provider,
            instance,
            region: Arc::clone(region),
            procedure: Arc::new(procedure),
            health,
        });
        let (name, region) = (name.to_owned(), region.as_ref().to_owned());
        Remote { instance: ServiceInstance { name, node, provider, instance, metadata, ttl_ms, region }, callable }
    }
}

/// Why an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bad {
    TooLarge,
    Undecodable,
    OtherName,
    TooMany,
    Texts,
    Ttl,
}

impl From<DecodeError> for Bad {
    fn from(_: DecodeError) -> Self {
        Self::Undecodable
    }
}

impl Question {
    pub(crate) fn encode(&self) -> Bytes {
        codec::encode(self).into()
    }

    /// From a stranger: bounded, and the name is one.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        if body.len() > MAX_QUESTION {
            return None;
        }
        let question: Self = codec::decode(body).ok()?;
        let Self::Instances { name, .. } = &question;
        check_name(name).ok()?;
        Some(question)
    }
}

/// A page of instances of one node, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) instances: Vec<Remote>,
    pub(crate) more: bool,
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        codec::encode(self).into()
    }

    /// From a stranger, who was asked for up to `max` instances of `asked`.
    pub(crate) fn decode(body: &[u8], node: PeerId, asked: &str, max: usize) -> Result<Page, Bad> {
        if body.len() > MAX_ANSWER {
            return Err(Bad::TooLarge);
        }
        let Self::Instances { name, region, instances, more } = codec::decode(body)?;
        if name != asked {
            return Err(Bad::OtherName);
        }
        if instances.len() > max {
            return Err(Bad::TooMany);
        }
        if instances.iter().any(|detail| detail.callable.as_ref().is_some_and(|it| it.procedure.validate().is_err())) {
            return Err(Bad::Texts);
        }
        let region: Arc<str> = region.into();
        let instances: Vec<_> = instances.into_iter().map(|detail| detail.into_remote(&name, node, &region)).collect();
        if instances.iter().any(|remote| remote.instance.validate().is_err()) {
            return Err(Bad::Texts);
        }
        if instances.iter().any(|remote| Duration::from_millis(remote.instance.ttl_ms) > MAX_TTL) {
            return Err(Bad::Ttl);
        }
        Ok(Page { instances, more })
    }
}

/// The key of a service in the DHT.
pub(crate) fn dht_key(realm: &str, name: &str) -> [u8; 32] {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(b"sinew service\0");
    hash.update(realm.as_bytes());
    // No realm has a control character.
    hash.update(b"\0");
    hash.update(name.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(hash.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sinew_wire::CachePolicy;

    use super::*;

    fn node(n: u8) -> PeerId {
        PeerId::from_public_key([n; 32])
    }

    fn detail(n: u8) -> Detail {
        let metadata = vec![("k".to_owned(), "v".to_owned())];
        let procedure = Procedure { concurrency: 7, ..Procedure::default() };
        let callable = Some(Callable { id: 5, procedure, health: ProviderHealth::Degraded });
        Detail { provider: node(n), instance: u64::from(n), metadata, ttl_ms: 1_000, callable }
    }

    fn answer(name: &str, instances: Vec<Detail>) -> Answer {
        Answer::Instances { name: name.to_owned(), region: "eu".to_owned(), instances, more: true }
    }

    fn read(answer: &Answer, max: usize) -> Result<Page, Bad> {
        Answer::decode(&answer.encode(), node(9), "a.b", max)
    }

    #[test]
    fn an_answer_is_of_the_node_that_gave_it() {
        let page = read(&answer("a.b", vec![detail(1), detail(2)]), 2).expect("is good");
        assert!(page.more);
        assert_eq!(
            page.instances.iter().map(|i| (i.instance.node, i.instance.provider)).collect::<Vec<_>>(),
            [(node(9), node(1)), (node(9), node(2)),]
        );
    }

    #[test]
    fn what_does_not_answer_is_refused() {
        assert_eq!(read(&answer("a.c", vec![detail(1)]), 1), Err(Bad::OtherName));
        assert_eq!(read(&answer("a.b", vec![detail(1), detail(2)]), 1), Err(Bad::TooMany));
        let forever = Detail { ttl_ms: u64::MAX, ..detail(1) };
        assert_eq!(read(&answer("a.b", vec![forever]), 1), Err(Bad::Ttl));
        let escape = Detail { metadata: vec![("k".into(), "\u{1b}[2J".into())], ..detail(1) };
        assert_eq!(read(&answer("a.b", vec![escape]), 1), Err(Bad::Texts));
        let many = Detail { metadata: vec![("k".into(), String::new()); 17], ..detail(1) };
        assert_eq!(read(&answer("a.b", vec![many]), 1), Err(Bad::Texts));
        let cache = CachePolicy { vary: vec![String::new()], ..CachePolicy::default() };
        let procedure = Procedure { cache: Some(cache), ..Procedure::default() };
        let vary = Callable { id: 1, procedure, health: ProviderHealth::Good };
        assert_eq!(read(&answer("a.b", vec![Detail { callable: Some(vary), ..detail(1) }]), 1), Err(Bad::Texts));
        let large = Detail { metadata: vec![("k".into(), "v".repeat(4_096))], ..detail(1) };
        assert_eq!(read(&answer("a.b", vec![large]), 1), Err(Bad::Texts));
        assert_eq!(Answer::decode(&[0; MAX_ANSWER + 1], node(9), "a.b", 1), Err(Bad::TooLarge));
        assert_eq!(Answer::decode(b"", node(9), "a.b", 1), Err(Bad::Undecodable));
        // A length that claims more than there is.
        let mut lying = answer("a.b", vec![detail(1)]).encode().to_vec();
        lying[4..12].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Answer::decode(&lying, node(9), "a.b", 1), Err(Bad::Undecodable));
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let question = |name: &str| Question::Instances { name: name.to_owned(), start: 0, max: 1 };
        assert_eq!(Question::decode(&question("a.b").encode()), Some(question("a.b")));
        for name in ["", "a.*", "$sys", "a b", &"a".repeat(513), &"a".repeat(5_000)] {
            assert_eq!(Question::decode(&question(name).encode()), None, "{name}");
        }
        assert_eq!(Question::decode(&[0xff; 20]), None);
    }

    #[test]
    fn keys_differ_by_realm_and_name() {
        let keys = [dht_key("a", "b"), dht_key("ab", ""), dht_key("", "ab"), dht_key("b", "a"), dht_key("a", "b.c")];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key));
        }
        assert_eq!(dht_key("default", "echo"), dht_key("default", "echo"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(body in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Question::decode(&body);
            let _ = Answer::decode(&body, node(1), "a", 64);
        }

        #[test]
        fn a_damaged_answer_never_panics(at in 0..200_usize, byte in any::<u8>()) {
            let mut body = answer("a.b", vec![detail(1), detail(2)]).encode().to_vec();
            let at = at % body.len();
            body[at] = byte;
            let _ = Answer::decode(&body, node(1), "a.b", 2);
        }
    }
}
