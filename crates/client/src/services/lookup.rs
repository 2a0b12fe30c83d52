use std::time::Duration;

use sinew_topic::validate_topic;
use sinew_wire::{Control, LookupOutcome, Refusal, ServiceInstance};
use tokio::time::{Instant, timeout_at};

use super::after;
use crate::LookupError;
use crate::client::Client;
use crate::shared::Reply;

/// How long a look-up takes by default.
const LOOKUP: Duration = Duration::from_secs(5);

/// Time for the node's own answer that a deadline has passed.
const GRACE: Duration = Duration::from_millis(500);

impl Client {
    /// Finds who provides a service, within 5 s: [`Client::lookup_within`].
    pub async fn lookup(&self, name: impl AsRef<str> + Send) -> Result<Vec<ServiceInstance>, LookupError> {
        self.lookup_within(name, LOOKUP).await
    }

    /// Finds who provides a service: at least one, and as many as one answer of the node holds, others of many each time.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) {
    /// use sinew_client::LookupError;
    ///
    /// match client.lookup("images.resize").await {
    ///     Ok(instances) => println!("{} of them, one at {}", instances.len(), instances[0].node),
    ///     Err(LookupError::NotFound) => println!("nobody provides it"),
    ///     Err(error) => println!("not known: {error}"),
    /// }
    /// # }
    /// ```
    ///
    /// Waits while the client is not connected, and asks again when the connection is lost meanwhile, as long as the deadline
    /// has not passed. Cancel safe.
    ///
    /// # Errors
    /// [`LookupError`] tells apart that there is none, that nobody could be asked, and that nothing is known.
    pub async fn lookup_within(
        &self,
        name: impl AsRef<str> + Send,
        deadline: Duration,
    ) -> Result<Vec<ServiceInstance>, LookupError> {
        let name = name.as_ref();
        validate_topic(name)?;
        let until = after(deadline);
        let ask = |request| Control::Lookup { request, name: name.to_owned(), deadline_ms: left_ms(until).max(1) };
        let read = |reply| if let Reply::Lookup(outcome) = reply { Some(outcome) } else { None };
        let shared = self.shared();
        let looked = timeout_at(until + GRACE, shared.ask(&shared.asking, ask, read)).await;
        match looked.map_err(|_| LookupError::TimedOut(deadline))?.map_err(|_closed| LookupError::Closed)? {
            LookupOutcome::Found(instances) if !instances.is_empty() => Ok(instances),
            LookupOutcome::Found(_) | LookupOutcome::NotFound => Err(LookupError::NotFound),
            LookupOutcome::NoPeers => Err(LookupError::NoPeers),
            LookupOutcome::TimedOut => Err(LookupError::TimedOut(deadline)),
            LookupOutcome::Refused(refusal) => Err(LookupError::Refused(refusal)),
            _ => Err(LookupError::Refused(Refusal::Unavailable("an answer this client does not know".into()))),
        }
    }
}

fn left_ms(until: Instant) -> u64 {
    u64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX)
}
