use std::time::Duration;

use bytes::BytesMut;
use sinew_link::{Fill, LinkError, LinkReader, LinkWriter};
use sinew_wire::{
    Control, DecodeError, Features, Frame, FrameKind, Goodbye, Hello, MeshControl, PROTOCOL_VERSION, Refusal, Role,
    encode_control, encode_mesh,
};
use tokio::time::timeout;

use crate::context::Context;

/// A link on which nothing but the handshake is served yet.
#[derive(Debug)]
pub(crate) struct Shake {
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
    /// For each step.
    limit: Duration,
}

/// What the acceptor says: [`MeshControl::Accepted`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) instance: u64,
    pub(crate) received: u64,
    pub(crate) window: u64,
    pub(crate) features: Features,
}

/// What the dialler says to that: [`MeshControl::Resume`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resumed {
    pub(crate) received: u64,
    pub(crate) window: u64,
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the peer says: {0}")]
    Goodbye(Refusal),
    #[error("{0}")]
    Refused(Refusal),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Link(#[from] LinkError),
}

impl From<DecodeError> for Failed {
    fn from(error: DecodeError) -> Self {
        Self::Refused(error.into())
    }
}

fn violation(what: &str) -> Failed {
    Failed::Refused(Refusal::Protocol(what.to_owned()))
}

impl Shake {
    pub(crate) fn new((reader, writer): (LinkReader, LinkWriter), limit: Duration) -> Self {
        Self { reader, writer, limit }
    }

    /// The dialler's first step: who we are, and what the peer says to it.
    pub(crate) async fn say_hello(&mut self, context: &Context) -> Result<Accepted, Failed> {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            role: Role::Node,
            realm: context.config.realm.clone(),
            instance: context.epoch,
            name: context.config.name.clone(),
            features: context.config.features,
        };
        self.send(|out| encode_control(&Control::Hello(hello), out)).await?;
        match self.mesh_frame().await? {
            MeshControl::Accepted { instance, received, window, features } => {
                Ok(Accepted { instance, received, window, features: features.common(context.config.features) })
            }
            _ => Err(violation("no answer to the hello")),
        }
    }

    /// The acceptor's only step.
    pub(crate) async fn accept(&mut self, accepted: Accepted) -> Result<Resumed, Failed> {
        let Accepted { instance, received, window, features } = accepted;
        let accepted = MeshControl::Accepted { instance, received, window, features };
        self.send(|out| encode_mesh(&accepted, out)).await?;
        match self.mesh_frame().await? {
            MeshControl::Resume { received, window } => Ok(Resumed { received, window }),
            _ => Err(violation("no resume after the hello was accepted")),
        }
    }

    /// The dialler's second step.
    pub(crate) async fn resume(&mut self, resumed: Resumed) -> Result<(), Failed> {
        let Resumed { received, window } = resumed;
        self.send(|out| encode_mesh(&MeshControl::Resume { received, window }, out)).await
    }

    /// The hello of a link that came over the overlay, and has not passed the gateway.
    pub(crate) async fn read_hello(&mut self) -> Result<Hello, Failed> {
        self.frame(|frame| match frame.kind {
            FrameKind::Control => match Control::decode(frame.body)? {
                Control::Hello(hello) => Ok(hello),
                _ => Err(violation("the first frame is not a hello")),
            },
            _ => Err(violation("the first frame is not a hello")),
        })
        .await
    }

    /// Says why, and ends the link. Takes no longer than a step of the handshake.
    pub(crate) async fn refuse(mut self, reason: Refusal) {
        let limit = self.limit;
        let goodbye = async {
            self.send(|out| encode_control(&Control::Goodbye(Goodbye { reason }), out)).await?;
            Ok::<(), Failed>(self.writer.finish().await?)
        };
        // Whether it arrives is the peer's business.
        let _unheard = timeout(limit, goodbye).await;
    }

    async fn mesh_frame(&mut self) -> Result<MeshControl, Failed> {
        self.frame(|frame| match frame.kind {
            FrameKind::Mesh => Ok(MeshControl::decode(frame.body)?),
            FrameKind::Control => match Control::decode(frame.body)? {
                Control::Goodbye(goodbye) => Err(Failed::Goodbye(goodbye.reason)),
                _ => Err(violation("a frame that has no place in a handshake")),
            },
            _ => Err(violation("a frame that has no place in a handshake")),
        })
        .await
    }

    async fn frame<T>(&mut self, decode: impl FnOnce(Frame<'_>) -> Result<T, Failed>) -> Result<T, Failed> {
        let limit = self.limit;
        let reading = async {
            match self.reader.fill().await {
                Ok(Fill::Frames) => {}
                Ok(Fill::End) => return Err(LinkError::Reset.into()),
                Err(LinkError::Frame(error)) => return Err(error.into()),
                Err(error) => return Err(error.into()),
            }
            match self.reader.next_frame() {
                Ok(Some(frame)) => decode(frame),
                Ok(None) => Err(LinkError::Reset.into()),
                Err(LinkError::Frame(error)) => Err(error.into()),
                Err(error) => Err(error.into()),
            }
        };
        timeout(limit, reading).await.unwrap_or(Err(Failed::TimedOut(limit)))
    }

    async fn send(&mut self, encode: impl FnOnce(&mut BytesMut)) -> Result<(), Failed> {
        let mut frame = BytesMut::new();
        encode(&mut frame);
        let mut chunks = vec![frame.freeze()];
        let sent = timeout(self.limit, self.writer.send(&mut chunks)).await;
        Ok(sent.map_err(|_| Failed::TimedOut(self.limit))??)
    }
}
