use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use sinew_discovery::Owner;
use sinew_flow::ReceiveWindow;
use sinew_link::{Fill, Lane, LinkError, LinkReader, LinkWriter};
use sinew_mesh::writer::{self, Wrote};
use sinew_observe::CloseReason;
use sinew_pubsub::{Origin, Outbox, Publisher, SubscribeError, Subscription, SubscriptionSpec};
use sinew_rpc::Port;
use sinew_topic::Pattern;
use sinew_wire::{Control, Frame, FrameKind, Limit, Refusal, Subscribe, Welcome};
use tokio::task::JoinHandle;
use tracing::{debug, info};

use crate::gateway::Context;
use crate::incoming;
use crate::pulse::{Awake, Beat, Pulse};
use crate::questions::Questions;
use crate::roster::{Member, Seat};

/// Pings and runs that may wait behind a parked run, whatever their size.
const MAX_BACKLOG: usize = 65_536;

/// How long the peer may take to end its side after our goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// A link that was admitted.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
    pub(crate) welcome: Welcome,
    pub(crate) member: Arc<Member>,
    pub(crate) seat: Seat,
    pub(crate) instance: u64,
}

/// What the reader task of a session owns.
struct Session {
    context: Arc<Context>,
    member: Arc<Member>,
    outbox: Arc<Outbox>,
    publisher: Publisher,
    subscriptions: HashMap<u32, Arc<Subscription>>,
    credit: ReceiveWindow,
    calls: Served,
    pulse: Pulse,
    /// It has announced a procedure just now.
    serves: bool,
    /// When the client was heard last.
    heard: Instant,
}

/// What others reach the client by.
struct Served {
    questions: Questions,
    port: Port,
    lane: Arc<Lane>,
}

/// Runs a session to its end.
pub(crate) async fn run(parts: Parts, context: Arc<Context>) {
    let Parts { mut reader, writer, welcome, member, seat, instance } = parts;
    let metrics = context.metrics.clone();
    metrics.links_opened.inc();
    metrics.clients.inc();
    info!(session = member.session, peer = %member.peer.short(), name = %member.name, remote = %member.remote, "client connected");

    let outbox = Outbox::new(welcome.features);
    outbox.control(&Control::Welcome(welcome));
    let lane = Lane::new(context.config.call_queue);
    let (wrote, awake) = (Arc::new(AtomicBool::new(false)), Arc::new(Awake::default()));
    let told = (metrics.clone(), Arc::clone(&wrote), Arc::clone(&awake));
    let mut writing = tokio::spawn(writer::write(writer, Arc::clone(&outbox), Arc::clone(&lane), move |wrote| {
        if let Wrote::Sent { bytes, .. } = wrote {
            told.0.bytes_out.inc_by(bytes as u64);
            told.1.store(true, Ordering::Relaxed);
        }
        told.2.note(wrote);
    }));

    let pulse = Pulse::new(awake, Arc::clone(&lane), reader.probe(), context.config.provider_silence);
    let links = Links { outbox: Arc::clone(&outbox), lane, pulse };
    let mut session = Session::new(&context, Arc::clone(&member), links, instance);
    let end = session.serve(&mut reader, &mut writing, &wrote).await;
    if matches!(end, End::Writer(Some(Refusal::Draining))) {
        session.read_rest(&mut reader).await;
    }
    let reason = session.end(end, &mut writing).await;

    metrics.clients.dec();
    metrics.link_closed(CloseReason::from(&reason)).inc();
    info!(session = member.session, peer = %member.peer.short(), %reason, "client gone");
    drop(seat);
}

/// How a session's work came to its end.
#[derive(Debug)]
enum End {
    /// The peer ended its stream or said goodbye.
    Peer,
    /// We refuse to go on.
    Refused(Refusal),
    /// The writer is done: the outbox was closed, or the link broke.
    Writer(Option<Refusal>),
    /// The link broke.
    Broken(LinkError),
    /// The drain ran out of patience.
    Aborted,
}

impl Served {
    /// The link is gone. What was not written to it is known not to have been executed.
    fn end(self) {
        let Self { questions, mut port, lane } = self;
        let unwritten = lane.close();
        // Who calls from now on finds the client gone from the listing.
        drop(questions);
        writer::not_sent(unwritten, |frame| _ = port.frame(frame, Instant::now()));
    }
}

/// What belongs to the link of a session.
struct Links {
    outbox: Arc<Outbox>,
    lane: Arc<Lane>,
    pulse: Pulse,
}

impl Session {
    fn new(context: &Arc<Context>, member: Arc<Member>, links: Links, instance: u64) -> Self {
        let Links { outbox, lane, pulse } = links;
        let origin = Arc::new(Origin { peer: member.peer, instance });
        let owner = Owner { session: member.session, peer: member.peer, instance };
        let largest = context.bounds.run.frame.run as u64;
        Self {
            publisher: context.pubsub.publisher(origin, Arc::clone(&outbox)),
            credit: ReceiveWindow::new(context.config.publish_window, largest),
            calls: Served {
                questions: Questions::new(context, &outbox, owner),
                port: context.calls.client(owner, Arc::clone(&lane)),
                lane,
            },
            pulse,
            serves: false,
            heard: Instant::now(),
            context: Arc::clone(context),
            member,
            outbox,
            subscriptions: HashMap::new(),
        }
    }

    /// Reads frames until the session ends for one reason or another.
    async fn serve(
        &mut self,
        reader: &mut LinkReader,
        writing: &mut JoinHandle<Result<Refusal, LinkError>>,
        wrote: &AtomicBool,
    ) -> End {
        let context = Arc::clone(&self.context);
        let woken = self.publisher.woken();
        let mut beat = tokio::time::interval(context.config.keep_alive.min(context.config.idle_timeout / 4));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.reset();
        let mut draining = false;
        loop {
            let patience = self.publisher.deadline();
            tokio::select! {
                biased;
                () = context.abort.cancelled() => return End::Aborted,
                () = context.draining.cancelled(), if !draining => {
                    draining = true;
                    self.outbox.close(Refusal::Draining, true);
                }
                written = &mut *writing => return End::Writer(written.ok().and_then(Result::ok)),
                filled = reader.fill() => {
                    self.heard = Instant::now();
                    match filled {
                        Ok(Fill::Frames) => self.pulse.heard(self.heard),
                        Ok(Fill::End) => return End::Peer,
                        Err(LinkError::Frame(error)) => return End::Refused(error.into()),
                        Err(error) => return End::Broken(error),
                    }
                    if let Err(end) = self.read(reader, self.heard) {
                        return end;
                    }
                }
                () = self.pulse.due() => if let Err(end) = self.look() {
                    return end;
                },
                () = woken.notified(), if self.publisher.is_parked() => self.publisher.advance(Instant::now()),
                () = sleep_until(patience) => self.publisher.advance(Instant::now()),
                _ = beat.tick() => {
                    if let Err(end) = self.beat(wrote) {
                        return end;
                    }
                    reader.shrink();
                }
            }
            if std::mem::take(&mut self.serves) {
                self.pulse.serves(reader);
            }
            self.return_credit();
            if !draining && let Some(reason) = self.stuck() {
                return End::Refused(reason);
            }
            // A publisher whose data never runs dry must not keep the others from their turn.
            tokio::task::consume_budget().await;
        }
    }

    /// Looks whether a client that has calls to answer is alive.
    fn look(&mut self) -> Result<(), End> {
        let port = &self.calls.port;
        match self.pulse.look(|| port.open(), self.heard, Instant::now()) {
            Beat::Fine => {}
            Beat::Ask => self.outbox.control(&Control::Ping { nonce: 0 }),
            Beat::Gone(reason) => return Err(End::Refused(reason)),
        }
        Ok(())
    }

    /// Keeps the link of a silent client open, for as long as it may be silent.
    fn beat(&mut self, wrote: &AtomicBool) -> Result<(), End> {
        let allowed = self.context.config.idle_timeout;
        if self.heard.elapsed() >= allowed {
            return Err(End::Refused(Refusal::Limit { limit: Limit::IdleTime, allowed: allowed.as_millis() as u64 }));
        }
        if !wrote.swap(false, Ordering::Relaxed) {
            self.outbox.control(&Control::Ping { nonce: 0 });
        }
        self.calls.lane.shrink();
        Ok(())
    }

    /// Outbox and lane give a client up that does not read; its writer, stuck in a write, would not notice.
    fn stuck(&self) -> Option<Refusal> {
        let lane = &self.calls.lane;
        let stuck = || Refusal::Limit { limit: Limit::CallQueue, allowed: lane.max() as u64 };
        self.outbox.closing().or_else(|| lane.stuck().then(stuck))
    }

    /// After a drain's goodbye: takes what the client had sent before it read that, until it ends its side.
    async fn read_rest(&mut self, reader: &mut LinkReader) {
        let rest = async {
            while let Ok(Fill::Frames) = reader.fill().await
                && self.read(reader, Instant::now()).is_ok()
            {}
        };
        let _timed_out = tokio::time::timeout(FAREWELL, rest).await;
    }

    /// Handles every whole frame that is buffered.
    fn read(&mut self, reader: &mut LinkReader, now: Instant) -> Result<(), End> {
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => self.handle(frame, now)?,
                Ok(None) => return Ok(()),
                Err(LinkError::Frame(error)) => return Err(End::Refused(error.into())),
                Err(error) => return Err(End::Broken(error)),
            }
        }
    }

    fn handle(&mut self, frame: Frame<'_>, now: Instant) -> Result<(), End> {
        self.context.metrics.bytes_in.inc_by((sinew_wire::HEADER_LEN + frame.body.len()) as u64);
        match frame.kind {
            FrameKind::Publish => self.publish(frame.body, now).map_err(End::Refused),
            FrameKind::Control => self.control(frame.body, now),
            FrameKind::Deliver => Err(violation("a client does not send deliver frames")),
            FrameKind::Forward | FrameKind::Mesh => Err(violation("a client does not send frames between nodes")),
            FrameKind::Call => self.calls.port.frame(frame.body, now).map_err(End::Refused),
        }
    }

    fn publish(&mut self, body: &[u8], now: Instant) -> Result<(), Refusal> {
        let context = &self.context;
        let submission = incoming::decode(body, &self.publisher, &context.bounds, now)?;
        if self.credit.receive(submission.run.entries.len() as u64).is_err() {
            return Err(Refusal::Limit { limit: Limit::PublishCredit, allowed: context.config.publish_window });
        }
        self.publisher.submit(submission, now);
        Ok(())
    }

    fn control(&mut self, body: &[u8], now: Instant) -> Result<(), End> {
        match Control::decode(body).map_err(|error| End::Refused(error.into()))? {
            Control::DeliverCredit { subscription, bytes } => {
                // Credit for a subscription that has just ended crosses its end on the link: not an error.
                if let Some(subscription) = self.subscriptions.get(&subscription)
                    && subscription.grant(bytes).is_err()
                {
                    return Err(violation("more delivery credit than was spent"));
                }
            }
            Control::DeliverAck { token } => self.outbox.confirm(token),
            Control::Subscribe(subscribe) => self.subscribe(subscribe, now)?,
            Control::Unsubscribe { subscription } => self.unsubscribe(subscription),
            Control::Ping { nonce } => {
                if self.publisher.backlog() > MAX_BACKLOG {
                    return Err(violation("too much sent while a publish waits"));
                }
                self.publisher.barrier(nonce);
            }
            Control::Pong { .. } => {}
            Control::Goodbye(_) => return Err(End::Peer),
            Control::Hello(_) => return Err(violation("a second hello")),
            other => {
                self.serves |= matches!(other, Control::Serve(_));
                if self.calls.questions.ask(other).is_err() {
                    return Err(violation("a frame that only a node sends"));
                }
            }
        }
        Ok(())
    }

    /// A refused subscription is answered and does not end the session, unless its number is one in use.
    fn subscribe(&mut self, subscribe: Subscribe, now: Instant) -> Result<(), End> {
        let number = subscribe.subscription;
        if self.subscriptions.contains_key(&number) {
            return Err(violation("a subscription number that is in use"));
        }
        match self.try_subscribe(subscribe, now) {
            Ok(subscription) => {
                self.member.subscriptions.lock().insert(number, Arc::clone(&subscription));
                self.subscriptions.insert(number, subscription);
            }
            Err(refusal) => {
                let refusal = Some(refusal);
                self.outbox.control(&Control::Unsubscribed { subscription: number, refusal });
            }
        }
        Ok(())
    }

    fn try_subscribe(&self, subscribe: Subscribe, now: Instant) -> Result<Arc<Subscription>, Refusal> {
        let allowed = self.context.config.max_subscriptions_per_client;
        if self.subscriptions.len() >= allowed {
            self.context.metrics.limit_refused(Limit::SubscriptionsPerClient).inc();
            return Err(Refusal::Limit { limit: Limit::SubscriptionsPerClient, allowed: allowed as u64 });
        }
        let pattern = Pattern::parse(&subscribe.pattern).map_err(|error| Refusal::InvalidName(error.to_string()))?;
        // What nodes tell each other is not for clients; `>` does not match it either.
        if sinew_topic::is_reserved(pattern.as_str()) {
            return Err(Refusal::Reserved);
        }
        let number = subscribe.subscription;
        let spec = SubscriptionSpec {
            number,
            pattern,
            group: subscribe.group.map(Arc::from),
            policy: subscribe.policy,
            buffer: subscribe.buffer as usize,
            last: subscribe.last,
            window: subscribe.window,
        };
        let confirm = || self.outbox.control(&Control::Subscribed { subscription: number });
        self.context.pubsub.subscribe(spec, &self.outbox, now, confirm).map_err(|error| match error {
            SubscribeError::Limit { limit, allowed } => Refusal::Limit { limit, allowed: allowed as u64 },
        })
    }

    fn unsubscribe(&mut self, number: u32) {
        // One that is not there may have been refused while this was on its way: answered the same.
        if let Some(subscription) = self.subscriptions.remove(&number) {
            self.context.pubsub.unsubscribe(&subscription);
            self.member.subscriptions.lock().remove(&number);
        }
        self.outbox.control(&Control::Unsubscribed { subscription: number, refusal: None });
    }

    fn return_credit(&mut self) {
        let processed = self.publisher.take_processed();
        if processed > 0
            && let Some(bytes) = self.credit.consume(processed)
        {
            self.outbox.control(&Control::PublishCredit { bytes });
        }
    }

    /// Settles everything the session held. Returns the reason for the log.
    async fn end(self, end: End, writing: &mut JoinHandle<Result<Refusal, LinkError>>) -> Refusal {
        let Self { context, member, outbox, publisher, subscriptions, calls, .. } = self;
        debug!(session = member.session, ?end, "session ends");
        calls.end();
        member.subscriptions.lock().clear();
        let reason = match end {
            End::Peer => Refusal::Closed,
            End::Refused(refusal) => refusal,
            End::Writer(Some(refusal)) => refusal,
            End::Writer(None) => Refusal::Protocol("the link broke".to_owned()),
            End::Broken(error) => Refusal::Protocol(error.to_string()),
            End::Aborted => Refusal::Draining,
        };
        for subscription in subscriptions.into_values() {
            context.pubsub.unsubscribe(&subscription);
        }
        drain_publisher(publisher, &context).await;
        outbox.close(reason.clone(), false);
        if !writing.is_finished() && tokio::time::timeout(FAREWELL, &mut *writing).await.is_err() {
            writing.abort();
        }
        outbox.abandon();
        if let Refusal::Limit { limit, .. } = &reason {
            context.metrics.limit_refused(*limit).inc();
        }
        reason
    }
}

/// What the client had published before it left is still delivered: each run waits as long as it may.
async fn drain_publisher(mut publisher: Publisher, context: &Context) {
    let woken = publisher.woken();
    while publisher.is_parked() {
        tokio::select! {
            () = context.abort.cancelled() => return,
            () = woken.notified() => {}
            () = sleep_until(publisher.deadline()) => {}
        }
        publisher.advance(Instant::now());
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn violation(what: &str) -> End {
    End::Refused(Refusal::Protocol(what.to_owned()))
}
