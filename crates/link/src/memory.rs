//! Links within this process: between an application and a node that it embeds.
//!
//! A listener has a name instead of a port. Nothing is proven or encrypted: both ends are the same program, which holds the
//! keys of both.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;
use sinew_wire::PeerId;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::LinkError;

/// Bytes that may be under way in each direction of a link.
const PIPE: usize = 64 << 10;

/// Dialled links that may wait to be accepted. Who dials one more waits.
const BACKLOG: usize = 128;

/// Where such a peer is, for people.
pub(crate) const REMOTE: &str = "this process";

/// Who listens in this process, by name.
static LISTENING: Mutex<BTreeMap<String, Door>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone)]
struct Door {
    listener: PeerId,
    arrivals: mpsc::Sender<Pipe>,
}

/// A listener's name, which is free again when it goes.
#[derive(Debug)]
pub(crate) struct Bound {
    name: String,
    arrivals: mpsc::Receiver<Pipe>,
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Who has the other end.
    pub(crate) peer: PeerId,
    pub(crate) stream: DuplexStream,
}

/// Listens as `listener`.
pub(crate) fn bind(name: &str, listener: PeerId) -> io::Result<Bound> {
    let (sender, arrivals) = mpsc::channel(BACKLOG);
    let mut listening = LISTENING.lock();
    if listening.contains_key(name) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    listening.insert(name.to_owned(), Door { listener, arrivals: sender });
    Ok(Bound { name: name.to_owned(), arrivals })
}

impl Bound {
    /// The next one who has dialled. Cancel safe.
    pub(crate) async fn accept(&mut self) -> Option<Pipe> {
        self.arrivals.recv().await
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        LISTENING.lock().remove(&self.name);
    }
}

/// Makes a link as `dialer`. It is there before it is accepted, as one over TCP is.
pub(crate) async fn dial(name: &str, dialer: PeerId, expected: Option<PeerId>) -> Result<Pipe, LinkError> {
    let refused = || LinkError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
    let door = LISTENING.lock().get(name).cloned().ok_or_else(refused)?;
    if expected.is_some_and(|expected| expected != door.listener) {
        return Err(LinkError::WrongPeer(door.listener));
    }
    let (stream, theirs) = duplex(PIPE);
    door.arrivals.send(Pipe { peer: dialer, stream: theirs }).await.map_err(|_gone| refused())?;
    Ok(Pipe { peer: door.listener, stream })
}
