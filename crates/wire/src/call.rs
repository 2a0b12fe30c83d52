//! Remote calls: five kinds of frames that open a call, carry what is too long for one frame, and close it.
//!
//! ```text
//! Request  1 u8 | flags u8 | strategy u8 | priority u8 | call u64 | target u64 | caller [u8; 32] | deadline_ms u32 |
//!          window u32 | answers u16 | name_len u16 | key_len u16 | headers_len u16 | name | key | headers | body
//! Reply    2 u8 | status u8 | code u16 | call u64 | load u32 | retry_after_ms u32 | health u8 | reserved u8 = 0 |
//!          headers_len u16 | headers | body
//! Data     3 u8 | flags u8 | reserved u16 = 0 | call u64 | body
//! Credit   4 u8 | flags u8 | reserved u16 = 0 | call u64 | bytes u32
//! Cancel   5 u8 | reserved u8 = 0 | reserved u16 = 0 | call u64
//! ```
//!
//! The same frames cross each link of a call: from the caller to its node, from there to the provider's node, and from there to
//! the provider. Whoever sends the request on a link numbers the call there. A request opens a call, a reply or a cancel closes it;
//! what comes for a closed call has crossed its end on the link and is ignored.
//!
//! What does not fit into one frame goes in data frames, under credit: in front of the reply, or behind a request with
//! [`Flags::MORE`]. Without [`Flags::ITEMS_IN`] and [`Flags::ITEMS_OUT`] they are parts of one body, to which the body of the
//! request (of the reply) belongs as first (as last) part. With them, each [`DataFlags::END_ITEM`] ends an item of a stream.

use bytes::{BufMut, BytesMut};

use crate::bits::flags;
use crate::cursor::Cursor;
use crate::{
    DecodeError, FrameHeader, FrameKind, HEADER_LEN, Headers, MAX_SERVICE, PeerId, ProviderHealth, Refusal, codec,
};

/// What a wrong flag is a part of, in errors.
const FLAGS: &str = "call flags";

/// Bytes of the fixed part of a request.
pub const REQUEST_LEN: usize = 68;

/// Bytes of the fixed part of a reply.
pub const REPLY_LEN: usize = 24;

/// Bytes of the fixed part of a data frame.
pub const DATA_LEN: usize = 12;

/// Longest key of a sticky call, in bytes.
pub const MAX_KEY: usize = 256;

/// Most bytes of a body that a sender puts into one data frame. A receiver refuses only what passes
/// [`crate::FrameLimits::call`].
pub const MAX_CHUNK: usize = 64 << 10;

/// Bytes of data frames that a caller may send before the first credit.
pub const INITIAL_WINDOW: u32 = 64 << 10;

flags! {
    /// Strategy, priority and the like of a call: bits of a request's second byte.
    pub struct Flags {
        /// Data frames of the caller follow.
        MORE = 0,
        /// The caller sends a stream of items; the request's own body is empty. With [`Flags::MORE`].
        ITEMS_IN = 1,
        /// The caller takes a stream of items.
        ITEMS_OUT = 2,
        /// To execute it twice does no harm: it may be tried again although it may have been executed.
        IDEMPOTENT = 3,
        /// If an answer takes longer than usual, ask a second provider. With [`Flags::IDEMPOTENT`], or for a procedure that is.
        HEDGE = 4,
        /// Not to be answered from a cache.
        FRESH = 5,
    }
}

flags! {
    /// Properties of a data or credit frame.
    pub struct DataFlags {
        /// The sender of this frame has opened the call.
        CALLER = 0,
        /// An item ends here.
        END_ITEM = 1,
        /// The caller sends no more data frames. Only with [`DataFlags::CALLER`]: a provider ends with its reply.
        END = 2,
    }
}

/// How the caller's node chooses among providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Strategy {
    /// The better of two taken at random, by latency and load; those of the caller's own node first while they are not overloaded.
    #[default]
    Balanced = 0,
    /// The one that answers fastest.
    Fastest = 1,
    /// One after the other.
    RoundRobin = 2,
    /// The same one for the same key, while it is there.
    Sticky = 3,
    /// All of them: the answers come as items, each a [`GatheredItem`].
    All = 4,
}

impl Strategy {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Balanced, Self::Fastest, Self::RoundRobin, Self::Sticky, Self::All];
}

impl TryFrom<u8> for Strategy {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        Self::ALL
            .into_iter()
            .find(|strategy| *strategy as u8 == byte)
            .ok_or_else(|| DecodeError::invalid("call strategy", "is unknown"))
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Executed; the body is the result.
    Ok = 0,
    /// Executed, and the procedure answers by an error of its own: the code and the body are the application's.
    Application = 1,
    /// Not executed: nobody provides it.
    NoProvider = 2,
    /// Not executed: the node knows no provider, and is cut off from the other nodes that might.
    NoPeers = 3,
    /// Not executed: it reached no provider; the body says why.
    NotSent = 4,
    /// It may have been executed: the provider, or the way to it, was lost before the answer.
    Unknown = 5,
    /// Not executed: who provides it has more to do than it may take; try again after the time named.
    Overloaded = 6,
    /// The deadline passed. Not executed if the code is 0; it may have been if it is 1.
    TimedOut = 7,
    /// The caller has cancelled it. It may have been executed.
    Cancelled = 8,
    /// The procedure has panicked: executed in part.
    Panicked = 9,
    /// Not executed: refused. The body is a [`Refusal`]: [`Reply::refusal`].
    Refused = 10,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::Application,
        Self::NoProvider,
        Self::NoPeers,
        Self::NotSent,
        Self::Unknown,
        Self::Overloaded,
        Self::TimedOut,
        Self::Cancelled,
        Self::Panicked,
        Self::Refused,
    ];

    /// The name used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Application => "application",
            Self::NoProvider => "no_provider",
            Self::NoPeers => "no_peers",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::Refused => "refused",
        }
    }
}

impl TryFrom<u8> for Status {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        let status = Self::ALL.into_iter().find(|status| *status as u8 == byte);
        status.ok_or_else(|| DecodeError::invalid("call status", "is unknown"))
    }
}

/// Opens a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Number of the call on this link, unused by another open one of its sender.
    pub call: u64,
    /// Properties.
    pub flags: Flags,
    /// How to choose a provider. Of no meaning behind the caller's node.
    pub strategy: Strategy,
    /// Under overload lower ones are given up first.
    pub priority: u8,
    /// From a client: 0. From node to node: the instance, as the receiving node numbers them. To a provider: its lease.
    pub target: u64,
    /// Who calls. From a client: itself, or nothing (zeros), which means the same.
    pub caller: PeerId,
    /// Time that is left, in milliseconds; 0 for the node's default.
    pub deadline_ms: u32,
    /// Bytes of data frames the sender takes before it gives credit.
    pub window: u32,
    /// With [`Strategy::All`]: so many answers are enough, 0 for those of all.
    pub answers: u16,
    /// The procedure, not yet validated as a name.
    pub name: &'a str,
    /// With [`Strategy::Sticky`]: calls of the same key go to the same provider.
    pub key: &'a [u8],
    /// Headers.
    pub headers: Headers<'a>,
    /// The argument, or the first part of it.
    pub body: &'a [u8],
}

/// Closes a call from the provider's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Number of the call on this link.
    pub call: u64,
    /// How it ended.
    pub status: Status,
    /// The application's code, or what the status says of it.
    pub code: u16,
    /// Calls that the answering instance has at hand and in its queue, for the balancing on the caller's node.
    pub load: u32,
    /// With [`Status::Overloaded`]: when to try again, in milliseconds.
    pub retry_after_ms: u32,
    /// How the instance is, by its own word.
    pub health: ProviderHealth,
    /// Headers.
    pub headers: Headers<'a>,
    /// The result, or the last part of it; for a [`Status`] that is none, a text for people or what the status says of it.
    pub body: &'a [u8],
}

/// More of a body, or of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data<'a> {
    /// Number of the call on this link.
    pub call: u64,
    /// Properties.
    pub flags: DataFlags,
    /// The bytes.
    pub body: &'a [u8],
}

/// Every frame of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFrame<'a> {
    /// Opens a call.
    Request(Request<'a>),
    /// Closes a call.
    Reply(Reply<'a>),
    /// More of a body, or of a stream.
    Data(Data<'a>),
    /// So many more bytes of data frames may be sent to whoever sends this.
    Credit {
        /// Number of the call on this link.
        call: u64,
        /// The sender of this frame has opened the call.
        caller: bool,
        /// Bytes of bodies.
        bytes: u32,
    },
    /// The caller does not want the answer any more.
    Cancel {
        /// Number of the call on this link.
        call: u64,
    },
}

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const DATA: u8 = 3;
const CREDIT: u8 = 4;
const CANCEL: u8 = 5;

/// Most bytes in front of the body of a call frame, headers aside.
pub(crate) const MAX_HEAD: usize = REQUEST_LEN + MAX_SERVICE + MAX_KEY;

impl<'a> CallFrame<'a> {
    /// Decodes the body of a call frame. The body's size was limited by [`FrameHeader::decode`]; nothing is allocated.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body, "call frame");
        match cursor.u8()? {
            REQUEST => Request::decode(cursor).map(Self::Request),
            REPLY => Reply::decode(cursor).map(Self::Reply),
            DATA => Data::decode(cursor).map(Self::Data),
            CREDIT => {
                let flags = cursor.u8()?;
                reserved(flags & !DataFlags::CALLER.0 == 0 && cursor.u16()? == 0)?;
                let (call, bytes) = (cursor.u64()?, cursor.u32()?);
                ended(cursor)?;
                Ok(Self::Credit { call, caller: flags == DataFlags::CALLER.0, bytes })
            }
            CANCEL => {
                reserved(cursor.u8()? == 0 && cursor.u16()? == 0)?;
                let call = cursor.u64()?;
                ended(cursor)?;
                Ok(Self::Cancel { call })
            }
            _ => Err(DecodeError::invalid("call frame", "is of an unknown kind")),
        }
    }

    /// Number of the call on this link.
    pub const fn call(&self) -> u64 {
        match self {
            Self::Request(Request { call, .. })
            | Self::Reply(Reply { call, .. })
            | Self::Data(Data { call, .. })
            | Self::Credit { call, .. }
            | Self::Cancel { call } => *call,
        }
    }

    /// Appends the whole frame to `out`, body included.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Request(request) => request.encode(out),
            Self::Reply(reply) => reply.encode(out),
            Self::Data(data) => data.encode(out),
            Self::Credit { call, caller, bytes } => encode_credit(*call, *caller, *bytes, out),
            Self::Cancel { call } => encode_cancel(*call, out),
        }
    }
}

impl<'a> Request<'a> {
    fn decode(mut cursor: Cursor<'a>) -> Result<Self, DecodeError> {
        let flags = Flags::decode(cursor.u8()?, FLAGS)?;
        let strategy = Strategy::try_from(cursor.u8()?)?;
        let priority = cursor.u8()?;
        let call = cursor.u64()?;
        let target = cursor.u64()?;
        let caller = PeerId::from_public_key(cursor.array()?);
        let deadline_ms = cursor.u32()?;
        let window = cursor.u32()?;
        let answers = cursor.u16()?;
        let (name_len, key_len, headers_len) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
        bounded("procedure name", name_len, MAX_SERVICE)?;
        bounded("call key", key_len, MAX_KEY)?;
        let name = cursor.str(name_len.into(), "procedure name")?;
        let key = cursor.bytes(key_len.into(), "call key")?;
        let headers = Headers::decode(cursor.bytes(headers_len.into(), "headers")?)?;
        let body = cursor.rest();
        if flags.contains(Flags::ITEMS_IN) && (!flags.contains(Flags::MORE) || !body.is_empty()) {
            return Err(DecodeError::invalid(FLAGS, "announce items and don't leave them to data frames"));
        }
        Ok(Self {
            call,
            flags,
            strategy,
            priority,
            target,
            caller,
            deadline_ms,
            window,
            answers,
            name,
            key,
            headers,
            body,
        })
    }

    /// Writes another parent into the trace context of this request's frame, of which `frame` is a copy of the body: whoever
    /// gets it next was caused by that span. A request without a context stays as it is.
    pub fn set_parent(&self, frame: &mut [u8], span: [u8; 8]) {
        let headers_at = REQUEST_LEN + self.name.len() + self.key.len();
        if let Some(block) = frame.get_mut(headers_at..) {
            crate::trace::set_parent(&self.headers, block, span);
        }
    }

    /// Appends frame header and request header to `out`, for a body of `body` bytes that the caller appends: not
    /// [`Request::body`], which is left to it so that it can be shared.
    pub fn encode_head(&self, body: usize, out: &mut BytesMut) {
        let headers = self.headers.as_bytes();
        debug_assert!(self.name.len() <= MAX_SERVICE && self.key.len() <= MAX_KEY, "checked before");
        let head = REQUEST_LEN + self.name.len() + self.key.len() + headers.len();
        out.reserve(HEADER_LEN + head);
        FrameHeader { kind: FrameKind::Call, len: head + body }.encode(out);
        out.put_u8(REQUEST);
        out.put_u8(self.flags.0);
        out.put_u8(self.strategy as u8);
        out.put_u8(self.priority);
        out.put_u64_le(self.call);
        out.put_u64_le(self.target);
        out.put_slice(self.caller.public_key());
        out.put_u32_le(self.deadline_ms);
        out.put_u32_le(self.window);
        out.put_u16_le(self.answers);
        out.put_u16_le(self.name.len() as u16);
        out.put_u16_le(self.key.len() as u16);
        out.put_u16_le(headers.len() as u16);
        out.put_slice(self.name.as_bytes());
        out.put_slice(self.key);
        out.put_slice(headers);
    }

    /// Appends the whole frame to `out`, body included.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(self.body.len(), out);
        out.put_slice(self.body);
    }
}

impl<'a> Reply<'a> {
    fn decode(mut cursor: Cursor<'a>) -> Result<Self, DecodeError> {
        let status = Status::try_from(cursor.u8()?)?;
        let code = cursor.u16()?;
        let call = cursor.u64()?;
        let load = cursor.u32()?;
        let retry_after_ms = cursor.u32()?;
        let health = ProviderHealth::try_from(cursor.u8()?)?;
        reserved(cursor.u8()? == 0)?;
        let headers_len = cursor.u16()?;
        let headers = Headers::decode(cursor.bytes(headers_len.into(), "headers")?)?;
        Ok(Self { call, status, code, load, retry_after_ms, health, headers, body: cursor.rest() })
    }

    /// A reply that closes a call with nothing but a status and a text for people.
    pub fn failure(call: u64, status: Status, text: &'a str) -> Self {
        Self {
            call,
            status,
            code: 0,
            load: 0,
            retry_after_ms: 0,
            health: ProviderHealth::Good,
            headers: Headers::default(),
            body: text.as_bytes(),
        }
    }

    /// Why it was refused, of a reply of [`Status::Refused`].
    pub fn refusal(&self) -> Result<Refusal, DecodeError> {
        codec::decode(self.body)
    }

    /// Appends frame header and reply header to `out`, for a body of `body` bytes that the caller appends: not
    /// [`Reply::body`], which is left to it so that it can be shared.
    pub fn encode_head(&self, body: usize, out: &mut BytesMut) {
        let headers = self.headers.as_bytes();
        let head = REPLY_LEN + headers.len();
        out.reserve(HEADER_LEN + head);
        FrameHeader { kind: FrameKind::Call, len: head + body }.encode(out);
        out.put_u8(REPLY);
        out.put_u8(self.status as u8);
        out.put_u16_le(self.code);
        out.put_u64_le(self.call);
        out.put_u32_le(self.load);
        out.put_u32_le(self.retry_after_ms);
        out.put_u8(self.health as u8);
        out.put_u8(0);
        out.put_u16_le(headers.len() as u16);
        out.put_slice(headers);
    }

    /// Appends the whole frame to `out`, body included.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(self.body.len(), out);
        out.put_slice(self.body);
    }
}

/// The body of a reply of [`Status::Refused`].
pub fn refused_body(refusal: &Refusal) -> Vec<u8> {
    codec::encode(refusal)
}

impl<'a> Data<'a> {
    fn decode(mut cursor: Cursor<'a>) -> Result<Self, DecodeError> {
        let flags = DataFlags::decode(cursor.u8()?, FLAGS)?;
        reserved(cursor.u16()? == 0)?;
        if flags.contains(DataFlags::END) && !flags.contains(DataFlags::CALLER) {
            return Err(DecodeError::invalid(FLAGS, "end a provider's data, which its reply does"));
        }
        Ok(Self { call: cursor.u64()?, flags, body: cursor.rest() })
    }

    /// Appends frame header and data header to `out`, for a body of `body` bytes that the caller appends.
    pub fn encode_head(&self, body: usize, out: &mut BytesMut) {
        out.reserve(HEADER_LEN + DATA_LEN);
        FrameHeader { kind: FrameKind::Call, len: DATA_LEN + body }.encode(out);
        out.put_u8(DATA);
        out.put_u8(self.flags.0);
        out.put_u16_le(0);
        out.put_u64_le(self.call);
    }

    /// Appends the whole frame to `out`, body included.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(self.body.len(), out);
        out.put_slice(self.body);
    }
}

/// Appends a whole credit frame to `out`. `caller`: the sender of the frame has opened the call.
pub fn encode_credit(call: u64, caller: bool, bytes: u32, out: &mut BytesMut) {
    FrameHeader { kind: FrameKind::Call, len: DATA_LEN + 4 }.encode(out);
    out.put_u8(CREDIT);
    out.put_u8(if caller { DataFlags::CALLER.0 } else { 0 });
    out.put_u16_le(0);
    out.put_u64_le(call);
    out.put_u32_le(bytes);
}

/// Appends a whole cancel frame to `out`.
pub fn encode_cancel(call: u64, out: &mut BytesMut) {
    FrameHeader { kind: FrameKind::Call, len: DATA_LEN }.encode(out);
    out.put_u8(CANCEL);
    out.put_u8(0);
    out.put_u16_le(0);
    out.put_u64_le(call);
}

/// The answer of one provider to a call of [`Strategy::All`]: an item of the stream that its caller gets.
///
/// ```text
/// node [u8; 32] | provider [u8; 32] | status u8 | reserved u8 = 0 | code u16 | body
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatheredItem<'a> {
    /// The provider's node.
    pub node: PeerId,
    /// The provider.
    pub provider: PeerId,
    /// How its part of the call ended.
    pub status: Status,
    /// As in [`Reply::code`].
    pub code: u16,
    /// As in [`Reply::body`].
    pub body: &'a [u8],
}

impl<'a> GatheredItem<'a> {
    /// Bytes in front of the body.
    pub const HEAD_LEN: usize = 68;

    /// Decodes an item.
    pub fn decode(item: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(item, "gathered answer");
        let node = PeerId::from_public_key(cursor.array()?);
        let provider = PeerId::from_public_key(cursor.array()?);
        let status = Status::try_from(cursor.u8()?)?;
        reserved(cursor.u8()? == 0)?;
        Ok(Self { node, provider, status, code: cursor.u16()?, body: cursor.rest() })
    }

    /// Appends the item to `out`, body included.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(self.node.public_key());
        out.put_slice(self.provider.public_key());
        out.put_u8(self.status as u8);
        out.put_u8(0);
        out.put_u16_le(self.code);
        out.put_slice(self.body);
    }
}

const fn reserved(are_zero: bool) -> Result<(), DecodeError> {
    if are_zero { Ok(()) } else { Err(DecodeError::invalid(FLAGS, "are reserved")) }
}

fn bounded(field: &'static str, len: u16, allowed: usize) -> Result<(), DecodeError> {
    let actual = usize::from(len);
    if actual > allowed { Err(DecodeError::TooLong { field, actual, allowed }) } else { Ok(()) }
}

fn ended(cursor: Cursor<'_>) -> Result<(), DecodeError> {
    match cursor.rest().len() {
        0 => Ok(()),
        rest => Err(DecodeError::Trailing(rest)),
    }
}
