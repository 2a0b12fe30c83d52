//! Frames between nodes, and the codec that other crates use for theirs.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use sinew_wire::forward::MAX_GROUPS;
use sinew_wire::{
    DecodeError, Features, FrameHeader, FrameKind, FrameLimits, HEADER_LEN, MAX_CONTROL, MAX_GROUP, MAX_TOPIC,
    MeshControl, PeerId, codec, encode_mesh,
};

fn encoded(control: &MeshControl) -> BytesMut {
    let mut frame = BytesMut::new();
    encode_mesh(control, &mut frame);
    frame
}

fn mesh_control() -> impl Strategy<Value = MeshControl> {
    let peer = || any::<[u8; 32]>().prop_map(PeerId::from_public_key);
    prop_oneof![
        any::<[u64; 4]>().prop_map(|[instance, received, window, features]| {
            MeshControl::Accepted { instance, received, window, features: Features(features) }
        }),
        any::<[u64; 2]>().prop_map(|[received, window]| MeshControl::Resume { received, window }),
        any::<u64>().prop_map(|received| MeshControl::ForwardAck { received }),
        any::<[u64; 5]>().prop_map(|[token, matched, delivered, dropped, unknown]| {
            MeshControl::ForwardResult { token, matched, delivered, dropped, unknown }
        }),
        (peer(), any::<u64>()).prop_map(|(publisher, instance)| MeshControl::Hold { publisher, instance }),
        (peer(), any::<u64>()).prop_map(|(publisher, instance)| MeshControl::Release { publisher, instance }),
        ("[a-z.]{0,50}", any::<u64>(), any::<bool>(), vec("[a-zö]{1,20}", 0..5))
            .prop_map(|(topic, messages, direct, groups)| MeshControl::Missed { topic, messages, direct, groups }),
    ]
}

proptest! {
    #[test]
    fn roundtrip(control in mesh_control()) {
        let frame = encoded(&control);
        let (header, body) = frame.split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
        let header = FrameHeader::decode(*header, &FrameLimits::default());
        prop_assert_eq!(header, Ok(FrameHeader { kind: FrameKind::Mesh, len: body.len() }));
        prop_assert_eq!(MeshControl::decode(body), Ok(control));
        for len in 0..body.len() {
            prop_assert!(MeshControl::decode(&body[..len]).is_err(), "at {}", len);
        }
    }

    #[test]
    fn arbitrary_bytes(variant in 0..10_u8, rest in vec(prop_oneof![2 => Just(0), 1 => any::<u8>()], 0..200)) {
        let bytes = [&[variant, 0, 0, 0], &rest[..]].concat();
        if let Ok(control) = MeshControl::decode(&bytes) {
            prop_assert_eq!(&encoded(&control)[HEADER_LEN..], &bytes[..]);
        }
    }

    /// What another crate encodes comes back, whatever its size; cut or longer, it is refused.
    #[test]
    fn codec_roundtrip(values in vec((any::<u64>(), "\\PC{0,40}"), 0..50), extra in 1..5_usize) {
        let mut bytes = codec::encode(&values);
        prop_assert_eq!(codec::decode::<Vec<(u64, String)>>(&bytes), Ok(values));
        prop_assert!(codec::decode::<Vec<(u64, String)>>(&bytes[..bytes.len() - 1]).is_err());
        bytes.resize(bytes.len() + extra, 0);
        prop_assert_eq!(codec::decode::<Vec<(u64, String)>>(&bytes), Err(DecodeError::Trailing(extra)));
    }
}

#[test]
fn the_largest_missed_fits_and_larger_is_refused() {
    let missed = |topic: usize, groups: usize, group: usize| MeshControl::Missed {
        topic: "t".repeat(topic),
        messages: 1,
        direct: true,
        groups: vec!["g".repeat(group); groups],
    };
    let largest = missed(MAX_TOPIC, MAX_GROUPS, MAX_GROUP);
    assert!(encoded(&largest).len() <= MAX_CONTROL);
    assert_eq!(MeshControl::decode(&encoded(&largest)[HEADER_LEN..]), Ok(largest));
    for (topic, groups, group) in [(MAX_TOPIC + 1, 1, 1), (1, MAX_GROUPS + 1, 1), (1, 1, MAX_GROUP + 1), (1, 1, 0)] {
        let control = missed(topic, groups, group);
        let refused = control.validate();
        assert!(refused.is_err());
        assert_eq!(MeshControl::decode(&encoded(&control)[HEADER_LEN..]).map(drop), refused);
    }
}

/// A length that isn't there costs nothing, and no input is decoded beyond the bound.
#[test]
fn size_bombs() {
    for len in [1 << 10, codec::MAX_BYTES as u64, u64::from(u32::MAX), 1 << 62, u64::MAX] {
        for filling in [0, MAX_CONTROL, 64 << 10, codec::MAX_BYTES - 8] {
            let mut bytes = len.to_le_bytes().to_vec();
            bytes.resize(8 + filling, b'a');
            assert_eq!(codec::decode::<String>(&bytes).is_ok(), len == filling as u64, "{len} {filling}");
            assert!(codec::decode::<Vec<u64>>(&bytes).is_err());
        }
    }
    let large = vec![0_u8; codec::MAX_BYTES + 1];
    assert!(matches!(codec::decode::<u8>(&large), Err(DecodeError::TooLarge { .. })));
    let text = "a".repeat(codec::MAX_BYTES - 8);
    assert_eq!(codec::decode::<String>(&codec::encode(&text)), Ok(text));
}
