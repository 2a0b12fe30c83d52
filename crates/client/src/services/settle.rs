use std::time::Duration;

use sinew_wire::Control;
use tokio::time::timeout_at;

use super::after;
use crate::SettleError;
use crate::client::Client;
use crate::shared::{Reply, Shared};
use crate::subscription::Subscription;

/// Between two questions whether the other nodes know. The node takes its time for an answer that they do not.
const PAUSE: Duration = Duration::from_millis(20);

/// How far the other nodes know of the subscriptions of this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// Other nodes that are up and know.
    pub nodes: u32,
    /// Other nodes that seem to be up and have not confirmed it.
    pub missing: u32,
}

impl Settled {
    /// Whether all know.
    pub const fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

impl Client {
    /// Waits until all other nodes of the realm that are up know of the subscriptions that were made so far: what anybody
    /// publishes from then on is seen.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let replies = client.subscribe("replies.>").await?;
    /// let settled = client.settle(Duration::from_secs(5)).await?;
    /// println!("{} nodes know, {} are not sure", settled.nodes, settled.missing);
    /// # drop(replies);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// When the deadline passes with some nodes missing, the answer says so, and is no error. Waits while the client is not
    /// connected. Cancel safe.
    ///
    /// # Errors
    /// [`SettleError::TimedOut`] if the node has not answered at all.
    pub async fn settle(&self, deadline: Duration) -> Result<Settled, SettleError> {
        settle(self.shared(), deadline).await
    }
}

impl Subscription {
    /// Waits until all other nodes of the realm that are up know of this subscription, and of those made before it: what
    /// anybody publishes from then on is seen. [`Client::settle`], for who has only the subscription.
    ///
    /// # Errors
    /// [`SettleError::TimedOut`] if the node has not answered at all.
    pub async fn ready(&self, deadline: Duration) -> Result<Settled, SettleError> {
        settle(self.shared(), deadline).await
    }
}

async fn settle(shared: &Shared, deadline: Duration) -> Result<Settled, SettleError> {
    let until = after(deadline);
    let mut last = None;
    let settling = async {
        loop {
            let ask = |request| Control::Settle { nonce: u64::from(request) };
            let read = |reply| if let Reply::Settled(settled) = reply { Some(settled) } else { None };
            let settled = shared.ask(&shared.settling, ask, read).await.map_err(|_closed| SettleError::Closed)?;
            if settled.is_complete() {
                return Ok(settled);
            }
            last = Some(settled);
            tokio::time::sleep(PAUSE).await;
        }
    };
    match timeout_at(until, settling).await {
        Ok(settled) => settled,
        Err(_) => last.ok_or(SettleError::TimedOut(deadline)),
    }
}
