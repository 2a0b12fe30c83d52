use std::sync::Arc;
use std::time::Instant;

use sinew_wire::Refusal;
use sinew_wire::call::{CallFrame, DataFlags};

use crate::link::Link;
use crate::service::Service;

/// One link's part in the calls of the node: takes the frames that come over it. Owned by the task that reads the link.
///
/// Dropped, the link is gone: calls that came over it are cancelled, and those that it was to answer are tried
/// elsewhere or end.
#[derive(Debug)]
pub struct Port {
    service: Arc<Service>,
    link: Arc<Link>,
}

impl Port {
    pub(crate) const fn new(service: Arc<Service>, link: Arc<Link>) -> Self {
        Self { service, link }
    }

    /// Takes the body of one frame of [`sinew_wire::FrameKind::Call`]. Never waits.
    ///
    /// # Errors
    /// The peer has broken the protocol or sent beyond its credit: the link is to be closed with this.
    pub fn frame(&mut self, body: &[u8], now: Instant) -> Result<(), Refusal> {
        let Self { service, link } = self;
        match CallFrame::decode(body)? {
            CallFrame::Request(request) => service.request(link, &request, body, now),
            CallFrame::Reply(reply) => {
                service.reply(link, &reply, now);
                Ok(())
            }
            CallFrame::Data(data) if data.flags.contains(DataFlags::CALLER) => {
                service.data_from_caller(link, &data, now)
            }
            CallFrame::Data(data) => service.data_from_provider(link, &data, now),
            CallFrame::Credit { call, caller: true, bytes } => service.credit_from_caller(link, call, bytes, now),
            CallFrame::Credit { call, caller: false, bytes } => service.credit_from_provider(link, call, bytes, now),
            CallFrame::Cancel { call } => {
                service.cancel(link, call, now);
                Ok(())
            }
        }
    }

    /// Calls that were sent over this link and that it has to answer yet. Cheap.
    pub fn open(&self) -> usize {
        self.link.at_hand()
    }

    /// Calls that came over this link and are open.
    pub fn asked(&self) -> usize {
        self.link.asked.lock().calls.len()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.service.link_down(&self.link, Instant::now());
    }
}
