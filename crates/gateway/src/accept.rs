use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sinew_link::{Fill, Incoming, Link, LinkReader, LinkWriter, Listener};
use sinew_mesh::{LinkFacts, Mesh};
use sinew_observe::{Beats, CloseReason};
use sinew_wire::{Control, FrameKind, Goodbye, Hello, Limit, Refusal, encode_control};
use tracing::{debug, warn};

use crate::admission::{self, Admitted};
use crate::gateway::Context;
use crate::roster::Member;
use crate::session::{self, Parts};

/// Pause after a failed accept (no file descriptors left, say), so that a lasting error does not burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the gateway drains. Handshakes run beside it, at most so many at once.
pub(crate) async fn accept(mut listener: Listener, context: Arc<Context>, mut beats: Beats) {
    loop {
        let incoming = tokio::select! {
            biased;
            () = context.draining.cancelled() => return,
            // Before the listener, which may have somebody at the door all the time.
            () = beats.due() => {
                beats.beat().await;
                continue;
            }
            incoming = listener.accept() => incoming,
        };
        match incoming {
            Ok(incoming) => meet(incoming, &context),
            Err(error) => {
                warn!(listener = %listener.address(), %error, "accepting a link failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn meet(incoming: Incoming, context: &Arc<Context>) {
    let Ok(permit) = Arc::clone(&context.handshakes).try_acquire_owned() else {
        context.metrics.limit_refused(Limit::PendingHandshakes).inc();
        incoming.refuse();
        return;
    };
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let remote = incoming.remote().to_owned();
        let deadline = context.config.handshake_timeout;
        let admitted = tokio::select! {
            () = context.draining.cancelled() => return,
            admitted = tokio::time::timeout(deadline, introduce(incoming, &context)) => admitted,
        };
        drop(permit);
        match admitted {
            Ok(Ok(Met::Client(parts))) => session::run(*parts, context).await,
            Ok(Ok(Met::Node(node))) => node.hand_over(),
            Ok(Err(Failed::Link(error))) => {
                context.metrics.handshakes_failed.inc();
                debug!(%remote, %error, "handshake failed");
            }
            Ok(Err(Failed::Refused(link, reason))) => {
                context.metrics.handshakes_failed.inc();
                debug!(%remote, %reason, "refused");
                turn_away(*link, reason, &context).await;
            }
            Err(_) => {
                context.metrics.handshakes_failed.inc();
                context.metrics.limit_refused(Limit::HandshakeTime).inc();
                debug!(%remote, "handshake not finished in time");
            }
        }
    });
}

/// Who was introduced.
enum Met {
    Client(Box<Parts>),
    Node(Box<Node>),
}

/// Another node, which is the mesh's to serve.
struct Node {
    mesh: Mesh,
    halves: (LinkReader, LinkWriter),
    facts: LinkFacts,
    hello: Hello,
}

impl Node {
    /// The mesh drains its links after the clients are gone: this one is no business of the gateway's any more.
    fn hand_over(self) {
        let Self { mesh, halves, facts, hello } = self;
        tokio::spawn(async move { mesh.accept(halves, facts, hello).await });
    }
}

enum Failed {
    Link(sinew_link::LinkError),
    Refused(Box<LinkWriter>, Refusal),
}

impl From<sinew_link::LinkError> for Failed {
    fn from(error: sinew_link::LinkError) -> Self {
        Self::Link(error)
    }
}

/// Handshake, hello, admission, seat.
async fn introduce(incoming: Incoming, context: &Arc<Context>) -> Result<Met, Failed> {
    let link: Link = incoming.establish().await?;
    let (peer, transport, remote) = (link.peer(), link.transport(), link.remote().to_owned());
    let (mut reader, writer) = link.split();
    let hello = match read_hello(&mut reader).await? {
        Ok(hello) => hello,
        Err(refusal) => return Err(Failed::Refused(Box::new(writer), refusal)),
    };
    let session = context.roster.next_session();
    let welcome = match admission::admit(&hello, session, &context.config) {
        Ok(Admitted::Client(welcome)) => welcome,
        Ok(Admitted::Node) => {
            let Some(mesh) = context.mesh.clone() else {
                let refusal = Refusal::Denied("this node stays alone".to_owned());
                return Err(Failed::Refused(Box::new(writer), refusal));
            };
            let facts = LinkFacts { peer, transport, remote };
            return Ok(Met::Node(Box::new(Node { mesh, halves: (reader, writer), facts, hello })));
        }
        Err(refusal) => return Err(Failed::Refused(Box::new(writer), refusal)),
    };
    let member = Arc::new(Member {
        session,
        peer,
        name: hello.name,
        transport,
        remote,
        since: Instant::now(),
        subscriptions: parking_lot::Mutex::default(),
    });
    let Some(seat) = context.roster.take(Arc::clone(&member)) else {
        let refusal = Refusal::Limit { limit: Limit::Clients, allowed: context.config.max_clients as u64 };
        return Err(Failed::Refused(Box::new(writer), refusal));
    };
    Ok(Met::Client(Box::new(Parts { reader, writer, welcome, member, seat, instance: hello.instance })))
}

/// The first frame, which has to be a hello. A garbled one is refused in words; the outer error is a broken link.
async fn read_hello(reader: &mut LinkReader) -> Result<Result<Hello, Refusal>, sinew_link::LinkError> {
    let protocol = |text: &str| Ok(Err(Refusal::Protocol(text.to_owned())));
    match reader.fill().await {
        Ok(Fill::Frames) => {}
        Ok(Fill::End) => return protocol("the link ended before the hello"),
        Err(sinew_link::LinkError::Frame(error)) => return Ok(Err(error.into())),
        Err(error) => return Err(error),
    }
    let frame = match reader.next_frame() {
        Ok(Some(frame)) => frame,
        Ok(None) => return protocol("the link ended before the hello"),
        Err(sinew_link::LinkError::Frame(error)) => return Ok(Err(error.into())),
        Err(error) => return Err(error),
    };
    if frame.kind != FrameKind::Control {
        return protocol("the first frame is not a hello");
    }
    match Control::decode(frame.body) {
        Ok(Control::Hello(hello)) => Ok(Ok(hello)),
        Ok(_) => protocol("the first frame is not a hello"),
        Err(error) => Ok(Err(error.into())),
    }
}

/// Says why, and ends the link.
async fn turn_away(mut writer: LinkWriter, reason: Refusal, context: &Context) {
    context.metrics.link_closed(CloseReason::from(&reason)).inc();
    if let Refusal::Limit { limit, .. } = &reason {
        context.metrics.limit_refused(*limit).inc();
    }
    let mut frame = BytesMut::new();
    encode_control(&Control::Goodbye(Goodbye { reason }), &mut frame);
    let goodbye = async {
        writer.send(&mut vec![frame.freeze()]).await?;
        writer.finish().await
    };
    // Whether it arrives is the peer's business: who does not read it in time is gone all the same.
    if tokio::time::timeout(context.config.handshake_timeout, goodbye).await.is_err() {
        debug!("a refused peer did not read the reason");
    }
}
