//! A peer that does as it likes: the authenticated link of a client, and no SDK between the test and the bytes.

use anyhow::{Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use sinew_link::{Dialer, Fill, Identity, LinkConfig, LinkReader, LinkWriter};
use sinew_wire::entry::Entry;
use sinew_wire::publish::{Flags, PublishHeader};
use sinew_wire::{
    Control, Features, FrameHeader, FrameKind, HEADER_LEN, Hello, PROTOCOL_VERSION, Policy, Refusal, Role, Subscribe,
    Welcome, encode_control,
};

use crate::soon;

/// One link to a node, spoken by hand.
#[derive(Debug)]
pub struct Stranger {
    reader: LinkReader,
    writer: LinkWriter,
}

impl Stranger {
    /// An authenticated link on which nothing was said yet.
    pub async fn dial(server: &str) -> Result<Self> {
        let dialer = Dialer::new(Identity::generate(), LinkConfig::default());
        let link = soon("a link", dialer.dial(&server.parse()?)).await??;
        let (reader, writer) = link.split();
        Ok(Self { reader, writer })
    }

    /// A link that was admitted.
    pub async fn welcomed(server: &str) -> Result<Self> {
        let mut stranger = Self::dial(server).await?;
        stranger.control(&Control::Hello(hello())).await?;
        stranger.welcome().await?;
        Ok(stranger)
    }

    /// The answer to a hello.
    pub async fn welcome(&mut self) -> Result<Welcome> {
        match self.next().await? {
            Said::Control(Control::Welcome(welcome)) => Ok(welcome),
            other => bail!("no welcome but {other:?}"),
        }
    }

    /// Writes bytes as they are.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        Ok(soon("the node to take bytes", self.writer.send(&mut vec![bytes.into()])).await??)
    }

    /// Writes a control frame.
    pub async fn control(&mut self, control: &Control) -> Result<()> {
        self.send(control_frame(control)).await
    }

    /// Starts a subscription of policy `policy` and waits for the answer.
    pub async fn subscribe(&mut self, subscription: u32, pattern: &str, policy: Policy) -> Result<Option<Refusal>> {
        self.control(&subscribe(subscription, pattern, policy)).await?;
        loop {
            match self.next().await? {
                Said::Control(Control::Subscribed { subscription: number }) if number == subscription => {
                    return Ok(None);
                }
                Said::Control(Control::Unsubscribed { subscription: number, refusal }) if number == subscription => {
                    return Ok(refusal);
                }
                Said::Control(_) | Said::Run { .. } | Said::Call(_) => {}
                Said::End => bail!("the link ended"),
            }
        }
    }

    /// What the node says next. A link that broke counts as ended.
    pub async fn next(&mut self) -> Result<Said> {
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                return Ok(match frame.kind {
                    FrameKind::Control => Said::Control(Control::decode(frame.body)?),
                    FrameKind::Call => Said::Call(Bytes::copy_from_slice(frame.body)),
                    _ => Said::Run { bytes: frame.body.len() },
                });
            }
            match soon("the node to say something", self.reader.fill()).await? {
                Ok(Fill::Frames) => {}
                Ok(Fill::End) | Err(_) => return Ok(Said::End),
            }
        }
    }

    /// Why the node ends the link; skips everything before the goodbye.
    pub async fn goodbye(&mut self) -> Result<Refusal> {
        loop {
            match self.next().await? {
                Said::Control(Control::Goodbye(goodbye)) => return Ok(goodbye.reason),
                Said::End => bail!("the link ended without a goodbye"),
                Said::Control(_) | Said::Run { .. } | Said::Call(_) => {}
            }
        }
    }

    /// Whether the node still answers on this link.
    pub async fn ping(&mut self) -> Result<()> {
        self.control(&Control::Ping { nonce: 99 }).await?;
        loop {
            match self.next().await? {
                Said::Control(Control::Pong { nonce: 99 }) => return Ok(()),
                Said::End => bail!("the link ended before a pong"),
                Said::Control(_) | Said::Run { .. } | Said::Call(_) => {}
            }
        }
    }
}

/// One frame from the node.
#[derive(Debug)]
pub enum Said {
    /// A control frame.
    Control(Control),
    /// A run of messages.
    Run {
        /// Size of its body.
        bytes: usize,
    },
    /// A frame of a call.
    Call(Bytes),
    /// The stream ended or broke.
    End,
}

/// A hello like the SDK's.
pub fn hello() -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        role: Role::Client,
        realm: "default".to_owned(),
        instance: 1,
        name: "stranger".to_owned(),
        features: Features::default(),
    }
}

/// A subscription with a window of one message and the smallest buffer.
pub fn subscribe(subscription: u32, pattern: &str, policy: Policy) -> Control {
    Control::Subscribe(Subscribe {
        subscription,
        pattern: pattern.to_owned(),
        group: None,
        policy,
        buffer: 1,
        last: false,
        window: 1,
    })
}

/// A whole control frame.
pub fn control_frame(control: &Control) -> Bytes {
    let mut frame = BytesMut::new();
    encode_control(control, &mut frame);
    frame.freeze()
}

/// A frame of this kind with any body, and maybe another length than it has.
pub fn frame(kind: u8, announced: usize, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_LEN + body.len());
    frame.put_u32_le(u32::try_from(announced).expect("a length of the format"));
    frame.put_u8(kind);
    frame.put_slice(body);
    frame.freeze()
}

/// A well-formed block of one message.
pub fn block(headers: &[u8], payload: &[u8]) -> Bytes {
    let mut block = BytesMut::new();
    block.put_u32_le(u32::try_from(payload.len()).expect("a length of the format"));
    block.put_u16_le(u16::try_from(headers.len()).expect("a length of the format"));
    block.put_u16_le(0);
    block.put_slice(headers);
    block.put_slice(payload);
    debug_assert!(
        headers.len() > 4096 || {
            let mut same = BytesMut::new();
            Entry { id: &[], headers, payload }.encode(&mut same);
            same == block
        }
    );
    block.freeze()
}

/// A publish frame around a block, with the header adjusted.
pub fn publish(topic: &str, block: &[u8], adjust: impl FnOnce(&mut PublishHeader<'_>)) -> Bytes {
    let mut header = PublishHeader {
        flags: Flags::default(),
        topic,
        messages: 1,
        first_seq: 1,
        ttl_ms: 0,
        deadline_ms: 0,
        entries_len: u32::try_from(block.len()).expect("a length of the format"),
    };
    adjust(&mut header);
    let mut frame = BytesMut::new();
    header.encode(block.len(), &mut frame);
    frame.extend_from_slice(block);
    debug_assert_eq!(frame[4], FrameHeader { kind: FrameKind::Publish, len: 0 }.kind as u8);
    frame.freeze()
}
