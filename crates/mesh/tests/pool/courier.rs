//! A member that is nothing but that: it knows the others, and tells who asks.

use std::time::{Duration, Instant};

use sinew_membership::{Interest, Key, Membership, MembershipConfig, NodeInfo, Output, Value};
use sinew_overlay::{Event, Overlay, Purpose};
use sinew_wire::PeerId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fake::Fake;
use crate::support::Key as SigningKey;

/// Times of a realm in which nobody is probed: peers without a control plane of their own stay members.
pub(crate) fn unprobed(realm: &str) -> MembershipConfig {
    const NEVER: Duration = Duration::from_secs(3_600);
    MembershipConfig { probe_period: NEVER, suspicion: NEVER, anti_entropy: NEVER, ..MembershipConfig::new(realm) }
}

/// The courier's view of the realm: all of these are members, each with a record that it has signed itself.
pub(crate) fn membership(realm: &str, courier: NodeInfo, key: SigningKey, fakes: &[(&Fake, String)]) -> Membership {
    let now = Instant::now();
    let peer = courier.peer;
    let mut membership = Membership::new(unprobed(realm), courier, Box::new(key), 0, now);
    for (fake, address) in fakes {
        let from = fake.identity.peer_id();
        let introduction = introduction(realm, fake, address, peer, now);
        membership.handle_request(from, &introduction, now).expect("a record that is in order");
        // There is nobody yet to be told.
        while membership.poll_output().is_some() {}
    }
    membership
}

/// What a node says of itself to the first one that it meets.
fn introduction(realm: &str, fake: &Fake, address: &str, to: PeerId, now: Instant) -> Vec<u8> {
    let info = NodeInfo {
        peer: fake.identity.peer_id(),
        epoch: fake.epoch(),
        data: vec![address.to_owned()],
        mesh: Vec::new(),
        region: String::new(),
        features: 0,
    };
    let mut own = Membership::new(unprobed(realm), info, Box::new(SigningKey(fake.identity.clone())), 0, now);
    let interest = Value::Interest(Interest { direct: 1, blocking: 0, groups: Vec::new() });
    for topic in fake.topics() {
        own.set(Key::Interest(topic), Some(interest.clone()), now).expect("has room");
    }
    // The record is signed anew when it is time to tell.
    let later = own.next_deadline().map_or(now, |due| due.max(now));
    own.handle_timeout(later);
    own.introduce(to, later);
    std::iter::from_fn(|| own.poll_output())
        .find_map(|output| match output {
            Output::Request { body, .. } => Some(body.to_vec()),
            _ => None,
        })
        .expect("it asks whom it meets")
}

/// Carries what the courier says over the overlay, and what it is asked to it. The others are not there to be told.
pub(crate) async fn run(mut membership: Membership, overlay: Overlay, mut events: mpsc::Receiver<Event>) {
    let mut requests = JoinSet::new();
    loop {
        while let Some(output) = membership.poll_output() {
            match output {
                Output::Send { to, message } => {
                    let _nobody_there = overlay.send(to, message);
                }
                Output::Request { id, to, body } => {
                    let asking = overlay.request(to, Purpose::Membership, body, Duration::from_secs(5));
                    requests.spawn(async move { (to, id, asking.await) });
                }
                Output::Event(_) => {}
            }
        }
        let due = membership.next_deadline().expect("it does not leave");
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => take(&mut membership, event),
                None => return,
            },
            Some(Ok((from, id, answer))) = requests.join_next(), if !requests.is_empty() => {
                let answer = answer.as_deref().map_err(|_| ());
                let _of_no_use = membership.handle_response(from, id, answer, Instant::now());
            }
            () = tokio::time::sleep_until(due.into()) => membership.handle_timeout(Instant::now()),
        }
    }
}

fn take(membership: &mut Membership, event: Event) {
    let now = Instant::now();
    match event {
        Event::Connected { peer, .. } => membership.introduce(peer, now),
        Event::Message { from, body } => {
            let _of_no_use = membership.handle_message(from, &body, now);
        }
        Event::Request(ask) => {
            if let Ok(answer) = membership.handle_request(ask.from, &ask.body, now) {
                ask.reply(answer.into());
            }
        }
        _ => {}
    }
}
