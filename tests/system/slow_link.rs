//! A link over a network that takes less than the sender would give: its socket has no room, time and again.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustix::time::{ClockId, clock_gettime};
use sinew_link::{Address, Dialer, Fill, Identity, LinkConfig, Listener};
use sinew_system_tests::Network;
use sinew_tests::{PATIENCE, Place, Site};
use sinew_wire::{FrameHeader, FrameKind};
use tokio::sync::oneshot;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const FRAMES: usize = 48;
const FRAME: usize = 64 << 10;
const MEGABITS: u32 = 20;

/// Room for some twenty datagrams, as the kernel counts them.
const BUFFER: usize = 32 << 10;

/// Counts the sends that found no room.
#[derive(Debug, Default)]
struct Blocked(Arc<AtomicU64>);

impl Subscriber for Blocked {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sinew_link::writability" && *metadata.level() == Level::TRACE
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Runs on a host, in a thread and a runtime of its own: a socket belongs to the namespace of the thread that makes it.
fn at<T: Send + 'static>(
    site: &Site,
    work: impl AsyncFnOnce() -> Result<T> + Send + 'static,
) -> Result<JoinHandle<Result<T>>> {
    let Place::Namespace(name) = &site.place else { bail!("{site:?} is in no namespace") };
    let namespace = File::open(format!("/run/netns/{name}"))?;
    Ok(std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, work()).await.context("it takes too long")? })
    }))
}

fn ended<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().ok().context("the thread panicked")?
}

/// Processor time of the calling thread so far.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn config() -> LinkConfig {
    LinkConfig { socket_buffer: BUFFER, finish_timeout: PATIENCE, ..LinkConfig::default() }
}

/// The body of a frame, each its own.
fn body(number: usize) -> Vec<u8> {
    (0..FRAME).map(|at| (at * 31 + at / 251 + number) as u8).collect()
}

fn frame(number: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(FRAME + 16);
    FrameHeader { kind: FrameKind::Publish, len: FRAME }.encode(&mut bytes);
    bytes.extend_from_slice(&body(number));
    bytes.freeze()
}

/// Takes one link and reads it to its end. All frames must come, whole and in order.
async fn read_all(mut listener: Listener) -> Result<()> {
    let (mut reader, _writer) = listener.accept().await?.establish().await?.split();
    let mut number = 0;
    while reader.fill().await? == Fill::Frames {
        while let Some(frame) = reader.next_frame()? {
            ensure!(frame.body == body(number), "frame {number} is not what was sent");
            number += 1;
        }
    }
    ensure!(number == FRAMES, "{number} frames came, of {FRAMES}");
    Ok(())
}

/// Writes everything. Returns the processor time it took.
async fn write_all(to: Address) -> Result<Duration> {
    let link = Dialer::new(Identity::generate(), config()).dial(&to).await?;
    let (_reader, mut writer) = link.split();
    let before = cpu();
    for number in 0..FRAMES {
        writer.send(&mut vec![frame(number)]).await?;
    }
    writer.finish().await?;
    Ok(cpu() - before)
}

#[test]
fn sends_that_find_no_room_wait_for_it_and_lose_nothing() -> Result<()> {
    let mut network = Network::new()?;
    let [near, far] = [network.host()?, network.host()?];
    network.slow(&near, MEGABITS)?;

    let (say, said) = oneshot::channel();
    let address: Address = format!("quic://{}:0", far.address).parse()?;
    let reading = at(&far, async move || {
        let listener = Listener::bind(&address, &Identity::generate(), &LinkConfig::default()).await?;
        say.send(listener.address()).ok().context("somebody wants to know")?;
        read_all(listener).await
    })?;
    let to = said.blocking_recv()?;

    let blocked = Arc::new(AtomicU64::new(0));
    let counted = Blocked(Arc::clone(&blocked));
    let begun = Instant::now();
    let writing = at(&near, async move || {
        let _counting = tracing::subscriber::set_default(counted);
        write_all(to).await
    })?;
    let busy = ended(writing)?;
    let took = begun.elapsed();
    ended(reading)?;

    let blocked = blocked.load(Ordering::Relaxed);
    println!("{FRAMES} frames in {took:.2?}, {busy:.2?} of them busy, {blocked} times without room");
    ensure!(network.dropped(&near)? == 0, "the network dropped packets");
    ensure!(blocked > 0, "there was always room");
    // A report of room is good for several datagrams of some 1,400 bytes. Whoever does not wait asks a million times.
    ensure!(blocked < (FRAMES * FRAME / 1200) as u64, "{blocked} attempts without room");
    ensure!(busy < took / 2, "{busy:?} of {took:?} busy");
    Ok(())
}
