use std::time::Duration;

use sinew_wire::PeerId;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::{Address, DialError, Dialer, Link};

impl Dialer {
    /// Makes a link to a peer that is known to listen on several addresses, of which some may not be reachable from here.
    ///
    /// They are dialled in their order: the next one starts `stagger` after the one before, or at once when all that were
    /// started have failed. The first link there is wins, and the other dials are given up. Dropping it half-way gives up
    /// all of them.
    ///
    /// # Errors
    ///
    /// The last address's failure, if all of them fail; nothing if there are no addresses.
    pub async fn dial_first(
        &self,
        addresses: &[Address],
        peer: PeerId,
        stagger: Duration,
    ) -> Result<Link, Option<DialError>> {
        let mut waiting = addresses.iter();
        let mut dials: JoinSet<Result<Link, DialError>> = JoinSet::new();
        let mut next = Instant::now();
        let mut failed = None;
        loop {
            if (dials.is_empty() || next <= Instant::now())
                && let Some(address) = waiting.next()
            {
                let (dialer, address) = (self.clone(), address.clone());
                dials.spawn(async move { dialer.dial_peer(&address, peer).await });
                next = Instant::now() + stagger;
            }
            tokio::select! {
                dialled = dials.join_next() => match dialled {
                    Some(Ok(Ok(link))) => return Ok(link),
                    Some(Ok(Err(error))) => failed = Some(error),
                    // A dial that panicked is one that failed.
                    Some(Err(_)) => {}
                    None => return Err(failed),
                },
                () = sleep_until(next), if waiting.len() > 0 => {}
            }
        }
    }
}
