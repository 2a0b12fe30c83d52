//! What nodes tell each other of who is there: messages, requests and answers from a stranger. The first byte says which;
//! never a panic, and nothing that grows beyond its bound.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use sinew_membership::{Membership, MembershipConfig, NodeInfo, Output, Signer, Verifier, VerifierHandle};
use sinew_wire::PeerId;

/// Whatever looks like a record is one: what is behind the signature has to hold, too.
struct Gullible;

impl Signer for Gullible {
    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }
}

impl Verifier for Gullible {
    fn verify(&self, _: &PeerId, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

fn node(number: u8, now: Instant) -> Membership {
    let config = MembershipConfig {
        max_members: 8,
        max_keys: 16,
        verifier: VerifierHandle(std::sync::Arc::new(Gullible)),
        ..MembershipConfig::new("fuzzed")
    };
    let peer = PeerId::from_public_key([number; 32]);
    let info = NodeInfo { peer, epoch: 1, data: vec![], mesh: vec![], region: String::new(), features: 0 };
    Membership::new(config, info, Box::new(Gullible), 7, now)
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let now = Instant::now();
    let (mut ours, mut theirs) = (node(1, now), node(2, now));
    let (me, from) = (PeerId::from_public_key([1; 32]), PeerId::from_public_key([2; 32]));
    // They know each other, so that the input comes from a member; and one request is open.
    theirs.introduce(me, now);
    let mut open = None;
    while let Some(output) = theirs.poll_output() {
        if let Output::Request { body, .. } = output {
            let _ = ours.handle_request(from, &body, now);
        }
    }
    ours.introduce(PeerId::from_public_key([3; 32]), now);
    while let Some(output) = ours.poll_output() {
        if let Output::Request { id, to, .. } = output {
            open = Some((id, to));
        }
    }
    match (kind % 3, open) {
        (0, _) => drop(ours.handle_message(from, bytes, now)),
        (1, _) => drop(ours.handle_request(from, bytes, now)),
        (_, Some((id, to))) => drop(ours.handle_response(to, id, Ok(bytes), now)),
        _ => {}
    }
    while ours.poll_output().is_some() {}
    let counters = ours.counters();
    assert!(counters.members < 8 && counters.remembered <= 8);
    assert!(counters.entries <= 8 * 32);
    ours.handle_timeout(now + std::time::Duration::from_secs(5));
});
