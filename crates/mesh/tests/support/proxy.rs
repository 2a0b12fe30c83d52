use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sinew_link::Address;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a proxy does with what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Everything passes.
    Open,
    /// Nothing passes, and nobody is told.
    Mute,
}

/// Stands before a TLS listener, and can cut what passes through it, or let nothing pass without a word.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: Address,
    mood: watch::Sender<(Mood, u64)>,
    accepted: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(real: &Address) -> Self {
        let Address::Tls { host, port } = real.clone() else { panic!("only TLS is proxied") };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("tls://{}", listener.local_addr().expect("it is bound")).parse().expect("an address");
        let (mood, watching) = watch::channel((Mood::Open, 0));
        let accepted = Arc::<AtomicU64>::default();
        let count = Arc::clone(&accepted);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass(stream, (host.clone(), port), watching.clone()));
            }
        });
        Self { address, mood, accepted, accepting }
    }

    /// Cuts every connection there is, wherever it stands.
    pub(crate) fn cut(&self) {
        self.mood.send_modify(|(_, cuts)| *cuts += 1);
    }

    /// From here on nothing passes, neither over old connections nor over new ones.
    pub(crate) fn mute(&self) {
        self.mood.send_modify(|(mood, _)| *mood = Mood::Mute);
    }

    /// Everything passes again; what was muted meanwhile is cut.
    pub(crate) fn open(&self) {
        self.mood.send_modify(|(mood, cuts)| {
            *mood = Mood::Open;
            *cuts += 1;
        });
    }

    /// Connections that were made.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut client: TcpStream, (host, port): (String, u16), mut mood: watch::Receiver<(Mood, u64)>) {
    let born = mood.borrow_and_update().1;
    let Ok(mut server) = TcpStream::connect((host.as_str(), port)).await else { return };
    loop {
        let (now, cuts) = *mood.borrow_and_update();
        if cuts != born {
            return;
        }
        tokio::select! {
            changed = mood.changed() => if changed.is_err() { return },
            _ended = tokio::io::copy_bidirectional(&mut client, &mut server), if now == Mood::Open => return,
        }
    }
}
