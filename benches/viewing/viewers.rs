use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use sinew_live::Frame;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::Result;

/// Viewers of one node, as browsers are: each with a connection that reads server-sent events.
pub(crate) struct Watching(Vec<Watched>);

/// What a viewer got, and the task that reads for it.
type Watched = (Arc<Mutex<Viewer>>, JoinHandle<Result<()>>);

/// What a viewer got.
#[derive(Debug, Default)]
struct Viewer {
    /// When each frame came, and how many bytes of the connection it took.
    frames: Vec<(Instant, usize)>,
    /// The JSON of the last one.
    last: Vec<u8>,
}

/// What all viewers got.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Frames per second of each viewer while events were made.
    pub(crate) rates: Vec<f64>,
    /// Bytes per second to all viewers together.
    pub(crate) bytes_per_sec: f64,
    /// The last frame of each.
    pub(crate) last: Vec<Frame>,
}

impl Watching {
    pub(crate) async fn start(admin: SocketAddr, n: usize) -> Result<Self> {
        let mut all = Vec::new();
        for _ in 0..n {
            let viewer = Arc::new(Mutex::new(Viewer::default()));
            let mut stream = TcpStream::connect(admin).await?;
            let request = format!("GET /api/v1/live HTTP/1.1\r\nHost: {admin}\r\nAccept: text/event-stream\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            if !line.starts_with("HTTP/1.1 200") {
                return Err(format!("the viewer was refused: {line}").into());
            }
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).await?;
            }
            all.push((Arc::clone(&viewer), tokio::spawn(read(stream, viewer))));
        }
        Ok(Self(all))
    }

    /// Ends all, and tells what they got, the rates from `begin` to `end`.
    pub(crate) fn stop(self, begin: Instant, end: Instant) -> Result<Seen> {
        let secs = (end - begin).as_secs_f64();
        let mut seen = Seen { rates: Vec::new(), bytes_per_sec: 0.0, last: Vec::new() };
        for (viewer, task) in self.0 {
            task.abort();
            let viewer = viewer.lock();
            let inside = viewer.frames.iter().filter(|(at, _)| (begin..end).contains(at));
            let (frames, bytes) = inside.fold((0, 0), |(frames, sum), (_, bytes)| (frames + 1, sum + bytes));
            seen.rates.push(f64::from(frames) / secs);
            seen.bytes_per_sec += bytes as f64 / secs;
            seen.last.push(serde_json::from_slice(&viewer.last)?);
        }
        Ok(seen)
    }
}

/// Reads chunks, and of what is in them the events.
async fn read(mut stream: BufReader<TcpStream>, viewer: Arc<Mutex<Viewer>>) -> Result<()> {
    let (mut line, mut text, mut bytes) = (String::new(), Vec::new(), 0);
    loop {
        line.clear();
        bytes += stream.read_line(&mut line).await?;
        let len = usize::from_str_radix(line.trim_end(), 16)?;
        if len == 0 {
            return Ok(());
        }
        let from = text.len();
        text.resize(from + len + 2, 0);
        stream.read_exact(&mut text[from..]).await?;
        text.truncate(from + len);
        bytes += len + 2;
        while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            let data = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"));
            if let Some(data) = data {
                let mut viewer = viewer.lock();
                viewer.frames.push((Instant::now(), bytes));
                viewer.last = data.to_vec();
                bytes = 0;
            }
        }
    }
}
