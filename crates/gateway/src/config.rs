use std::time::Duration;

use sinew_wire::PeerId;
use sinew_wire::entry::EntryLimits;

/// Limits of the gateway. The defaults are those of the contract.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// This node.
    pub node: PeerId,
    /// The realm it serves.
    pub realm: String,
    /// Clients connected at once.
    pub max_clients: usize,
    /// Subscriptions of one client.
    pub max_subscriptions_per_client: usize,
    /// Largest payload and headers of one message.
    pub message: EntryLimits,
    /// Handshakes under way at once, over all listeners; beyond it a connection is refused unheard.
    pub max_pending_handshakes: usize,
    /// Time from the first byte of a connection to its hello.
    pub handshake_timeout: Duration,
    /// Send a ping when nothing was sent for so long.
    pub keep_alive: Duration,
    /// Close a link on which nothing was received for so long.
    pub idle_timeout: Duration,
    /// Entry bytes one client may have published without the node having processed them.
    pub publish_window: u64,
    /// Publishes of one client that may wait for their result, for clients to know. Who counts them is the service behind.
    pub max_open_acks: usize,
    /// Longest deadline of an acknowledged publish; longer ones are cut to it.
    pub max_deadline: Duration,
    /// A client that has calls to answer and says nothing for so long, though asked, is given up.
    pub provider_silence: Duration,
    /// Bytes of calls that may wait to be written to one client.
    pub call_queue: usize,
}

impl GatewayConfig {
    /// Defaults for a node of this identity.
    pub fn new(node: PeerId) -> Self {
        Self {
            node,
            realm: "default".to_owned(),
            max_clients: 10_000,
            max_subscriptions_per_client: 1_000,
            message: EntryLimits::default(),
            max_pending_handshakes: 256,
            handshake_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            publish_window: 1 << 20,
            max_open_acks: 8_192,
            max_deadline: Duration::from_secs(300),
            provider_silence: Duration::from_secs(2),
            call_queue: 4 << 20,
        }
    }
}
