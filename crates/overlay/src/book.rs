//! Where peers may be dialled, as their signed records say.

use std::num::NonZeroUsize;

use libp2p::Multiaddr;
use lru::LruCache;
use sinew_wire::PeerId;

use crate::address;

/// Peers kept: those used last.
const PEERS: usize = 4096;

/// Addresses kept of each.
pub(crate) const PER_PEER: usize = 16;

/// The address book. Bounded by [`PEERS`] times [`PER_PEER`].
pub(crate) struct Book {
    addresses: LruCache<PeerId, Vec<Multiaddr>>,
}

impl Book {
    pub(crate) fn new() -> Self {
        Self { addresses: LruCache::new(const { NonZeroUsize::new(PEERS).unwrap() }) }
    }

    /// Takes the place of what was known before. Returns how many are no addresses that can be dialled.
    pub(crate) fn set(&mut self, peer: PeerId, texts: &[String]) -> u64 {
        let theirs = crate::peer_id::theirs(&peer);
        let mut refused = 0;
        let mut known = Vec::with_capacity(texts.len().min(PER_PEER));
        for text in texts {
            match address::parse(text) {
                Ok(address) if !address::is_local_only(&address) => {
                    let (bare, of) = address::split_peer(address);
                    if of.is_some_and(|of| of != theirs) {
                        refused += 1;
                    } else if known.len() < PER_PEER && !known.contains(&bare) {
                        known.push(bare);
                    }
                }
                _ => refused += 1,
            }
        }
        if known.is_empty() {
            self.addresses.pop(&peer);
        } else {
            self.addresses.put(peer, known);
        }
        refused
    }

    pub(crate) fn get(&mut self, peer: &PeerId) -> &[Multiaddr] {
        self.addresses.get(peer).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use sinew_link::Identity;

    use super::*;

    #[test]
    fn keeps_what_can_be_dialled() {
        let mut book = Book::new();
        let (peer, other) = (Identity::generate().peer_id(), Identity::generate().peer_id());
        let refused = book.set(
            peer,
            &[
                format!("/ip4/10.0.0.1/tcp/1/p2p/{peer}"),
                "/ip4/10.0.0.1/tcp/1".into(),
                format!("/ip4/10.0.0.2/tcp/1/p2p/{other}"),
                format!("/ip4/10.0.0.3/tcp/1/p2p/{other}/p2p-circuit/p2p/{peer}"),
                "/ip4/0.0.0.0/tcp/1".into(),
                "nonsense".into(),
            ],
        );
        assert_eq!(refused, 3);
        let texts: Vec<String> = book.get(&peer).iter().map(Multiaddr::to_string).collect();
        assert_eq!(texts, ["/ip4/10.0.0.1/tcp/1".to_owned(), format!("/ip4/10.0.0.3/tcp/1/p2p/{other}/p2p-circuit")]);
        let many: Vec<String> = (0..100).map(|port| format!("/ip4/10.0.0.1/tcp/{port}")).collect();
        assert_eq!(book.set(peer, &many), 0);
        assert_eq!(book.get(&peer).len(), PER_PEER);
        book.set(peer, &[]);
        assert!(book.get(&peer).is_empty());
    }
}
