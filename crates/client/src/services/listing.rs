use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sinew_wire::{Control, ServiceSummaryRow};

use crate::ListError;
use crate::client::Client;
use crate::shared::{Reply, Shared};

impl Client {
    /// Lists the services of the realm that the node knows of, by name, page by page as they are taken.
    ///
    /// ```no_run
    /// # async fn example(client: sinew_client::Client) -> Result<(), sinew_client::ListError> {
    /// let mut services = client.services();
    /// while let Some(row) = services.next().await? {
    ///     println!("{}: {} at {} nodes", row.name, row.instances, row.nodes);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn services(&self) -> Services {
        Services { rows: pages(Arc::clone(self.shared())).boxed(), _client: self.clone() }
    }
}

/// The services of a realm in the order of their names: a [`Stream`], and [`Services::next`].
///
/// A page is asked for when the one before is taken. What is announced or withdrawn meanwhile may be in it or not.
pub struct Services {
    rows: BoxStream<'static, Result<ServiceSummaryRow, ListError>>,
    /// It keeps the client connected.
    _client: Client,
}

impl Services {
    /// The next one; `None` after the last. Waits while the client is not connected. Cancel safe.
    ///
    /// # Errors
    /// [`ListError::Closed`].
    pub async fn next(&mut self) -> Result<Option<ServiceSummaryRow>, ListError> {
        self.rows.next().await.transpose()
    }

    /// All that are left.
    ///
    /// # Errors
    /// [`ListError::Closed`].
    pub async fn all(self) -> Result<Vec<ServiceSummaryRow>, ListError> {
        self.rows.try_collect().await
    }
}

impl Stream for Services {
    type Item = Result<ServiceSummaryRow, ListError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rows.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

fn pages(shared: Arc<Shared>) -> impl Stream<Item = Result<ServiceSummaryRow, ListError>> + Send {
    let pages = stream::try_unfold(Some(None::<String>), move |after| {
        let shared = Arc::clone(&shared);
        async move {
            let Some(after) = after else { return Ok(None) };
            let ask = |request| Control::ListServices { request, after: after.clone() };
            let read = |reply| if let Reply::Page(rows, more) = reply { Some((rows, more)) } else { None };
            let (rows, more) = shared.ask(&shared.asking, ask, read).await.map_err(|_closed| ListError::Closed)?;
            let last = rows.last().map(|row| row.name.clone());
            // A node that does not come further is at its end.
            let goes_on = more && last.as_ref().is_some_and(|last| after.as_ref().is_none_or(|after| last > after));
            let rows = stream::iter(rows.into_iter().map(Ok));
            Ok(Some((rows, goes_on.then_some(last))))
        }
    });
    pages.try_flatten()
}
