//! Those who watch the node live: one frame now and then, the same for all of them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::watch;

/// The viewers of one node, and what they see next. Cloning it shares them.
///
/// A frame is handed to all at once, as a reference; whoever has not taken the last one when the next comes skips it. So a viewer
/// costs one frame in its connection's buffer, however slow it is.
#[derive(Debug, Clone)]
pub struct Viewers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    count: watch::Sender<usize>,
    frame: watch::Sender<Frame>,
    sent: AtomicU64,
    skipped: AtomicU64,
    refused: AtomicUsize,
}

/// An event of the stream, as it goes over the link.
#[derive(Debug, Clone, Default)]
struct Frame {
    number: u64,
    event: Bytes,
}

/// What viewers have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ViewerStats {
    /// Viewers there are.
    pub viewers: usize,
    /// Frames given to a viewer.
    pub sent: u64,
    /// Frames that a viewer had no room for.
    pub skipped: u64,
    /// Viewers refused because there were as many as may be.
    pub refused: u64,
}

/// A place among the viewers; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Viewer {
    viewers: Viewers,
    frame: watch::Receiver<Frame>,
    last: u64,
}

impl Viewers {
    /// Most viewers at once, unless it is said otherwise.
    pub const MAX: usize = 64;

    /// With room for so many.
    pub fn new(max: usize) -> Self {
        let (count, _) = watch::channel(0);
        let (frame, _) = watch::channel(Frame::default());
        let (sent, skipped, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(0));
        Self(Arc::new(Inner { max, count, frame, sent, skipped, refused }))
    }

    /// Viewers there are.
    pub fn count(&self) -> usize {
        *self.0.count.borrow()
    }

    /// Viewers there may be.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// Tells when the number of viewers changes.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }

    /// Shows the next frame to all: a JSON object, without line breaks.
    pub fn show(&self, json: &[u8]) {
        self.0.frame.send_modify(|frame| {
            frame.number += 1;
            let mut event = Vec::with_capacity(json.len() + 64);
            event.extend_from_slice(format!("event: frame\nid: {}\ndata: ", frame.number).as_bytes());
            event.extend_from_slice(json);
            event.extend_from_slice(b"\n\n");
            frame.event = event.into();
        });
    }

    /// What has been shown to them.
    pub fn stats(&self) -> ViewerStats {
        ViewerStats {
            viewers: self.count(),
            sent: self.0.sent.load(Ordering::Relaxed),
            skipped: self.0.skipped.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed) as u64,
        }
    }

    /// A place, unless all are taken.
    pub(crate) fn join(&self) -> Option<Viewer> {
        let admitted = self.0.count.send_if_modified(|count| {
            let is_room = *count < self.0.max;
            *count += usize::from(is_room);
            is_room
        });
        if !admitted {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let frame = self.0.frame.subscribe();
        let last = frame.borrow().number;
        Some(Viewer { viewers: self.clone(), frame, last })
    }
}

impl Default for Viewers {
    fn default() -> Self {
        Self::new(Self::MAX)
    }
}

impl Viewer {
    /// The next frame that was not shown to this viewer yet; skips those that it was too slow for. Cancel safe.
    async fn next(&mut self) -> Option<Bytes> {
        self.frame.changed().await.ok()?;
        let frame = self.frame.borrow_and_update().clone();
        let skipped = frame.number.saturating_sub(self.last).saturating_sub(1);
        self.viewers.0.skipped.fetch_add(skipped, Ordering::Relaxed);
        self.viewers.0.sent.fetch_add(1, Ordering::Relaxed);
        self.last = frame.number;
        Some(frame.event)
    }

    /// The frames, until the server stops. `shown` is called whenever the viewer takes one.
    pub(crate) fn stream(
        self,
        stopped: watch::Receiver<bool>,
        shown: impl Fn() + Send + Sync + 'static,
    ) -> Pin<Box<dyn Stream<Item = Result<Bytes, std::convert::Infallible>> + Send>> {
        // So that a page knows at once that it is watching, and comes back soon when the node was restarted.
        let begin = Bytes::from_static(b"retry: 1000\n\n");
        let state = (self, stopped, shown, Some(begin));
        Box::pin(futures::stream::unfold(state, |(mut viewer, mut stopped, shown, begin)| async move {
            let event = match begin {
                Some(begin) => begin,
                None => tokio::select! {
                    event = viewer.next() => event?,
                    _ = stopped.wait_for(|stop| *stop) => return None,
                },
            };
            shown();
            Some((Ok(event), (viewer, stopped, shown, None)))
        }))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.viewers.0.count.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: Option<Bytes>) -> String {
        String::from_utf8(event.expect("a frame comes").to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_slow_viewer_sees_the_newest_frame_and_the_others_are_counted() {
        let viewers = Viewers::default();
        viewers.show(b"{\"before\":1}");
        let mut viewer = viewers.join().expect("there is room");
        for n in 2..=5 {
            viewers.show(format!("{{\"n\":{n}}}").as_bytes());
        }
        assert_eq!(text(viewer.next().await), "event: frame\nid: 5\ndata: {\"n\":5}\n\n");
        viewers.show(b"{}");
        assert_eq!(text(viewer.next().await), "event: frame\nid: 6\ndata: {}\n\n");
        assert_eq!(viewers.stats(), ViewerStats { viewers: 1, sent: 2, skipped: 3, refused: 0 });
    }

    #[test]
    fn there_is_room_for_so_many_and_it_comes_back() {
        let viewers = Viewers::new(2);
        let (first, second) = (viewers.join(), viewers.join());
        assert!(first.is_some() && second.is_some() && viewers.join().is_none());
        drop(first);
        assert_eq!(viewers.count(), 1);
        let third = viewers.join();
        assert!(third.is_some() && viewers.join().is_none());
        assert_eq!(viewers.stats().refused, 2);
    }
}
