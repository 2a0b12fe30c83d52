use std::sync::Arc;
use std::time::Instant;

use sinew_link::{Link, LinkReader, LinkWriter, Transport};
use sinew_wire::{Hello, PeerId, Refusal, Role};
use tracing::debug;

use crate::context::Shared;
use crate::handshake::{Failed, Shake};
use crate::info::{LinkInfo, Path};
use crate::node::Node;
use crate::pool::Admission;
use crate::session::{self, Opened};

/// What the gateway knows of a link that it has admitted as one of a node.
#[derive(Debug, Clone)]
pub struct LinkFacts {
    /// Who is on the other end, proven by the handshake of the link.
    pub peer: PeerId,
    /// What it runs over.
    pub transport: Transport,
    /// Where the peer is, for people.
    pub remote: String,
}

/// A link of the overlay: says its hello here instead of at the gateway.
pub(crate) async fn greet(context: Shared, link: Link) {
    let facts = LinkFacts { peer: link.peer(), transport: link.transport(), remote: link.remote().to_owned() };
    let mut shake = Shake::new(link.split(), context.config.handshake_timeout);
    match shake.read_hello().await {
        Ok(hello) => meet(context, shake, facts, hello).await,
        Err(error) => {
            context.counters.handshakes_failed.inc();
            debug!(peer = %facts.peer.short(), %error, "no hello on a link of the overlay");
            if let Failed::Refused(refusal) = error {
                shake.refuse(refusal).await;
            }
        }
    }
}

/// A link that the gateway has admitted.
pub(crate) async fn accept(
    context: Shared,
    (reader, writer): (LinkReader, LinkWriter),
    facts: LinkFacts,
    hello: Hello,
) {
    let shake = Shake::new((reader, writer), context.config.handshake_timeout);
    meet(context, shake, facts, hello).await;
}

async fn meet(context: Shared, shake: Shake, facts: LinkFacts, hello: Hello) {
    let peer = facts.peer;
    match admit(&context, facts, &hello).await {
        Ok((node, admission, info)) => {
            session::run(&context, Opened { node, admission, info, shake, accepted: None, features: hello.features })
                .await;
        }
        Err(refusal) => {
            debug!(peer = %peer.short(), %refusal, "a node's link is refused");
            match &refusal {
                Refusal::Replaced => context.counters.yielded.inc(),
                Refusal::Denied(_) => context.counters.strangers_refused.inc(),
                _ => context.counters.hellos_refused.inc(),
            }
            shake.refuse(refusal).await;
        }
    }
}

/// Whether it is a member: until that is known, the link is served nothing.
async fn admit(context: &Shared, facts: LinkFacts, hello: &Hello) -> Result<(Arc<Node>, Admission, LinkInfo), Refusal> {
    hello.admitted_to(&context.config.realm)?;
    if hello.role != Role::Node {
        return Err(Refusal::Denied("clients are not served over the overlay".to_owned()));
    }
    let peer = facts.peer;
    if peer == context.peer {
        return Err(Refusal::Denied("a link of the node to itself".to_owned()));
    }
    let node = match context.nodes.get(&peer).filter(|node| node.epoch == hello.instance) {
        Some(node) => node,
        None => {
            let Ok(_waiting) = context.strangers.try_acquire() else {
                context.counters.strangers_turned_away.inc();
                return Err(Refusal::Denied("too many wait to become known".to_owned()));
            };
            let patience = context.config.stranger_timeout;
            let known = tokio::select! {
                () = context.stop.cancelled() => return Err(Refusal::Draining),
                known = context.nodes.known(&peer, hello.instance, patience) => known,
            };
            known.ok_or_else(|| Refusal::Denied("not a member of the realm".to_owned()))?
        }
    };
    let relayed = !context.is_direct(&peer);
    let info = LinkInfo {
        path: Path::new(facts.transport, relayed),
        remote: facts.remote,
        dialled: false,
        since: Instant::now(),
    };
    let admission = context.pool.hello(peer, hello.instance, info.clone()).await?;
    Ok((node, admission, info))
}
