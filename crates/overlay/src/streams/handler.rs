use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
};

use super::{Kind, Problem};

/// Time to agree on the protocol of a stream.
const NEGOTIATION: Duration = Duration::from_secs(5);

/// Inbound streams that wait for the behaviour, at most. It takes them with the next poll.
const WAITING: usize = 64;

/// A stream to open.
#[derive(Debug)]
pub(crate) struct In {
    pub(super) kind: Kind,
    pub(super) token: u64,
}

/// What became of one.
#[derive(Debug)]
pub(crate) enum Out {
    Inbound { kind: Kind, stream: Stream },
    Opened { token: u64, stream: Stream },
    Failed { token: u64, problem: Problem },
}

/// One per connection.
pub(crate) struct Handler {
    message: StreamProtocol,
    link: StreamProtocol,
    wanted: VecDeque<In>,
    out: VecDeque<Out>,
}

impl Handler {
    pub(super) fn new(message: StreamProtocol, link: StreamProtocol) -> Self {
        Self { message, link, wanted: VecDeque::new(), out: VecDeque::new() }
    }

    fn protocol(&self, kind: Kind) -> Protocols {
        Protocols(vec![match kind {
            Kind::Message => (self.message.clone(), kind),
            Kind::Link => (self.link.clone(), kind),
        }])
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = In;
    type ToBehaviour = Out;
    type InboundProtocol = Protocols;
    type OutboundProtocol = Protocols;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = u64;

    fn listen_protocol(&self) -> SubstreamProtocol<Protocols> {
        let both = vec![(self.message.clone(), Kind::Message), (self.link.clone(), Kind::Link)];
        SubstreamProtocol::new(Protocols(both), ()).with_timeout(NEGOTIATION)
    }

    /// The task that owns the swarm closes what is idle: it alone knows which connections matter.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Protocols, u64, Out>> {
        if let Some(out) = self.out.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(out));
        }
        if let Some(In { kind, token }) = self.wanted.pop_front() {
            let protocol = SubstreamProtocol::new(self.protocol(kind), token).with_timeout(NEGOTIATION);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: In) {
        self.wanted.push_back(event);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Protocols, Protocols, (), u64>) {
        match event {
            // More than that between two polls is no honest peer; the streams are reset.
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (stream, kind), .. })
                if self.out.len() < WAITING =>
            {
                self.out.push_back(Out::Inbound { kind, stream });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info: token,
            }) => {
                self.out.push_back(Out::Opened { token, stream });
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: token, error }) => {
                let problem = match error {
                    StreamUpgradeError::NegotiationFailed => Problem::Unsupported,
                    StreamUpgradeError::Timeout => Problem::Io(io::ErrorKind::TimedOut.into()),
                    StreamUpgradeError::Io(error) => Problem::Io(error),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                self.out.push_back(Out::Failed { token, problem });
            }
            _ => {}
        }
    }
}

/// An upgrade to nothing but the stream itself.
pub(crate) struct Protocols(Vec<(StreamProtocol, Kind)>);

impl Protocols {
    fn kind(&self, protocol: &StreamProtocol) -> Kind {
        self.0.iter().find(|(ours, _)| ours == protocol).map_or(Kind::Message, |(_, kind)| *kind)
    }
}

impl UpgradeInfo for Protocols {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().map(|(protocol, _)| protocol.clone()).collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Protocols {
    type Output = (Stream, Kind);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, self.kind(&protocol))))
    }
}

impl OutboundUpgrade<Stream> for Protocols {
    type Output = (Stream, Kind);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, self.kind(&protocol))))
    }
}
