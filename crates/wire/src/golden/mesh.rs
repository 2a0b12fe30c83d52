use bytes::BytesMut;

use super::{hex, unhex};
use crate::{Features, HEADER_LEN, MeshControl, PeerId, encode_mesh};

/// Where each variant between nodes stands.
const fn mesh_place(control: &MeshControl) -> usize {
    match control {
        MeshControl::Accepted { .. } => 0,
        MeshControl::Resume { .. } => 1,
        MeshControl::ForwardAck { .. } => 2,
        MeshControl::ForwardResult { .. } => 3,
        MeshControl::Hold { .. } => 4,
        MeshControl::Release { .. } => 5,
        MeshControl::Missed { .. } => 6,
    }
}

#[test]
fn mesh_frames() {
    let publisher = PeerId::from_public_key([0xab; 32]);
    let golden = [
        (
            MeshControl::Accepted { instance: 1, received: 2, window: 3, features: Features::LZ4 },
            "24000000 05 00000000 0100000000000000 0200000000000000 0300000000000000 0100000000000000",
        ),
        (MeshControl::Resume { received: 2, window: 3 }, "14000000 05 01000000 0200000000000000 0300000000000000"),
        (MeshControl::ForwardAck { received: 2 }, "0c000000 05 02000000 0200000000000000"),
        (
            MeshControl::ForwardResult { token: 1, matched: 2, delivered: 3, dropped: 4, unknown: 5 },
            "2c000000 05 03000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000",
        ),
        (
            MeshControl::Hold { publisher, instance: 4 },
            "2c000000 05 04000000 abababababababababababababababababababababababababababababababab 0400000000000000",
        ),
        (
            MeshControl::Release { publisher, instance: 4 },
            "2c000000 05 05000000 abababababababababababababababababababababababababababababababab 0400000000000000",
        ),
        (
            MeshControl::Missed { topic: "a".into(), messages: 2, direct: true, groups: vec!["g".into()] },
            "27000000 05 06000000 0100000000000000 61 0200000000000000 01 0100000000000000 0100000000000000 67",
        ),
    ];
    for (place, (control, golden)) in golden.into_iter().enumerate() {
        assert_eq!(mesh_place(&control), place);
        let mut frame = BytesMut::new();
        encode_mesh(&control, &mut frame);
        assert_eq!(hex(&frame), hex(&unhex(golden)), "{control:?}");
        assert_eq!(MeshControl::decode(&frame[HEADER_LEN..]), Ok(control));
    }
    assert!(MeshControl::decode(&[7, 0, 0, 0]).is_err(), "a variant has no golden bytes");
}
