//! Frames of calls, as a test sees them.

use bytes::BytesMut;
use sinew_wire::call::{CallFrame, Data, DataFlags, Flags, Reply, Status, Strategy};
use sinew_wire::{PeerId, ProviderHealth};

use crate::peer::{Got, Peer};

/// A frame of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Request(Asked),
    Reply(Replied),
    Data(u64, DataFlags, Vec<u8>),
    /// Call, whether of its caller, bytes.
    Credit(u64, bool, u32),
    Cancel(u64),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) call: u64,
    pub(crate) flags: Flags,
    pub(crate) strategy: Strategy,
    pub(crate) priority: u8,
    pub(crate) target: u64,
    pub(crate) caller: PeerId,
    pub(crate) deadline_ms: u32,
    pub(crate) window: u32,
    pub(crate) answers: u16,
    pub(crate) name: String,
    pub(crate) key: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replied {
    pub(crate) call: u64,
    pub(crate) status: Status,
    pub(crate) code: u16,
    pub(crate) load: u32,
    pub(crate) retry_after_ms: u32,
    pub(crate) health: ProviderHealth,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl From<CallFrame<'_>> for Frame {
    fn from(frame: CallFrame<'_>) -> Self {
        match frame {
            CallFrame::Request(request) => Self::Request(Asked {
                call: request.call,
                flags: request.flags,
                strategy: request.strategy,
                priority: request.priority,
                target: request.target,
                caller: request.caller,
                deadline_ms: request.deadline_ms,
                window: request.window,
                answers: request.answers,
                name: request.name.to_owned(),
                key: request.key.to_vec(),
                headers: request.headers.as_bytes().to_vec(),
                body: request.body.to_vec(),
            }),
            CallFrame::Reply(reply) => Self::Reply(Replied {
                call: reply.call,
                status: reply.status,
                code: reply.code,
                load: reply.load,
                retry_after_ms: reply.retry_after_ms,
                health: reply.health,
                headers: reply.headers.as_bytes().to_vec(),
                body: reply.body.to_vec(),
            }),
            CallFrame::Data(data) => Self::Data(data.call, data.flags, data.body.to_vec()),
            CallFrame::Credit { call, caller, bytes } => Self::Credit(call, caller, bytes),
            CallFrame::Cancel { call } => Self::Cancel(call),
        }
    }
}

impl Peer {
    pub(crate) async fn next_call(&mut self) -> Frame {
        match self.next().await {
            Got::Call(frame) => frame,
            other => panic!("expected a frame of a call, got {other:?}"),
        }
    }

    pub(crate) async fn next_request(&mut self) -> Asked {
        match self.next_call().await {
            Frame::Request(asked) => asked,
            other => panic!("expected a request, got {other:?}"),
        }
    }

    pub(crate) async fn next_reply(&mut self) -> Replied {
        match self.next_call().await {
            Frame::Reply(replied) => replied,
            other => panic!("expected a reply, got {other:?}"),
        }
    }

    /// Leaves out credit.
    pub(crate) async fn next_data(&mut self) -> (u64, DataFlags, Vec<u8>) {
        loop {
            match self.next_call().await {
                Frame::Data(call, flags, body) => return (call, flags, body),
                Frame::Credit(..) => {}
                other => panic!("expected data, got {other:?}"),
            }
        }
    }

    pub(crate) async fn send_call(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let mut frame = BytesMut::new();
        encode(&mut frame);
        self.send_raw(frame.freeze()).await;
    }
}

pub(crate) fn reply(call: u64, status: Status, body: &[u8]) -> Reply<'_> {
    Reply { body, ..Reply::failure(call, status, "") }
}

pub(crate) const fn data(call: u64, flags: DataFlags, body: &[u8]) -> Data<'_> {
    Data { call, flags, body }
}
