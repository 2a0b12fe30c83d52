//! Events on their way to the membership.
//!
//! Changes of connections are not queued as such: a peer stands in line once, and what is told is the difference between
//! what was told before and what holds when its turn comes. So the line is bounded by the peers, and nothing is lost.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use sinew_link::Link;
use sinew_wire::PeerId;
use tokio::sync::mpsc::error::TrySendError;

use super::{Task, meter};
use crate::{Ask, Event};

/// Messages, requests and links that wait here, at most; the channel behind it holds more.
const ROOM: usize = 64;

enum Item {
    State(PeerId),
    Message(PeerId, Bytes),
    Request(Ask),
    Link(Link),
    Addresses,
}

/// See the module.
#[derive(Default)]
pub(super) struct Out {
    line: VecDeque<Item>,
    in_line: HashSet<PeerId>,
    addresses_in_line: bool,
    /// Of each peer that was told to be connected: which time, and whether directly.
    told: HashMap<PeerId, (u64, bool)>,
    /// Items that are not states.
    items: usize,
}

impl Out {
    pub(super) fn has_room(&self) -> bool {
        self.items < ROOM
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    pub(super) fn state(&mut self, peer: PeerId) {
        if self.in_line.insert(peer) {
            self.line.push_back(Item::State(peer));
        }
    }

    pub(super) fn addresses(&mut self) {
        if !self.addresses_in_line {
            self.addresses_in_line = true;
            self.line.push_back(Item::Addresses);
        }
    }

    pub(super) fn message(&mut self, from: PeerId, body: Bytes) {
        self.item(Item::Message(from, body));
    }

    pub(super) fn request(&mut self, ask: Ask) {
        self.item(Item::Request(ask));
    }

    pub(super) fn link(&mut self, link: Link) {
        self.item(Item::Link(link));
    }

    fn item(&mut self, item: Item) {
        self.items += 1;
        self.line.push_back(item);
    }
}

impl Task {
    /// Hands over as much as the queue takes.
    pub(super) fn deliver(&mut self) {
        // What handles see is not to be behind what is told.
        if self.dirty && self.out.line.iter().any(|item| matches!(item, Item::State(_))) {
            self.dirty = false;
            self.publish_snapshots();
        }
        if self.out.line.is_empty() {
            return;
        }
        let events = self.events.clone();
        while !self.out.line.is_empty() {
            let place = match events.try_reserve() {
                Ok(place) => place,
                Err(TrySendError::Full(())) => return,
                Err(TrySendError::Closed(())) => {
                    // Nobody listens: it is as if everything was told, and requests are refused.
                    self.out = Out::default();
                    return;
                }
            };
            let Some(item) = self.out.line.pop_front() else { return };
            if let Some(event) = self.event(item) {
                place.send(event);
            }
        }
    }

    /// What is told of an item; nothing, if all of it was told before.
    fn event(&mut self, item: Item) -> Option<Event> {
        if matches!(item, Item::Message(..) | Item::Request(_) | Item::Link(_)) {
            self.out.items -= 1;
        }
        Some(match item {
            Item::State(peer) => return self.change(peer),
            Item::Message(from, body) => {
                meter!(self, messages_received);
                meter!(self, message_bytes_received, body.len() as u64);
                Event::Message { from, body }
            }
            Item::Request(ask) => Event::Request(ask),
            Item::Link(link) => Event::Link(link),
            Item::Addresses => {
                self.out.addresses_in_line = false;
                Event::ListenAddresses(self.shared.addresses.load().to_vec())
            }
        })
    }

    /// What holds of a peer now and was not told.
    fn change(&mut self, peer: PeerId) -> Option<Event> {
        let out = &mut self.out;
        out.in_line.remove(&peer);
        let now = self.peers.get(&peer).filter(|peer| peer.is_member());
        let now = now.and_then(|peer| Some((peer.member?, peer.is_direct())));
        match (out.told.get(&peer).copied(), now) {
            (None, Some((time, direct))) => {
                out.told.insert(peer, (time, direct));
                Some(Event::Connected { peer, direct })
            }
            (Some(_), None) => {
                out.told.remove(&peer);
                Some(Event::Disconnected { peer })
            }
            (Some((before, _)), Some((time, _))) if before != time => {
                // It went and came back: that it came is told next.
                out.told.remove(&peer);
                out.in_line.insert(peer);
                out.line.push_front(Item::State(peer));
                Some(Event::Disconnected { peer })
            }
            (Some((_, before)), Some((time, direct))) if before != direct => {
                out.told.insert(peer, (time, direct));
                Some(Event::Path { peer, direct })
            }
            _ => None,
        }
    }
}
