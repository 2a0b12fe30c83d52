use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::{
    Control, DecodeError, Limit, MAX_CONTROL, MAX_HEADERS, MAX_PAYLOAD, MAX_RUN_BYTES, call, codec, entry, forward,
};

/// Bytes in front of every body: length of the body (`u32`) and kind (`u8`).
pub const HEADER_LEN: usize = 5;

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A [`Control`], encoded by bincode.
    Control = 1,
    /// A run of messages towards the node: [`crate::publish`].
    Publish = 2,
    /// A run of messages towards a subscriber: [`crate::deliver`].
    Deliver = 3,
    /// A run of messages towards another node: [`crate::forward`].
    Forward = 4,
    /// A [`crate::MeshControl`], encoded by bincode: between nodes only.
    Mesh = 5,
    /// A part of a remote call: [`crate::call`].
    Call = 6,
}

impl TryFrom<u8> for FrameKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Control),
            2 => Ok(Self::Publish),
            3 => Ok(Self::Deliver),
            4 => Ok(Self::Forward),
            5 => Ok(Self::Mesh),
            6 => Ok(Self::Call),
            other => Err(DecodeError::UnknownKind(other)),
        }
    }
}

/// Largest body per kind of frame. Checked on the header, before a byte of the body is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest body of a control or mesh frame, in bytes; above [`MAX_CONTROL`] it is of no use.
    pub control: usize,
    /// Largest body of a publish or deliver frame, in bytes. A forward frame may be larger by its longer header, so
    /// that whatever was published can be forwarded.
    pub run: usize,
    /// Largest body of a call frame, in bytes.
    pub call: usize,
}

impl FrameLimits {
    /// Room for the fixed header of a run and the longest topic.
    const RUN_HEADER_ROOM: usize = 1024;

    /// Limits for messages of at most `max_payload` bytes.
    pub const fn for_payload(max_payload: usize) -> Self {
        let one = (entry::FIXED_LEN + crate::MAX_ID + MAX_HEADERS).saturating_add(max_payload);
        let largest = if one > MAX_RUN_BYTES { one } else { MAX_RUN_BYTES };
        let part = if max_payload > call::MAX_CHUNK { max_payload } else { call::MAX_CHUNK };
        Self {
            control: MAX_CONTROL,
            run: largest.saturating_add(Self::RUN_HEADER_ROOM),
            call: (call::MAX_HEAD + MAX_HEADERS).saturating_add(part),
        }
    }

    /// The limit that holds for one kind.
    pub const fn of(&self, kind: FrameKind) -> usize {
        match kind {
            FrameKind::Control | FrameKind::Mesh => self.control,
            FrameKind::Publish | FrameKind::Deliver => self.run,
            FrameKind::Call => self.call,
            FrameKind::Forward => self.run.saturating_add(forward::FIXED_LEN + forward::MAX_GROUPS_LEN),
        }
    }
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self::for_payload(MAX_PAYLOAD)
    }
}

/// The decoded five bytes in front of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Kind of the body.
    pub kind: FrameKind,
    /// Bytes of the body.
    pub len: usize,
}

impl FrameHeader {
    /// Decodes the header and checks the announced length against the limit of its kind.
    pub fn decode(bytes: [u8; HEADER_LEN], limits: &FrameLimits) -> Result<Self, DecodeError> {
        let [a, b, c, d, kind] = bytes;
        let kind = FrameKind::try_from(kind)?;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let allowed = limits.of(kind);
        if len > allowed {
            return Err(DecodeError::too_large(Limit::FrameBytes, len, allowed));
        }
        Ok(Self { kind, len })
    }

    /// Appends the header to `out`.
    pub fn encode(self, out: &mut BytesMut) {
        debug_assert!(u32::try_from(self.len).is_ok(), "bodies are bounded far below 4 GiB");
        out.put_u32_le(self.len as u32);
        out.put_u8(self.kind as u8);
    }
}

/// One frame, lent from a reader's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Kind of the body.
    pub kind: FrameKind,
    /// The body.
    pub body: &'a [u8],
}

/// Appends a whole control frame to `out`.
///
/// The sender has checked [`Control::validate`] and that a pattern is one: a longer frame than [`MAX_CONTROL`] is a bug,
/// and the receiver refuses it.
pub fn encode_control(control: &Control, out: &mut BytesMut) {
    encode_body(FrameKind::Control, control, out);
}

pub(crate) fn encode_body<T: Serialize>(kind: FrameKind, control: &T, out: &mut BytesMut) {
    let start = out.len();
    FrameHeader { kind, len: 0 }.encode(out);
    codec::encode_into(control, out);
    let len = out.len() - start - HEADER_LEN;
    debug_assert!(len <= MAX_CONTROL, "texts are checked or cut before they are sent");
    out[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
}
