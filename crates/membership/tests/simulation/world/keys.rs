//! Signatures that cost next to nothing. The real ones are tested elsewhere; here a thousand nodes check every record.

use std::sync::Arc;

use sinew_membership::{Signer, Verifier, VerifierHandle};
use sinew_wire::PeerId;

/// Signs for a node, with something that only looks like a signature.
#[derive(Debug)]
pub(crate) struct Cheap(pub(crate) PeerId);

fn signature(peer: &PeerId, message: &[u8]) -> [u8; 64] {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for word in peer.public_key().chunks(8).chain(message.chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..word.len()].copy_from_slice(word);
        state = (state ^ u64::from_le_bytes(bytes)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }
    let mut signature = [0; 64];
    for part in signature.chunks_mut(8) {
        state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        part.copy_from_slice(&state.to_le_bytes());
    }
    signature
}

impl Signer for Cheap {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(&self.0, message)
    }
}

impl Verifier for Cheap {
    fn verify(&self, peer: &PeerId, message: &[u8], given: &[u8; 64]) -> bool {
        signature(peer, message) == *given
    }
}

/// Checks what [`Cheap`] signs.
pub(crate) fn verifier() -> VerifierHandle {
    VerifierHandle(Arc::new(Cheap(peer(0))))
}

/// The identity of a node: scattered over all buckets, as keys are.
pub(crate) fn peer(index: usize) -> PeerId {
    let mut key = [0; 32];
    let mut state = index as u64 + 1;
    for part in key.chunks_mut(8) {
        state = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(0x9e37_79b9_7f4a_7c15);
        part.copy_from_slice(&state.to_le_bytes());
    }
    PeerId::from_public_key(key)
}
