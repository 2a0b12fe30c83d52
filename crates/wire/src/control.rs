use serde::{Deserialize, Serialize};

use crate::bits::bit_set;
use crate::label::{check_prefix, check_service};
use crate::service::{Announce, LookupOutcome, ServiceInstance, ServiceSummaryRow};
use crate::{
    DecodeError, PROTOCOL_VERSION, PeerId, ProviderHealth, Refusal, Serve, check_group, check_name, check_realm, codec,
};

/// Everything on a link that is not a run of messages.
///
/// Variants are encoded by their position: new ones go to the end, and golden tests hold the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Control {
    /// First frame of whoever dialled.
    Hello(Hello),
    /// Answer to [`Hello`]: the link is open.
    Welcome(Welcome),
    /// Last frame of either side: why it closes.
    Goodbye(Goodbye),
    /// Asks for a [`Control::Pong`], which comes after everything sent before it on this link was processed. Serves
    /// as keep-alive and as flush.
    Ping {
        /// Returned unchanged.
        nonce: u64,
    },
    /// Answer to [`Control::Ping`].
    Pong {
        /// As received.
        nonce: u64,
    },
    /// Client to node: start a subscription.
    Subscribe(Subscribe),
    /// Node to client: the subscription is in place; whatever is published from now on is seen by it.
    Subscribed {
        /// The client's number for it.
        subscription: u32,
    },
    /// Client to node: end a subscription.
    Unsubscribe {
        /// The client's number for it.
        subscription: u32,
    },
    /// Node to client: the subscription has ended. Nothing more comes for it.
    Unsubscribed {
        /// The client's number for it.
        subscription: u32,
        /// Why, when the client did not ask for it; also the answer to a refused [`Control::Subscribe`].
        refusal: Option<Refusal>,
    },
    /// Node to client: so many entry bytes were processed and may be published again.
    PublishCredit {
        /// Entry bytes.
        bytes: u64,
    },
    /// Client to node: the application took so many entry bytes of a subscription.
    DeliverCredit {
        /// The client's number for it.
        subscription: u32,
        /// Entry bytes.
        bytes: u64,
    },
    /// Client to node: the application took the last message of the run with this token.
    DeliverAck {
        /// From [`crate::deliver::DeliverHeader::ack`].
        token: u64,
    },
    /// Node to client: what became of a run that asked for a result.
    PublishResult(PublishResult),
    /// Node to client, in order with the runs of the subscription: so many messages were dropped here.
    Lagged {
        /// The client's number for it.
        subscription: u32,
        /// How many.
        missed: u64,
    },
    /// Client to node: tell me when the other nodes know of every subscription I have made.
    Settle {
        /// Returned unchanged.
        nonce: u64,
    },
    /// Answer to [`Control::Settle`], at the latest after a few seconds.
    Settled {
        /// As received.
        nonce: u64,
        /// Other nodes that are up and know.
        nodes: u32,
        /// Other nodes that seem to be up and did not confirm in time.
        missing: u32,
    },
    /// Client to node: I provide a service.
    Announce(Announce),
    /// Node to client: the lease holds, or holds again, for so long.
    Announced {
        /// The client's number for it.
        lease: u32,
        /// Renew within this time, in milliseconds.
        ttl_ms: u64,
    },
    /// Node to client: the lease has ended.
    LeaseEnded {
        /// The client's number for it.
        lease: u32,
        /// Why, when the client did not ask for it; also the answer to a refused [`Control::Announce`].
        refusal: Option<Refusal>,
    },
    /// Client to node: I still provide it. Answered by [`Control::Announced`] or [`Control::LeaseEnded`].
    Renew {
        /// The client's number for it.
        lease: u32,
    },
    /// Client to node: I no longer provide it. Answered by [`Control::LeaseEnded`].
    Withdraw {
        /// The client's number for it.
        lease: u32,
    },
    /// Client to node: who provides this service?
    Lookup {
        /// The client's number for the request, unused by another that is open.
        request: u32,
        /// The service.
        name: String,
        /// How long to look, in milliseconds; 0 for the node's default.
        deadline_ms: u64,
    },
    /// Answer to [`Control::Lookup`].
    LookupResult {
        /// The client's number for the request.
        request: u32,
        /// What was found.
        outcome: LookupOutcome,
    },
    /// Client to node: which services are there?
    ListServices {
        /// The client's number for the request, unused by another that is open.
        request: u32,
        /// Go on after this name, the last one of the page before.
        after: Option<String>,
    },
    /// Answer to [`Control::ListServices`]: made by [`Control::service_page`].
    ServicePage {
        /// The client's number for the request.
        request: u32,
        /// Sorted by name.
        services: Vec<ServiceSummaryRow>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// Client to node: tell me of all services whose name begins like this, now and when their number of instances
    /// changes, until [`Control::Unwatch`].
    WatchServices {
        /// The client's number for the request, unused by another that is open.
        request: u32,
        /// Compared byte by byte; empty for all.
        prefix: String,
    },
    /// Node to client: a service that is watched has now so many instances. Changes that come quickly may be told as one.
    ServiceChanged {
        /// The client's number for the request.
        request: u32,
        /// The service.
        name: String,
        /// Its providers in the realm, 0 when it is gone.
        instances: u32,
    },
    /// Node to client: nothing more comes for this watch.
    WatchEnded {
        /// The client's number for the request.
        request: u32,
        /// Why, when the client did not ask for it; also the answer to a refused [`Control::WatchServices`].
        refusal: Option<Refusal>,
    },
    /// Client to node: end a watch. Answered by [`Control::WatchEnded`].
    Unwatch {
        /// The client's number for the request.
        request: u32,
    },
    /// Client to node: I serve a procedure. Answered by [`Control::Announced`] or [`Control::LeaseEnded`].
    Serve(Serve),
    /// Client to node: how I am, of one lease of a procedure. Without an answer.
    ServeHealth {
        /// The client's number for it.
        lease: u32,
        /// By the client's own word.
        health: ProviderHealth,
    },
}

impl Control {
    /// Decodes the body of a control frame. The body's size was limited by [`crate::FrameHeader::decode`].
    ///
    /// Checks [`Control::validate`] too, so that nobody forgets it.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let control: Self = codec::decode_control(body)?;
        control.validate()?;
        Ok(control)
    }

    /// Whether the receiver will take its texts: their lengths, and that none has control characters, which would reach
    /// the terminal of whoever reads them.
    pub fn validate(&self) -> Result<(), DecodeError> {
        match self {
            Self::Hello(hello) => hello.validate(),
            Self::Subscribe(subscribe) => subscribe.validate(),
            Self::Announce(announce) => announce.validate(),
            Self::Serve(serve) => serve.validate(),
            Self::Lookup { name, .. } | Self::ServiceChanged { name, .. } => check_service(name),
            Self::LookupResult { outcome: LookupOutcome::Found(instances), .. } => {
                instances.iter().try_for_each(ServiceInstance::validate)
            }
            Self::ListServices { after, .. } => after.as_deref().map_or(Ok(()), check_service),
            Self::ServicePage { services, .. } => services.iter().try_for_each(|row| check_service(&row.name)),
            Self::WatchServices { prefix, .. } => check_prefix(prefix),
            _ => Ok(()),
        }
    }
}

/// Who opens a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// An application.
    Client,
    /// Another node of the realm.
    Node,
}

/// What one side can do beyond the base protocol. Unknown bits are ignored, so that old and new can talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Features(pub u64);

impl Features {
    /// Can read runs packed by lz4.
    pub const LZ4: Self = Self(1);

    /// All that this version can do.
    pub const OURS: Self = Self::LZ4;

    /// What both have.
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

bit_set!(pub Features);

/// First frame of whoever dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Newest protocol version the sender speaks.
    pub version: u16,
    /// Client or node.
    pub role: Role,
    /// The realm it wants to be in: [`check_realm`].
    pub realm: String,
    /// Chosen at random by one client object, kept over its reconnects: with the peer id it names one publisher, whose
    /// sequence numbers rise.
    pub instance: u64,
    /// A name for people, shown in listings; may be empty: [`check_name`].
    pub name: String,
    /// What the sender can do.
    pub features: Features,
}

impl Hello {
    /// Whether the receiver will take its texts: [`check_realm`] and [`check_name`]. For the sender, before it dials.
    pub fn validate(&self) -> Result<(), DecodeError> {
        check_realm(&self.realm)?;
        check_name(&self.name)
    }

    /// Whether its sender may come in to a node of this realm: the one rule for every door of a node.
    ///
    /// # Errors
    /// [`Refusal::Version`] or [`Refusal::Realm`]: what the sender is to be told.
    pub fn admitted_to(&self, realm: &str) -> Result<(), Refusal> {
        if self.version < PROTOCOL_VERSION {
            return Err(Refusal::Version { node: PROTOCOL_VERSION });
        }
        if self.realm != realm {
            return Err(Refusal::Realm(self.realm.clone()));
        }
        Ok(())
    }
}

/// The node's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version both will speak.
    pub version: u16,
    /// Number of this session on the node.
    pub session: u64,
    /// The node.
    pub node: PeerId,
    /// What both can do.
    pub features: Features,
    /// Entry bytes that may be published before credit returns.
    pub publish_window: u64,
    /// Publishes that may wait for their result at once; one more is refused.
    pub max_open_acks: u64,
    /// Largest payload of one message, in bytes.
    pub max_message_bytes: u64,
    /// Largest headers of one message, in bytes.
    pub max_header_bytes: u64,
    /// Send something at least this often, in milliseconds.
    pub keep_alive_ms: u64,
    /// The node closes a link on which it received nothing for so long, in milliseconds.
    pub idle_timeout_ms: u64,
}

/// Last frame of either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub reason: Refusal,
}

/// What a subscription's queue does when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Policy {
    /// Forget the oldest queued messages.
    #[default]
    DropOldest,
    /// Refuse the newest messages.
    DropNewest,
    /// Keep only the newest message per topic, or per topic and `key` header.
    Latest,
    /// Push back on the publishers, for at most 5 s at a stretch; then as [`Policy::DropOldest`].
    Block,
}

/// Starts a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// The client's number for it, unused by another of its subscriptions.
    pub subscription: u32,
    /// Topic pattern.
    pub pattern: String,
    /// Queue group: each message goes to one member of the group: [`check_group`].
    pub group: Option<String>,
    /// What to do when the queue is full.
    pub policy: Policy,
    /// Most messages queued on the node, 0 for the node's default; the node's limit caps it.
    pub buffer: u32,
    /// Whether to begin with the retained messages that match.
    pub last: bool,
    /// Entry bytes the client is ready to hold for this subscription.
    pub window: u64,
}

impl Subscribe {
    /// Whether the receiver will take its texts: [`check_group`]. The pattern is not looked at: what is wrong with it
    /// is answered by a [`Refusal`] and doesn't close the link.
    pub fn validate(&self) -> Result<(), DecodeError> {
        self.group.as_deref().map_or(Ok(()), check_group)
    }
}

/// What became of a run. Counts are of deliveries: messages times subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishResult {
    /// First sequence number of the run.
    pub first_seq: u64,
    /// Messages in the run.
    pub messages: u32,
    /// Deliveries that were due: for every message, the subscribers that matched it.
    pub matched: u64,
    /// Deliveries confirmed (level acked), or queued for their subscriber (level fire).
    pub delivered: u64,
    /// Deliveries known not to have happened.
    pub dropped: u64,
    /// Deliveries of which nothing is known: the deadline passed, or the subscriber's link broke after they were sent.
    pub unknown: u64,
    /// Messages of the run that were suppressed, because their id was seen before.
    pub duplicates: u32,
    /// The run was refused as a whole.
    pub refusal: Option<RefusedRun>,
}

/// Why a run was refused as a whole, without closing the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusedRun {
    /// The publisher asked for subscribers, and there are none.
    NoSubscribers,
    /// The node's queues are at their memory budget.
    QueueMemory,
    /// Too many acknowledged publishes of this client are open.
    OpenAcks,
    /// The node is draining.
    Draining,
}
