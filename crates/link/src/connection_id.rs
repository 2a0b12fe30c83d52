//! The connection ids that a listener gives out.

use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use rand::Rng;
use ring::hmac;

/// Random bytes of an id. A listener that was killed and started again must not give out an id that a former link still
/// uses: packets of that link would be taken for those of the new one, and never be answered with a reset. quinn's own
/// [`HashedConnectionIdGenerator`](quinn_proto::HashedConnectionIdGenerator) has three: with a thousand links
/// one of them was caught in one of six restarts.
const NONCE: usize = 8;

/// Bytes that prove that an id is one of ours, so that strangers don't get resets for what they make up.
const TAG: usize = 4;

/// Makes connection ids that a later incarnation of the same identity recognises (RFC 9000, section 5.1).
pub(crate) struct ConnectionIds {
    key: hmac::Key,
}

impl ConnectionIds {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    fn id(&self, nonce: [u8; NONCE]) -> [u8; NONCE + TAG] {
        let mut id = [0; NONCE + TAG];
        let (random, proof) = id.split_at_mut(NONCE);
        random.copy_from_slice(&nonce);
        let tag = hmac::sign(&self.key, &nonce);
        proof.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        id
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        ConnectionId::new(&self.id(nonce))
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        let nonce = cid.first_chunk().ok_or(InvalidCid)?;
        // What it opens is a reset: nothing that an attacker gains by guessing it byte for byte.
        if cid[..] == self.id(*nonce) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        NONCE + TAG
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn one_incarnation_recognises_the_ids_of_another_and_no_others() {
        let (mut before, after) = (ConnectionIds::new(b"ours"), ConnectionIds::new(b"ours"));
        let id = before.generate_cid();
        assert_eq!(id.len(), after.cid_len());
        assert!(after.validate(&id).is_ok());
        assert!(ConnectionIds::new(b"theirs").validate(&id).is_err());
        for place in 0..id.len() {
            let mut other = id.to_vec();
            other[place] ^= 1;
            assert!(after.validate(&ConnectionId::new(&other)).is_err(), "byte {place}");
        }
        for len in 0..id.len() {
            assert!(after.validate(&ConnectionId::new(&id[..len])).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_restarted_listener_gives_out_no_id_that_a_former_link_uses() {
        const IDS: usize = 50_000;
        let ids = || {
            let mut made = ConnectionIds::new(b"ours");
            (0..IDS).map(move |_| made.generate_cid())
        };
        let former: HashSet<ConnectionId> = ids().collect();
        assert_eq!(former.len(), IDS);
        assert!(ids().all(|id| !former.contains(&id)));
    }
}
