//! From the common flags to a client, and from its errors to exit codes.

use std::time::Duration;

use anyhow::Context;
use sinew_client::{
    AnnounceError, CallError, Client, ConnectError, FlushError, Identity, Limit, ListError, LookupError, PublishError,
    Reconnect, Refusal, RefusedRun, SettleError, SubscribeError,
};

use crate::cli::{Common, Policy};
use crate::exit::{Code, failure};

/// What a command wants of its connection.
pub(crate) struct Wish<'a> {
    /// Shown where clients are listed.
    pub(crate) name: &'static str,
    /// What to do when the connection is lost.
    pub(crate) reconnect: Reconnect,
    /// Whose identity and socket to share.
    pub(crate) beside: Option<&'a Client>,
}

/// Connects as the common flags say.
pub(crate) async fn connect(common: &Common, wish: Wish<'_>) -> anyhow::Result<Client> {
    let mut builder = Client::builder()
        .servers(common.server.iter().map(ToString::to_string))
        .name(wish.name)
        .connect_timeout(common.timeout)
        .close_timeout(common.timeout)
        .reconnect(wish.reconnect);
    if let Some(realm) = &common.realm {
        builder = builder.realm(realm.clone());
    }
    if let Some(other) = wish.beside {
        builder = builder.beside(other);
    } else if let Some(path) = &common.identity {
        builder = builder.identity(Identity::load(path).context("make one with `sinew key new --identity FILE`")?);
    }
    Ok(builder.connect().await?)
}

/// Waits so long for an answer of the node.
pub(crate) async fn within<T, E>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T>
where
    E: Into<anyhow::Error>,
{
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(failure(Code::TimedOut, format!("{what}: no answer within {limit:?}"))),
    }
}

/// The words of an error of announcing or serving. A lease has bounds on both sides, and only who asked knows which of
/// them was met.
pub(super) fn lease_refused(error: AnnounceError, asked: Duration) -> anyhow::Error {
    match error {
        AnnounceError::Refused(Refusal::Limit { limit: Limit::LeaseTtl, allowed }) => {
            let allowed = Duration::from_millis(allowed);
            let bound = if asked < allowed { "at least" } else { "at most" };
            failure(Code::Failure, format!("--ttl {asked:?}: the node grants {bound} {allowed:?}"))
        }
        error => error.into(),
    }
}

/// The exit code of an error of the SDK, if it is one.
pub(crate) fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<Code> {
    let connect = || error.downcast_ref().map(connect_code);
    let publish = || error.downcast_ref().map(publish_code);
    let subscribe = || error.downcast_ref().map(subscribe_code);
    let announce = || error.downcast_ref().map(announce_code);
    let look_up = || error.downcast_ref().map(lookup_code);
    let call = || error.downcast_ref().map(call_code);
    let settle = || error.downcast_ref().map(settle_code);
    let list = || error.downcast_ref::<ListError>().map(|_| Code::CannotConnect);
    let flush = || error.downcast_ref().map(flush_code);
    let known = connect().or_else(publish).or_else(subscribe).or_else(announce).or_else(look_up);
    known.or_else(call).or_else(settle).or_else(list).or_else(flush)
}

fn connect_code(error: &ConnectError) -> Code {
    match error.refusal() {
        Some(Refusal::Realm(_) | Refusal::Denied(_)) => Code::Denied,
        _ => Code::CannotConnect,
    }
}

const fn publish_code(error: &PublishError) -> Code {
    match error {
        PublishError::Topic(_) | PublishError::Header(_) | PublishError::IdTooLong { .. } => Code::Usage,
        PublishError::Reserved => Code::Denied,
        PublishError::Refused(RefusedRun::NoSubscribers) => Code::NobodyThere,
        PublishError::NotSent(_) | PublishError::Unanswered(_) => Code::TimedOut,
        PublishError::Disconnected | PublishError::Closed => Code::CannotConnect,
        _ => Code::Failure,
    }
}

const fn subscribe_code(error: &SubscribeError) -> Code {
    match error {
        SubscribeError::Pattern(_) | SubscribeError::Group(_) => Code::Usage,
        SubscribeError::Refused(Refusal::Denied(_) | Refusal::Reserved) => Code::Denied,
        SubscribeError::Closed => Code::CannotConnect,
        _ => Code::Failure,
    }
}

const fn announce_code(error: &AnnounceError) -> Code {
    match error {
        AnnounceError::Name(_) | AnnounceError::Metadata(_) => Code::Usage,
        AnnounceError::Reserved | AnnounceError::Refused(Refusal::Denied(_)) => Code::Denied,
        AnnounceError::Closed => Code::CannotConnect,
        _ => Code::Failure,
    }
}

const fn lookup_code(error: &LookupError) -> Code {
    match error {
        LookupError::Name(_) => Code::Usage,
        LookupError::NotFound | LookupError::NoPeers => Code::NobodyThere,
        LookupError::TimedOut(_) => Code::TimedOut,
        LookupError::Closed => Code::CannotConnect,
        _ => Code::Failure,
    }
}

const fn settle_code(error: &SettleError) -> Code {
    match error {
        SettleError::TimedOut(_) => Code::TimedOut,
        _ => Code::CannotConnect,
    }
}

const fn flush_code(error: &FlushError) -> Code {
    match error {
        FlushError::Timeout(_) => Code::TimedOut,
        _ => Code::CannotConnect,
    }
}

/// The exit code of a call that has failed.
pub(super) const fn call_code(error: &CallError) -> Code {
    match error {
        CallError::Name(_) | CallError::Header(_) | CallError::KeyTooLong { .. } => Code::Usage,
        CallError::NoProvider | CallError::NoPeers | CallError::NotSent(_) => Code::NobodyThere,
        CallError::TimedOut { .. } => Code::TimedOut,
        CallError::Reserved | CallError::Refused(Refusal::Denied(_) | Refusal::Reserved) => Code::Denied,
        CallError::Disconnected { .. } | CallError::Closed => Code::CannotConnect,
        _ => Code::Failure,
    }
}

impl From<Policy> for sinew_client::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::DropOldest => Self::DropOldest,
            Policy::DropNewest => Self::DropNewest,
            Policy::Latest => Self::Latest,
            Policy::Block => Self::Block,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_too_short_or_too_long() {
        let words = |asked, allowed| {
            let refused = AnnounceError::Refused(Refusal::Limit { limit: Limit::LeaseTtl, allowed });
            lease_refused(refused, Duration::from_secs(asked)).to_string()
        };
        assert_eq!(words(1, 10_000), "--ttl 1s: the node grants at least 10s");
        assert_eq!(words(7_200, 3_600_000), "--ttl 7200s: the node grants at most 3600s");
        assert_eq!(lease_refused(AnnounceError::Closed, Duration::ZERO).to_string(), "the client is closed");
    }

    #[test]
    fn every_outcome_has_the_exit_code_of_the_contract() {
        let refused = |refusal| ConnectError::Refused { server: "quic://h:1".parse().expect("is an address"), refusal };
        let code = |error: &(dyn std::error::Error + 'static)| code_of(error).expect("is of the SDK");
        assert_eq!(code(&ConnectError::NoServer), Code::CannotConnect);
        assert_eq!(code(&refused(Refusal::Draining)), Code::CannotConnect);
        assert_eq!(code(&refused(Refusal::Realm("x".to_owned()))), Code::Denied);
        assert_eq!(code(&PublishError::Refused(RefusedRun::NoSubscribers)), Code::NobodyThere);
        assert_eq!(code(&PublishError::NotSent(Duration::ZERO)), Code::TimedOut);
        assert_eq!(code(&PublishError::Reserved), Code::Denied);
        assert_eq!(code(&SubscribeError::Refused(Refusal::Reserved)), Code::Denied);
        assert_eq!(code(&SubscribeError::Closed), Code::CannotConnect);
        assert_eq!(code(&FlushError::Timeout(Duration::ZERO)), Code::TimedOut);
        assert_eq!(code(&LookupError::NotFound), Code::NobodyThere);
        assert_eq!(code(&LookupError::NoPeers), Code::NobodyThere);
        assert_eq!(code(&LookupError::TimedOut(Duration::ZERO)), Code::TimedOut);
        assert_eq!(code(&AnnounceError::Reserved), Code::Denied);
        assert_eq!(code(&CallError::NoProvider), Code::NobodyThere);
        assert_eq!(code(&CallError::TimedOut { maybe_executed: true }), Code::TimedOut);
        assert_eq!(code(&CallError::Unknown("lost".to_owned())), Code::Failure);
        assert_eq!(code(&CallError::Refused(Refusal::Denied("no".to_owned()))), Code::Denied);
        assert_eq!(code(&SettleError::TimedOut(Duration::ZERO)), Code::TimedOut);
        assert!(code_of(&std::fmt::Error).is_none());
    }
}
