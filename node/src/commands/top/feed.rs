//! Frames of a node, from one connection after the other.

use std::time::Duration;

use anyhow::{Context, bail};
use sinew_live::Frame;
use sinew_live::frame::FRAME_VERSION;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use crate::cli::Admin;
use crate::commands::admin::Live;

/// A node sends two frames a second; one that is silent for so long is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// Between two attempts to connect: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// What is heard.
#[derive(Debug)]
pub(super) enum News {
    Frame(Box<Frame>),
    /// The connection is lost, or could not be made; it will be tried again.
    Lost(String),
}

/// A frame of the version that is known here.
pub(super) fn read(json: &str) -> anyhow::Result<Frame> {
    let version: Version = serde_json::from_str(json).context("this is no frame of a sinew node")?;
    if version.v != FRAME_VERSION {
        bail!("frames of version {}, and this program knows only {FRAME_VERSION}", version.v);
    }
    serde_json::from_str(json).context("the frame can't be read")
}

#[derive(serde::Deserialize)]
struct Version {
    v: u32,
}

/// Passes frames on, and connects again when they end, until nobody listens. When the screen is slow the channel is full, and
/// it is the node that skips frames.
pub(super) async fn follow(admin: Admin, limit: Duration, first: Live, news: Sender<News>) {
    let mut live = Ok(first);
    let mut pause = PAUSE.0;
    loop {
        let error = match live {
            Ok(live) => {
                pause = PAUSE.0;
                frames(live, &news).await
            }
            Err(error) => error,
        };
        if news.send(News::Lost(format!("{error:#}"))).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = news.closed() => return,
        }
        pause = (pause * 2).min(PAUSE.1);
        live = Live::connect(&admin, limit).await;
    }
}

/// Why the frames of this connection ended.
async fn frames(mut live: Live, news: &Sender<News>) -> anyhow::Error {
    loop {
        let frame = match timeout(SILENCE, live.next()).await {
            Ok(Ok(Some(json))) => read(&json),
            Ok(Ok(None)) => Err(anyhow::anyhow!("the node ended the connection")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(anyhow::anyhow!("no frame for {} s", SILENCE.as_secs())),
        };
        match frame {
            Ok(frame) => {
                if news.send(News::Frame(Box::new(frame))).await.is_err() {
                    return anyhow::anyhow!("nobody looks");
                }
            }
            Err(error) => return error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn frames_are_read_and_others_refused() {
        let json = serde_json::to_string(&fixtures::frame()).expect("is JSON");
        assert_eq!(read(&json).expect("is a frame"), fixtures::frame());
        let newer = json.replace("\"v\":1", "\"v\":2");
        assert!(read(&newer).expect_err("is newer").to_string().contains("version 2"));
        for json in ["", "{}", "[]", "{\"v\":1}"] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
