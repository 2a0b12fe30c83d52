use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sinew_link::pool::Closed;
use sinew_link::{Fill, Lane, LinkError, LinkReader, Probe};
use sinew_observe::Metrics;
use sinew_pubsub::Outbox;
use sinew_rpc::Port;
use sinew_wire::forward::ForwardHeader;
use sinew_wire::{Control, Features, Frame, FrameKind, HEADER_LEN, Limit, MeshControl, Refusal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::info;

use crate::context::{Context, Shared};
use crate::handshake::{Accepted, Failed, Resumed, Shake};
use crate::info::LinkInfo;
use crate::node::{Lease, Node};
use crate::pool::{Admission, Close};
use crate::time::sleep_until;
use crate::writer::{self, Wrote};

/// How often a session looks whether its peer is alive, while nothing happens.
const BEAT: Duration = Duration::from_millis(500);

/// Bounds of the silence after which what is to be written of calls waits for a sign of life: one round trip, and if
/// the peer is dead, they were certainly not executed. Between the bounds it goes by the round trip, beside which the
/// pause was long.
const MIN_GUARD: Duration = Duration::from_millis(3);
const MAX_GUARD: Duration = Duration::from_secs(1);

/// How long the last words to a peer may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The same while the peer waits on its new link for the old one to end.
const SHORT_FAREWELL: Duration = Duration::from_millis(50);

/// A link that the pool has taken in.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) node: Arc<Node>,
    pub(crate) admission: Admission,
    pub(crate) info: LinkInfo,
    pub(crate) shake: Shake,
    /// What the peer said to our hello; nothing if the peer has said hello.
    pub(crate) accepted: Option<Accepted>,
    /// What the peer can do.
    pub(crate) features: Features,
}

/// How a link came to its end.
#[derive(Debug)]
enum End {
    /// The pool wants it to.
    Closed(Closed),
    /// The peer said goodbye, or just ended its stream.
    Peer(Option<Refusal>),
    /// We refuse to go on.
    Refused(Refusal),
    /// The link broke.
    Broken(LinkError),
    /// Nothing is heard of the peer.
    Silent(Duration),
}

impl End {
    fn reason(&self) -> Closed {
        match self {
            Self::Closed(reason) => *reason,
            Self::Peer(Some(Refusal::Replaced)) => Closed::Replaced,
            Self::Peer(_) => Closed::Peer,
            Self::Refused(_) => Closed::Refused,
            Self::Broken(_) | Self::Silent(_) => Closed::Lost,
        }
    }

    /// What the peer is told.
    fn goodbye(&self, context: &Context) -> Refusal {
        match self {
            Self::Closed(Closed::Idle) => Refusal::Idle(context.config.pool.idle.as_millis() as u64),
            Self::Closed(Closed::Evicted) => {
                Refusal::Limit { limit: Limit::Peers, allowed: context.config.pool.max as u64 }
            }
            Self::Closed(Closed::Replaced) => Refusal::Replaced,
            Self::Closed(Closed::Gone) => Refusal::Denied("not a member of the realm any more".to_owned()),
            Self::Closed(_) => Refusal::Draining,
            Self::Refused(refusal) => refusal.clone(),
            Self::Silent(silence) => Refusal::Idle(silence.as_millis() as u64),
            Self::Peer(_) | Self::Broken(_) => Refusal::Closed,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(reason) => write!(f, "closed: {reason}"),
            Self::Peer(Some(reason)) => write!(f, "the peer says: {reason}"),
            Self::Peer(None) => f.write_str("the peer ended it"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Broken(error) => write!(f, "broken: {error}"),
            Self::Silent(silence) => write!(f, "nothing heard for {silence:?}"),
        }
    }
}

/// Finishes the handshake of a link, serves it to its end, and tells the pool of that.
pub(crate) async fn run(context: &Shared, opened: Opened) {
    let Opened { node, admission: Admission { link, close }, info, shake, accepted, features } = opened;
    let peer = node.peer;
    let lease = lease(context, &node, &close).await;
    let (end, lease) = match lease {
        Err(end) => {
            shake.refuse(end.goodbye(context)).await;
            (end, None)
        }
        Ok(mut lease) => {
            let end = serve(context, &node, &mut lease, shake, (accepted, features), &close).await;
            (end, Some(lease))
        }
    };
    context.count(&end);
    let reason = end.reason();
    info!(peer = %peer.short(), path = %info.path, %end, lasted = ?info.since.elapsed(), "link to a node ended");
    context.pool.ended(peer, link, reason).await;
    if let Some(lease) = lease {
        lease.linger(&context.stop).await;
    }
}

/// Waits for the former link, if there is one, to end.
async fn lease(context: &Context, node: &Arc<Node>, close: &Close) -> Result<Lease, End> {
    tokio::select! {
        biased;
        reason = close.wanted() => Err(End::Closed(reason)),
        lease = tokio::time::timeout(context.config.handshake_timeout, node.lease()) => match lease {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_gone)) => Err(End::Closed(Closed::Gone)),
            Err(_) => Err(End::Refused(Refusal::Unavailable("the former link has not ended yet".to_owned()))),
        },
    }
}

async fn serve(
    context: &Shared,
    node: &Arc<Node>,
    lease: &mut Lease,
    mut shake: Shake,
    (accepted, features): (Option<Accepted>, Features),
    close: &Close,
) -> End {
    let resumed = tokio::select! {
        biased;
        reason = close.wanted() => Err(End::Closed(reason)),
        resumed = resume(context, lease, &mut shake, accepted, features) => resumed,
    };
    let resumed = match resumed {
        Ok(resumed) => resumed,
        Err(end) => {
            // The next link waits for this one to end: no time for words.
            if !matches!(end, End::Broken(_) | End::Peer(_) | End::Closed(Closed::Replaced)) {
                shake.refuse(end.goodbye(context)).await;
            }
            return end;
        }
    };
    let Shake { mut reader, writer, .. } = shake;
    let outbox = node.remote.link_up(resumed.received, resumed.window, features);
    let now = Instant::now();
    node.activity.touch(now);
    let lane = Lane::new(context.config.call_queue);
    let held = Arc::new(Notify::new());
    let wrote = noting(Arc::clone(node), context.metrics.clone(), Arc::clone(&held));
    let mut writing = tokio::spawn(writer::write(writer, Arc::clone(&outbox), Arc::clone(&lane), wrote));
    let port = context.calls.node(node.peer, Arc::clone(&lane));
    node.called();
    let session = Session {
        context,
        node,
        outbox: Arc::clone(&outbox),
        lane: Arc::clone(&lane),
        port,
        probe: reader.probe(),
        held,
        guarded: false,
        lease,
        heard: now,
        ping: None,
        pings: 0,
        forwarded: node.remote.stats().forwarded,
    };
    let end = session.serve(&mut reader, &mut writing, close).await;
    outbox.close(end.goodbye(context), false);
    stop(writing, &end).await;
    node.remote.link_down(&outbox);
    end
}

/// What becomes of what the writer tells: traffic is counted, and `held` hears that calls have to wait.
fn noting(node: Arc<Node>, metrics: Metrics, held: Arc<Notify>) -> impl FnMut(Wrote) + Send {
    move |wrote| match wrote {
        Wrote::Sent { bytes, calls } => {
            node.traffic.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            metrics.peer_bytes_out.inc_by(bytes as u64);
            if calls > 0 {
                node.activity.touch(Instant::now());
            }
        }
        Wrote::Held => held.notify_one(),
    }
}

/// Lets the writer say its last words, as long as this end of the link leaves time for them.
async fn stop(mut writing: JoinHandle<Result<Refusal, LinkError>>, end: &End) {
    let patience = match end {
        _ if writing.is_finished() => return,
        End::Closed(Closed::Replaced) | End::Broken(_) | End::Silent(_) => SHORT_FAREWELL,
        _ => FAREWELL,
    };
    if tokio::time::timeout(patience, &mut writing).await.is_err() {
        writing.abort();
        let _stopped = writing.await;
    }
}

/// Both sides tell each other how much they took over former links.
async fn resume(
    context: &Context,
    lease: &mut Lease,
    shake: &mut Shake,
    accepted: Option<Accepted>,
    features: Features,
) -> Result<Resumed, End> {
    let inbound = lease.inbound();
    let ours = Resumed { received: inbound.received(), window: inbound.window() };
    let resumed = match accepted {
        Some(Accepted { received, window, .. }) => shake.resume(ours).await.map(|()| Resumed { received, window }),
        None => {
            let Resumed { received, window } = ours;
            let features = features.common(context.config.features);
            shake.accept(Accepted { instance: context.epoch, received, window, features }).await
        }
    };
    resumed.map_err(|failed| match failed {
        Failed::Goodbye(reason) => End::Peer(Some(reason)),
        Failed::Refused(refusal) => End::Refused(refusal),
        Failed::TimedOut(limit) => End::Silent(limit),
        Failed::Link(error) => End::Broken(error),
    })
}

/// What came with the frames that were read at once.
#[derive(Debug, Default)]
struct Taken {
    messages: u64,
    bytes: u64,
}

/// What the reader task of a link has at hand.
struct Session<'a> {
    context: &'a Shared,
    node: &'a Arc<Node>,
    outbox: Arc<Outbox>,
    lane: Arc<Lane>,
    port: Port,
    probe: Option<Probe>,
    /// The writer has calls that wait until the peer has shown that it is there.
    held: Arc<Notify>,
    guarded: bool,
    lease: &'a mut Lease,
    /// When the peer was heard last.
    heard: Instant,
    /// The ping that is not answered yet: its number, and since when.
    ping: Option<(u64, Instant)>,
    pings: u64,
    /// Messages sent when it was last looked.
    forwarded: u64,
}

impl Session<'_> {
    async fn serve(
        mut self,
        reader: &mut LinkReader,
        writing: &mut JoinHandle<Result<Refusal, LinkError>>,
        close: &Close,
    ) -> End {
        let end = self.run(reader, writing, close).await;
        // What was not written to the link is known not to have been executed.
        let port = &mut self.port;
        writer::not_sent(self.lane.close(), |frame| _ = port.frame(frame, Instant::now()));
        end
    }

    async fn run(
        &mut self,
        reader: &mut LinkReader,
        writing: &mut JoinHandle<Result<Refusal, LinkError>>,
        close: &Close,
    ) -> End {
        let woken = self.lease.inbound().woken();
        let held = Arc::clone(&self.held);
        let config = &self.context.config;
        let mut beat = tokio::time::interval(BEAT.min(config.ping_after.min(config.call_ping_after) / 2));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.reset();
        loop {
            let inbound = self.lease.inbound();
            let (parked, deadline) = (inbound.is_parked(), inbound.deadline());
            tokio::select! {
                biased;
                reason = close.wanted() => return End::Closed(reason),
                written = &mut *writing => return match written {
                    Ok(Ok(reason)) => End::Refused(reason),
                    Ok(Err(error)) => self.last_words(reader).await.unwrap_or(End::Broken(error)),
                    Err(_panicked) => End::Broken(LinkError::ClosedHere),
                },
                filled = reader.fill() => {
                    if let Err(end) = self.filled(filled, reader) {
                        return end;
                    }
                }
                () = woken.notified(), if parked => self.lease.inbound().advance(Instant::now()),
                () = sleep_until(deadline) => self.lease.inbound().advance(Instant::now()),
                () = held.notified() => {
                    if self.lane.is_held() {
                        self.ask(Instant::now());
                    }
                }
                () = closed(self.probe.as_ref()) => {
                    if let Err(end) = self.closed() {
                        return end;
                    }
                }
                _ = beat.tick() => {
                    if let Err(end) = self.beat() {
                        return end;
                    }
                    reader.shrink();
                    self.lane.shrink();
                }
            }
            // The outbox closes itself when the peer does not read; its writer, stuck in a write, would not notice.
            if let Some(reason) = self.outbox.closing() {
                return End::Refused(reason);
            }
            if self.lane.stuck() {
                return End::Refused(Refusal::Limit { limit: Limit::CallQueue, allowed: self.lane.max() as u64 });
            }
            // A peer whose data never runs dry must not keep the others from their turn.
            tokio::task::consume_budget().await;
        }
    }

    /// Something came, or the end.
    fn filled(&mut self, filled: Result<Fill, LinkError>, reader: &mut LinkReader) -> Result<(), End> {
        match filled {
            Ok(Fill::Frames) => {}
            Ok(Fill::End) => return Err(End::Peer(None)),
            Err(LinkError::Frame(error)) => return Err(End::Refused(error.into())),
            Err(error) => return Err(End::Broken(error)),
        }
        self.heard = Instant::now();
        if self.guarded {
            self.lane.heard(self.heard);
        }
        self.read(reader)
    }

    /// The peer takes nothing more: it may have said why.
    async fn last_words(&mut self, reader: &mut LinkReader) -> Option<End> {
        let reading = async {
            while let Ok(Fill::Frames) = reader.fill().await {
                if let Err(end) = self.read(reader) {
                    return Some(end);
                }
            }
            None
        };
        tokio::time::timeout(SHORT_FAREWELL, reading).await.ok().flatten()
    }

    /// Handles every whole frame that is buffered.
    fn read(&mut self, reader: &mut LinkReader) -> Result<(), End> {
        let mut taken = Taken::default();
        let outcome = self.read_frames(reader, &mut taken);
        // Once for all of them: they are counted by several links' tasks, and read by whoever looks.
        let traffic = &self.node.traffic;
        traffic.received_messages.fetch_add(taken.messages, Ordering::Relaxed);
        traffic.received_bytes.fetch_add(taken.bytes, Ordering::Relaxed);
        self.context.metrics.peer_bytes_in.inc_by(taken.bytes);
        outcome
    }

    fn read_frames(&mut self, reader: &mut LinkReader, taken: &mut Taken) -> Result<(), End> {
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    taken.bytes += (HEADER_LEN + frame.body.len()) as u64;
                    taken.messages += self.handle(frame)?;
                }
                Ok(None) => return Ok(()),
                Err(LinkError::Frame(error)) => return Err(End::Refused(error.into())),
                Err(error) => return Err(End::Broken(error)),
            }
        }
    }

    /// Returns how many messages were forwarded with it.
    fn handle(&mut self, frame: Frame<'_>) -> Result<u64, End> {
        let now = self.heard;
        match frame.kind {
            FrameKind::Forward => {
                let (header, entries) = ForwardHeader::decode(frame.body).map_err(undecodable)?;
                self.node.activity.touch(now);
                // What nodes say of themselves counts as nobody's message, there as here.
                let messages = if sinew_topic::is_reserved(header.topic) { 0 } else { u64::from(header.messages) };
                self.lease.inbound().forward(header, entries, now).map_err(End::Refused)?;
                return Ok(messages);
            }
            FrameKind::Mesh => {
                let control = MeshControl::decode(frame.body).map_err(undecodable)?;
                self.lease.inbound().control(control, now).map_err(End::Refused)?;
            }
            FrameKind::Control => self.control(frame.body, now)?,
            FrameKind::Call => {
                self.node.activity.touch(now);
                self.port.frame(frame.body, now).map_err(End::Refused)?;
            }
            FrameKind::Publish | FrameKind::Deliver => {
                return Err(violation("a node neither publishes nor delivers to another"));
            }
        }
        Ok(0)
    }

    fn control(&mut self, body: &[u8], now: Instant) -> Result<(), End> {
        match Control::decode(body).map_err(undecodable)? {
            Control::Ping { nonce } => self.outbox.control(&Control::Pong { nonce }),
            Control::Pong { nonce } => {
                if let Some((_, since)) = self.ping.take_if(|(open, _)| *open == nonce) {
                    self.node.activity.measured(now.saturating_duration_since(since));
                }
            }
            Control::Goodbye(goodbye) => return Err(End::Peer(Some(goodbye.reason))),
            _ => return Err(violation("a frame that nodes don't send each other")),
        }
        Ok(())
    }

    /// Asks a silent peer for a sign of life, and gives it up after a while without one.
    fn beat(&mut self) -> Result<(), End> {
        let config = &self.context.config;
        let now = Instant::now();
        let stats = self.node.remote.stats();
        if stats.forwarded != self.forwarded {
            self.forwarded = stats.forwarded;
            self.node.activity.touch(now);
        }
        let silence = now.saturating_duration_since(self.heard);
        let called = self.port.open() > 0;
        let (ask, give_up) = if called {
            (config.call_ping_after, config.call_dead_after.saturating_sub(config.call_ping_after))
        } else if self.node.is_busy() {
            (config.ping_after, config.dead_after.saturating_sub(config.ping_after))
        } else {
            (config.keep_alive, config.keep_alive)
        };
        self.look_for_process(called && silence >= ask);
        // Whatever was heard since is a sign of life.
        if let Some((_, since)) = self.ping.filter(|(_, since)| self.heard <= *since) {
            let gone = now.saturating_duration_since(since) >= give_up;
            return if gone { Err(End::Silent(silence)) } else { Ok(()) };
        }
        // The first one at once, for its round trip.
        if silence >= ask || self.pings == 0 {
            self.ask(now);
        }
        Ok(())
    }

    fn ask(&mut self, now: Instant) {
        self.pings += 1;
        self.ping = Some((self.pings, now));
        self.outbox.control(&Control::Ping { nonce: self.pings });
        if self.lane.is_held()
            && let Some(probe) = &mut self.probe
        {
            probe.heard();
            probe.ask();
        }
    }
}

impl Session<'_> {
    /// Whether the peer's process is there at all is asked while it has calls to answer and says nothing.
    fn look_for_process(&mut self, is_silent: bool) {
        let Some(probe) = &mut self.probe else { return };
        if let (Some(rtt), false) = (self.node.activity.rtt(), self.guarded) {
            // It has just answered.
            probe.learn(rtt);
            self.guarded = true;
            self.lane.guard(rtt.saturating_mul(4).clamp(MIN_GUARD, MAX_GUARD));
        }
        if is_silent { probe.ask() } else { probe.heard() }
    }

    /// Its host says that nobody is there any more.
    fn closed(&mut self) -> Result<(), End> {
        if self.ping.is_some_and(|(_, since)| self.heard <= since) {
            return Err(End::Silent(self.heard.elapsed()));
        }
        if let Some(probe) = &mut self.probe {
            probe.heard();
        }
        Ok(())
    }
}

async fn closed(probe: Option<&Probe>) {
    match probe {
        Some(probe) => probe.closed().await,
        None => std::future::pending().await,
    }
}

impl Context {
    fn count(&self, end: &End) {
        match end {
            End::Refused(Refusal::Limit { limit, .. }) => {
                self.metrics.limit_refused(*limit).inc();
                self.counters.violations.inc();
            }
            End::Refused(_) => self.counters.violations.inc(),
            End::Silent(_) => self.counters.silent.inc(),
            End::Closed(_) | End::Peer(_) | End::Broken(_) => {}
        }
    }
}

fn undecodable(error: sinew_wire::DecodeError) -> End {
    End::Refused(error.into())
}

fn violation(what: &str) -> End {
    End::Refused(Refusal::Protocol(what.to_owned()))
}
