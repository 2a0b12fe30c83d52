use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use sinew_link::{Fill, LinkError, LinkReader};
use sinew_wire::call::CallFrame;
use sinew_wire::deliver::{DeliverHeader, Flags};
use sinew_wire::entry::{self, EntryLimits};
use sinew_wire::{Control, DecodeError, Frame, FrameKind, Refusal, pack};
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::client::Connection;
use crate::delivery::Block;
use crate::establish::Established;
use crate::events::{ConnectionEvent, DisconnectReason};
use crate::inbox::Inbox;
use crate::services::Settled;
use crate::shared::{Reply, Shared};
use crate::writer::{self, Pulse};

/// How long the last words may take: what is in the batch, and a goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Shortest keep-alive that is obeyed, so that a node cannot make a client spin.
const MIN_BEAT: Duration = Duration::from_millis(50);

/// Longest, so that a link that is silent is found out one day whatever the node says.
const MAX_BEAT: Duration = Duration::from_secs(60);

/// How often deadlines of calls are looked at, while there are any: a clock for all of them costs less than one each, and the
/// nodes keep them to the millisecond.
const DEADLINES: Duration = Duration::from_millis(50);

/// One link, from its welcome to its end.
pub(crate) struct Session {
    shared: Arc<Shared>,
    reader: LinkReader,
    /// The task that writes. It ends with this.
    writing: AbortOnDropHandle<Result<(), LinkError>>,
    pulse: Arc<Pulse>,
    /// Number of this link.
    link: u64,
    limits: EntryLimits,
    keep_alive: Duration,
    idle_timeout: Duration,
    /// Subscriptions that something came for.
    inboxes: HashMap<u32, Arc<Inbox>>,
    /// Those of them that something came for with this read.
    touched: Vec<Arc<Inbox>>,
    /// Something came about a lease with this read.
    leases_touched: bool,
}

/// How a session has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The application wanted it.
    Closed,
    /// Something else happened.
    Lost(DisconnectReason),
}

/// Why reading cannot go on.
#[derive(Debug)]
enum Stop {
    Goodbye(Refusal),
    Protocol(String),
    Broken(LinkError),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Frame(error) => error.into(),
            other => Self::Broken(other),
        }
    }
}

/// Makes a link the client's: starts its writer, subscribes anew, lets publishers go on.
pub(crate) fn attach(established: Established, shared: &Arc<Shared>) -> Session {
    let Established { server, reader, writer, welcome } = established;
    let config = &shared.config;
    let connection = Connection {
        server: server.clone(),
        node: welcome.node,
        session: welcome.session,
        max_message_bytes: saturate(welcome.max_message_bytes).min(config.max_payload),
        max_header_bytes: saturate(welcome.max_header_bytes).min(sinew_wire::MAX_HEADERS),
        max_in_flight: saturate(welcome.max_open_acks).min(config.max_in_flight),
    };
    shared.emit(ConnectionEvent::Connected { server, node: welcome.node, session: welcome.session });
    // What others publish may be as large as the node allows; what comes is bounded by what this client accepts.
    let limits = EntryLimits { payload: config.max_payload, headers: sinew_wire::MAX_HEADERS };
    let link = shared.attach(connection, &welcome, config.frame_limits.run);
    let compress = config.compression && welcome.features.contains(sinew_wire::Features::LZ4);
    let pulse = Arc::new(Pulse::default());
    let writing = tokio::spawn(writer::write(writer, Arc::clone(shared), compress, Arc::clone(&pulse)));
    let keep_alive = Duration::from_millis(welcome.keep_alive_ms).clamp(MIN_BEAT, MAX_BEAT);
    Session {
        shared: Arc::clone(shared),
        reader,
        writing: AbortOnDropHandle::new(writing),
        pulse,
        link,
        limits,
        keep_alive,
        // Shorter than two beats of the node it would be a matter of luck.
        idle_timeout: Duration::from_millis(welcome.idle_timeout_ms).max(keep_alive * 2),
        inboxes: HashMap::new(),
        touched: Vec::new(),
        leases_touched: false,
    }
}

fn saturate(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl Session {
    /// Reads until the link ends, for one reason or another.
    pub(crate) async fn run(mut self) -> End {
        let mut heard = Instant::now();
        let mut beat = tokio::time::interval(self.keep_alive.min(self.idle_timeout / 4));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.reset();
        // When the next lease is to be renewed, if there is one.
        let mut renew = pin!(tokio::time::sleep(Duration::ZERO));
        let mut renews = false;
        let mut deadlines = tokio::time::interval(DEADLINES);
        deadlines.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut calls = false;
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                biased;
                () = shared.stopped.cancelled() => return End::Closed,
                // Before the reader, which may have something all the time.
                _ = deadlines.tick(), if calls => calls = shared.expire_calls(tokio::time::Instant::now()),
                // Before the writer, which often finds out first that the link is gone: the node may have said why.
                filled = self.reader.fill() => {
                    heard = Instant::now();
                    let read = match filled {
                        Ok(Fill::Frames) => self.read(),
                        Ok(Fill::End) => return self.ended(),
                        Err(error) => Err(error.into()),
                    };
                    self.wake_touched();
                    if let Err(stop) = read {
                        return self.stop(stop).await;
                    }
                    if std::mem::take(&mut self.leases_touched) {
                        renews = self.renew(renew.as_mut());
                    }
                }
                () = &mut renew, if renews => renews = self.renew(renew.as_mut()),
                () = shared.watch_calls.notified(), if !calls => {
                    deadlines.reset();
                    calls = true;
                }
                written = &mut self.writing => return self.written(written.ok()).await,
                _ = beat.tick() => {
                    if heard.elapsed() >= self.idle_timeout {
                        self.farewell(Some(Refusal::Idle(heard.elapsed().as_millis() as u64))).await;
                        return End::Lost(DisconnectReason::Silent(self.idle_timeout));
                    }
                    self.keep_alive();
                }
            }
            // A node whose messages never run dry must not keep the tasks beside this one from their turn.
            tokio::task::consume_budget().await;
        }
    }

    /// The writer has ended: all is said, or the link is broken. Hears the node's last words in both cases.
    async fn written(&mut self, outcome: Option<Result<(), LinkError>>) -> End {
        let goodbye = tokio::select! {
            goodbye = self.last_words() => goodbye,
            () = tokio::time::sleep(FAREWELL) => None,
        };
        if self.shared.closing.is_cancelled() {
            return End::Closed;
        }
        End::Lost(match (goodbye, outcome) {
            (Some(refusal), _) => DisconnectReason::Goodbye(refusal),
            (None, Some(Err(error))) => DisconnectReason::Broken(error.to_string()),
            (None, _) => DisconnectReason::Broken("its writer has ended".to_owned()),
        })
    }

    /// Reads to the end, for a goodbye.
    async fn last_words(&mut self) -> Option<Refusal> {
        while let Ok(Fill::Frames) = self.reader.fill().await {
            let read = self.read();
            self.wake_touched();
            match read {
                Ok(()) => {}
                Err(Stop::Goodbye(refusal)) => return Some(refusal),
                Err(_) => return None,
            }
        }
        None
    }

    /// The node has ended the link without a goodbye.
    fn ended(&self) -> End {
        if self.shared.closing.is_cancelled() {
            return End::Closed;
        }
        End::Lost(DisconnectReason::Broken("ended by the node".to_owned()))
    }

    async fn stop(&mut self, stop: Stop) -> End {
        let reason = match stop {
            Stop::Goodbye(refusal) => {
                // A node that drains still takes what is on its way, until this side ends too.
                self.farewell(None).await;
                DisconnectReason::Goodbye(refusal)
            }
            Stop::Protocol(how) => {
                self.farewell(Some(Refusal::Protocol(how.clone()))).await;
                DisconnectReason::Protocol(how)
            }
            Stop::Broken(error) => DisconnectReason::Broken(error.to_string()),
        };
        if self.shared.closing.is_cancelled() {
            return End::Closed;
        }
        End::Lost(reason)
    }

    /// Writes what is in the batch and the end of the link, if the node takes it in time.
    async fn farewell(&mut self, reason: Option<Refusal>) {
        self.shared.finish(reason);
        let Self { reader, writing, shared, .. } = self;
        // A link that is closed while there is something to read may take back what was written last.
        let last_words = async { tokio::join!(writing, discard(reader)) };
        tokio::select! {
            _said = last_words => {}
            () = tokio::time::sleep(FAREWELL) => {}
            () = shared.stopped.cancelled() => {}
        }
    }

    fn keep_alive(&mut self) {
        if !self.pulse.wrote.swap(false, Ordering::Relaxed) {
            self.pulse.idle.store(true, Ordering::Relaxed);
            self.shared.shrink();
            // A node that does not read is found out by its silence.
            let _not_reading = self.shared.urgent(self.link, &Control::Ping { nonce: 0 });
        }
        self.reader.shrink();
        self.inboxes.retain(|_, inbox| inbox.ended().is_none());
    }

    /// Renews the leases for which it is time, and sets the clock for the next. Returns whether there is one.
    fn renew(&self, clock: Pin<&mut Sleep>) -> bool {
        let Some(next) = self.shared.renew_leases(Instant::now()) else { return false };
        clock.reset(next.into());
        true
    }

    fn wake_touched(&mut self) {
        for inbox in self.touched.drain(..) {
            inbox.wake();
        }
    }

    /// Handles every whole frame that is buffered.
    fn read(&mut self) -> Result<(), Stop> {
        // The reader lends its frames, and handling them needs the rest of the session.
        let Self { shared, reader, link, limits, inboxes, touched, leases_touched, .. } = self;
        let mut handler = Handler { shared, link: *link, limits: *limits, inboxes, touched, leases_touched };
        while let Some(frame) = reader.next_frame()? {
            handler.handle(frame)?;
        }
        Ok(())
    }
}

/// What a session needs to handle a frame.
struct Handler<'a> {
    shared: &'a Arc<Shared>,
    link: u64,
    limits: EntryLimits,
    inboxes: &'a mut HashMap<u32, Arc<Inbox>>,
    touched: &'a mut Vec<Arc<Inbox>>,
    leases_touched: &'a mut bool,
}

impl Handler<'_> {
    fn handle(&mut self, frame: Frame<'_>) -> Result<(), Stop> {
        match frame.kind {
            FrameKind::Deliver => self.deliver(frame.body),
            FrameKind::Control => self.control(Control::decode(frame.body)?),
            FrameKind::Publish => Err(protocol("a node does not send publish frames")),
            FrameKind::Forward | FrameKind::Mesh => Err(protocol("frames between nodes are not for clients")),
            FrameKind::Call => {
                let frame = CallFrame::decode(frame.body)?;
                self.shared.call_frame(self.link, &frame).map_err(Stop::Protocol)
            }
        }
    }

    /// Checks a run, and copies it once: everything behind this trusts it.
    fn deliver(&mut self, body: &[u8]) -> Result<(), Stop> {
        let (header, block) = DeliverHeader::decode(body)?;
        // One that was just dropped may still be delivered to.
        let Some(inbox) = self.inbox(header.subscription) else { return Ok(()) };
        let topic = inbox.topic(header.topic).map_err(|error| Stop::Protocol(format!("a topic: {error}")))?;
        let entries = if header.flags.contains(Flags::PACKED) {
            Bytes::from(pack::unpack(block, header.entries_len, &self.shared.config.frame_limits)?)
        } else {
            Bytes::copy_from_slice(block)
        };
        let summary = entry::validate(&entries, &self.limits)?;
        if summary.messages != header.messages as usize {
            return Err(protocol("a run does not hold as many messages as it says"));
        }
        let run = Block {
            topic,
            publisher: header.publisher,
            instance: header.instance,
            first_seq: header.first_seq,
            retained: header.flags.contains(Flags::RETAINED),
            messages: header.messages,
            entries,
            ack: header.ack,
            link: self.link,
        };
        match inbox.deliver(Arc::new(run)) {
            Ok(first) => self.touch(first, inbox),
            Err(overrun) => return Err(Stop::Protocol(format!("a delivery window: {overrun}"))),
        }
        Ok(())
    }

    fn control(&mut self, control: Control) -> Result<(), Stop> {
        match control {
            Control::PublishCredit { bytes } => {
                self.shared.grant(bytes).map_err(|error| Stop::Protocol(error.to_string()))?;
            }
            Control::PublishResult(result) => self.shared.settle(result),
            Control::Lagged { subscription, missed } => {
                if let Some(inbox) = self.inbox(subscription) {
                    let first = inbox.lag(missed);
                    self.touch(first, inbox);
                }
            }
            Control::Subscribed { subscription } => {
                if let Some(inbox) = self.inbox(subscription) {
                    self.shared.subscribed(&inbox);
                }
            }
            Control::Unsubscribed { subscription, refusal } => {
                if let Some(inbox) = self.inbox(subscription) {
                    self.shared.unsubscribed(&inbox, refusal);
                }
                self.inboxes.remove(&subscription);
            }
            Control::Ping { nonce } => {
                let pong = self.shared.urgent(self.link, &Control::Pong { nonce });
                pong.map_err(|_| protocol("it does not read the answers to its pings"))?;
            }
            Control::Pong { nonce } => self.shared.pong(nonce),
            Control::Goodbye(goodbye) => return Err(Stop::Goodbye(goodbye.reason)),
            other => self.services(other)?,
        }
        Ok(())
    }

    /// Frames about services and other nodes.
    fn services(&mut self, control: Control) -> Result<(), Stop> {
        match control {
            Control::Announced { lease, ttl_ms } => {
                self.shared.announced(lease, ttl_ms);
                *self.leases_touched = true;
            }
            Control::LeaseEnded { lease, refusal } => {
                self.shared.lease_ended(lease, refusal);
                *self.leases_touched = true;
            }
            Control::LookupResult { request, outcome } => self.shared.reply(request.into(), Reply::Lookup(outcome)),
            Control::ServicePage { request, services, more } => {
                self.shared.reply(request.into(), Reply::Page(services, more));
            }
            Control::Settled { nonce, nodes, missing } => {
                self.shared.reply(nonce, Reply::Settled(Settled { nodes, missing }));
            }
            Control::ServiceChanged { request, name, instances } => {
                self.shared.service_changed(request, name, instances);
            }
            Control::WatchEnded { request, refusal } => self.shared.watch_ended(request, refusal),
            _ => return Err(protocol("a frame that a node does not send")),
        }
        Ok(())
    }

    fn inbox(&mut self, subscription: u32) -> Option<Arc<Inbox>> {
        if let Some(inbox) = self.inboxes.get(&subscription) {
            return Some(Arc::clone(inbox));
        }
        let inbox = self.shared.inbox(subscription)?;
        self.inboxes.insert(subscription, Arc::clone(&inbox));
        Some(inbox)
    }

    fn touch(&mut self, first: bool, inbox: Arc<Inbox>) {
        if first {
            self.touched.push(inbox);
        }
    }
}

/// Reads to the end, for nobody.
async fn discard(reader: &mut LinkReader) {
    while let Ok(Fill::Frames) = reader.fill().await {
        while let Ok(Some(_)) = reader.next_frame() {}
    }
}

fn protocol(how: &str) -> Stop {
    Stop::Protocol(how.to_owned())
}
