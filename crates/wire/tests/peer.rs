//! The text form of a peer id is libp2p's.

use std::str::FromStr;

use libp2p_identity::{PublicKey, ed25519};
use proptest::prelude::*;
use sinew_wire::PeerId;

/// The same key's id as libp2p writes it; `None` where libp2p finds that the bytes are no point on the curve.
fn libp2p(key: &[u8; 32]) -> Option<libp2p_identity::PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(key).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

#[test]
fn known_id() {
    // From the peer id specification's list of test vectors: the public key of the Ed25519 example.
    let key = "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
    let key: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&key[2 * i..2 * i + 2], 16).expect("hex")).collect();
    let id = PeerId::from_public_key(key.try_into().expect("32 bytes"));
    assert_eq!(id.to_string(), libp2p(id.public_key()).expect("a key").to_string());
    assert_eq!(id.to_string(), "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq");
    assert_eq!(format!("{id:?}"), "PeerId(12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq)");
    assert_eq!(id.short(), "Umo7R3pq");
}

proptest! {
    #[test]
    fn same_text_as_libp2p(key: [u8; 32]) {
        let id = PeerId::from_public_key(key);
        let text = id.to_string();
        prop_assert!(text.starts_with("12D3KooW") && text.len() == 52);
        prop_assert_eq!(PeerId::from_str(&text), Ok(id));
        if let Some(theirs) = libp2p(&key) {
            prop_assert_eq!(&text, &theirs.to_string());
        }
        prop_assert_eq!(libp2p_identity::PeerId::from_str(&text).map(|id| id.to_string()).ok(), Some(text));
    }

    /// No text but the canonical one is an id.
    #[test]
    fn arbitrary_text(text in "(12D3KooW)?[1-9A-HJ-NP-Za-km-z]{0,60}|\\PC{0,70}") {
        if let Ok(id) = PeerId::from_str(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}

#[test]
fn bad_texts() {
    let id = PeerId::from_public_key([7; 32]).to_string();
    // Hash of an RSA key, and a secp256k1 key: valid peer ids of other kinds.
    let rsa = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    let secp256k1 = "16Uiu2HAm2y6DXp6THtRCyurgkWgmq6yJ7T5Lr3BZVhNKu2ZKvAhb";
    let longer = format!("{id}1");
    let padded = format!(" {id}");
    let not_base58 = id.replace('W', "0");
    let bad = ["", "1", "12D3KooW", &id[..51], &longer, &padded, &not_base58, rsa, secp256k1, &"1".repeat(1 << 20)];
    for text in bad {
        let error = PeerId::from_str(text).expect_err(text).to_string();
        assert!(error.starts_with("not the peer id of an Ed25519 key: "), "{error}");
    }
}
