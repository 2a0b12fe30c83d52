//! Services: announce, look up, list, watch.

use std::time::Duration;

use tokio::time::Instant;

mod announcement;
mod error;
mod listing;
mod lookup;
mod settle;
mod watch;

pub use announcement::{Announcement, Service};
pub use error::{AnnounceError, ListError, LookupError, SettleError, WatchError};
pub use listing::Services;
pub use settle::Settled;
pub use watch::{ServiceEvent, ServiceWatch};

pub(crate) use watch::{Backlog, Seen};

/// A deadline too far away for the clock is a year away.
pub(crate) fn after(deadline: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    Instant::now() + deadline.min(YEAR)
}
