//! Our peer ids and those of libp2p: the same key in two types.

use libp2p::PeerId as Theirs;
use sinew_wire::PeerId;

/// identity multihash (0x00) of 36 bytes (0x24): protobuf field 1 = Ed25519 (1), field 2 = 32 bytes.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Nothing for a peer whose key is not an Ed25519 key.
pub(crate) fn ours(peer: &Theirs) -> Option<PeerId> {
    let bytes = peer.to_bytes();
    let key: [u8; 32] = bytes.strip_prefix(&PREFIX)?.try_into().ok()?;
    Some(PeerId::from_public_key(key))
}

pub(crate) fn theirs(peer: &PeerId) -> Theirs {
    let mut bytes = [0; PREFIX.len() + 32];
    bytes[..PREFIX.len()].copy_from_slice(&PREFIX);
    bytes[PREFIX.len()..].copy_from_slice(peer.public_key());
    Theirs::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

#[cfg(test)]
mod tests {
    use sinew_link::Identity;

    use super::*;

    #[test]
    fn there_and_back() {
        let identity = Identity::generate();
        let peer = identity.peer_id();
        assert_eq!(ours(&theirs(&peer)), Some(peer));
        assert_eq!(theirs(&peer), identity.keypair().public().to_peer_id());
        assert_eq!(theirs(&peer).to_string(), peer.to_string());
    }

    #[test]
    fn other_keys_are_refused() {
        // The hash of a key that is too long to be its own id, as RSA keys are.
        let hashed: Theirs = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap();
        assert_eq!(ours(&hashed), None);
    }
}
