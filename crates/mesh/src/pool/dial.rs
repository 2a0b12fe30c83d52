use std::sync::Arc;
use std::time::Instant;

use sinew_link::{Address, Link};
use sinew_wire::Refusal;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ask::Failure;
use crate::context::Context;
use crate::handshake;
use crate::info::{LinkInfo, Path};
use crate::node::Node;
use crate::session;

/// Most addresses of a peer that are dialled: as many as a record may have.
const MAX_ADDRESSES: usize = 32;

/// What a dial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// There is no link: any will do.
    Any,
    /// There is one over this path.
    BetterThan(Path),
}

/// Dials a node, introduces us, and serves the link to its end. `given_up` is cancelled when the link is not wanted any
/// more, but never after the pool has admitted it.
pub(super) async fn run(context: Arc<Context>, node: Arc<Node>, dial: u64, goal: Goal, given_up: CancellationToken) {
    // In a box that is gone before the session begins: an idle link is to hold nothing of its dial.
    let dialling = Box::pin(async {
        let Ok(permit) = context.dials.acquire().await else { return Err(Failure::Failed) };
        let limit = context.config.dial_timeout;
        let link = tokio::time::timeout(limit, connect(&context, &node, goal)).await.ok().flatten();
        let link = link.ok_or(Failure::Failed)?;
        drop(permit);
        introduce(&context, &node, dial, link).await
    });
    let opened = tokio::select! {
        biased;
        () = given_up.cancelled() => return,
        opened = dialling => opened,
    };
    match opened {
        Ok(opened) => session::run(&context, opened).await,
        Err(failure) => context.pool.failed(node.peer, dial, failure).await,
    }
}

/// The first link that comes about: over the addresses of the record, or, where those don't work soon, over the overlay.
async fn connect(context: &Context, node: &Node, goal: Goal) -> Option<Link> {
    let config = &context.config;
    let mut addresses = addresses(&node.record.load().info.data);
    if goal == Goal::BetterThan(Path::Tls) {
        addresses.retain(is_quic);
    }
    let may_overlay = match goal {
        Goal::Any => true,
        Goal::BetterThan(Path::Relayed) => context.is_direct(&node.peer),
        Goal::BetterThan(_) => false,
    };
    let wait = if addresses.is_empty() { std::time::Duration::ZERO } else { config.direct_first };
    let direct = context.dialer.dial_first(&addresses, node.peer, config.stagger);
    let overlay = context.overlay.open_link(node.peer, config.dial_timeout);
    tokio::pin!(direct, overlay);
    let (mut direct_failed, mut overlay_failed) = (false, !may_overlay);
    let start = tokio::time::sleep(wait);
    tokio::pin!(start);
    let mut started = false;
    while !direct_failed || !overlay_failed {
        tokio::select! {
            biased;
            dialled = &mut direct, if !direct_failed => match dialled {
                Ok(link) => return Some(link),
                Err(error) => {
                    direct_failed = true;
                    started = true;
                    if let Some(error) = error {
                        debug!(peer = %node.peer.short(), %error, "no direct link");
                    }
                }
            },
            () = &mut start, if !started => started = true,
            opened = &mut overlay, if started && !overlay_failed => match opened {
                Ok(link) => return Some(link),
                Err(error) => {
                    overlay_failed = true;
                    debug!(peer = %node.peer.short(), %error, "no link over the overlay");
                }
            },
        }
    }
    None
}

/// What can be dialled, QUIC before TLS. Unix sockets are of another host, or of no use.
fn addresses(texts: &[String]) -> Vec<Address> {
    let parsed = texts.iter().take(MAX_ADDRESSES).filter_map(|text| text.parse().ok());
    let (mut quic, other): (Vec<Address>, Vec<Address>) = parsed.partition(is_quic);
    quic.extend(other.into_iter().filter(|address| matches!(address, Address::Tls { .. })));
    quic
}

const fn is_quic(address: &Address) -> bool {
    matches!(address, Address::Quic { .. })
}

/// Whether there is an address of the node that its QUIC listener may be reached at.
pub(super) fn has_quic(node: &Node) -> bool {
    addresses(&node.record.load().info.data).first().is_some_and(is_quic)
}

/// Our hello and the peer's answer; then the pool has the last word.
async fn introduce(
    context: &Arc<Context>,
    node: &Arc<Node>,
    dial: u64,
    link: Link,
) -> Result<session::Opened, Failure> {
    let peer = node.peer;
    let relayed = !context.is_direct(&peer);
    let info = LinkInfo {
        path: Path::new(link.transport(), relayed),
        remote: link.remote().to_owned(),
        dialled: true,
        since: Instant::now(),
    };
    context.pool.reached(peer, dial).await;
    let mut shake = handshake::Shake::new(link.split(), context.config.handshake_timeout);
    let accepted = match shake.say_hello(context).await {
        Ok(accepted) => accepted,
        Err(handshake::Failed::Goodbye(Refusal::Replaced)) => return Err(Failure::Yielded),
        Err(error) => {
            debug!(peer = %peer.short(), %error, "a node did not accept our link");
            return Err(Failure::Failed);
        }
    };
    if accepted.instance != node.epoch {
        // It was started anew, and the membership has not heard of it yet.
        shake.refuse(Refusal::Replaced).await;
        return Err(Failure::Failed);
    }
    match context.pool.accepted(peer, dial, info.clone()).await {
        Ok(admission) => {
            let node = Arc::clone(node);
            let features = accepted.features;
            Ok(session::Opened { node, admission, info, shake, accepted: Some(accepted), features })
        }
        Err(refusal) => {
            shake.refuse(refusal).await;
            Err(Failure::Yielded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_goes_first_and_nonsense_is_left_out() {
        let texts = ["tls://10.0.0.1:1", "nonsense", "unix:///x", "quic://10.0.0.1:2", "quic://[::1]:3"];
        let dialled: Vec<String> = addresses(&texts.map(str::to_owned)).iter().map(Address::to_string).collect();
        assert_eq!(dialled, ["quic://10.0.0.1:2", "quic://[::1]:3", "tls://10.0.0.1:1"]);
    }
}
