//! Of two links with the same peer one has to go, and both sides have to mean the same one.

use std::time::Duration;

use sinew_wire::PeerId;

/// A link of ours that a new one of the peer meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// There is none, or a dial of ours that the peer knows nothing of.
    Nothing,
    /// A dial of ours has said hello to the peer.
    SaidHello,
    /// There is a link.
    Up {
        /// We had dialled it.
        dialled: bool,
        /// How long ago.
        age: Duration,
    },
}

/// A link that is older than this is not one of two that were dialled at the same time: who dials now has lost it, or has
/// found a better path.
pub(super) const SIMULTANEOUS: Duration = Duration::from_secs(2);

/// Whether a link that the peer has dialled is taken, and what there was goes.
///
/// Of two that were dialled at the same time, the one of the smaller peer stays.
pub(super) fn takes(ours: &PeerId, peer: &PeerId, present: Present) -> bool {
    match present {
        Present::Nothing => true,
        Present::SaidHello => peer < ours,
        // Who had dialled it and dials again has lost it.
        Present::Up { dialled: false, .. } => true,
        Present::Up { dialled: true, age } => age >= SIMULTANEOUS || peer < ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(byte: u8) -> PeerId {
        PeerId::from_public_key([byte; 32])
    }

    #[test]
    fn of_two_at_once_exactly_one_stays() {
        let (small, large) = (peer(1), peer(2));
        let young = Duration::from_millis(10);
        // Whatever the two have done by the time the other's hello arrives.
        for at_small in [Present::SaidHello, Present::Up { dialled: true, age: young }] {
            for at_large in [Present::SaidHello, Present::Up { dialled: true, age: young }] {
                assert!(!takes(&small, &large, at_small), "the one of the larger peer goes: {at_small:?}");
                assert!(takes(&large, &small, at_large), "the one of the smaller peer stays: {at_large:?}");
            }
        }
    }

    #[test]
    fn who_dials_again_has_lost_its_link() {
        let (small, large) = (peer(1), peer(2));
        for (ours, theirs) in [(&small, &large), (&large, &small)] {
            assert!(takes(ours, theirs, Present::Nothing));
            assert!(takes(ours, theirs, Present::Up { dialled: false, age: Duration::ZERO }));
            assert!(takes(ours, theirs, Present::Up { dialled: true, age: SIMULTANEOUS }));
        }
    }
}
