use std::time::Duration;

use bytes::Bytes;
use sinew_topic::NameError;
use sinew_wire::{DecodeError, Refusal};

/// Whether the procedure of a call that has failed was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Executed {
    /// It was, at least in part.
    Yes,
    /// It was not: calling again cannot execute it twice.
    No,
    /// It may have been.
    Maybe,
}

/// Why a call has no result. [`CallError::executed`] tells what each says of the procedure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The name is not that of a procedure: the rules are those of topics.
    #[error("invalid name of a procedure: {0}")]
    Name(#[from] NameError),
    /// Names that start with `$` belong to the system.
    #[error("names that start with $ are reserved for the system")]
    Reserved,
    /// A header can't be encoded.
    #[error("{0}")]
    Header(#[source] DecodeError),
    /// The key of a sticky call is too long.
    #[error("key is {actual} bytes long, the limit is 256")]
    KeyTooLong {
        /// Its length in bytes.
        actual: usize,
    },
    /// The argument is larger than this client sends.
    #[error("argument is {actual} bytes long, the limit is {limit}")]
    TooLarge {
        /// Its length in bytes.
        actual: usize,
        /// [`Builder::max_call_bytes`](crate::Builder::max_call_bytes).
        limit: usize,
    },
    /// The result, or an item of a stream, is larger than this client takes.
    #[error("result is longer than the limit of {limit} bytes")]
    ResultTooLarge {
        /// [`Builder::max_call_bytes`](crate::Builder::max_call_bytes).
        limit: usize,
    },
    /// Nobody in the realm provides it.
    #[error("nobody provides it")]
    NoProvider,
    /// The node knows no provider, and is cut off from the other nodes that might.
    #[error("the node knows no provider, and has no peers that might")]
    NoPeers,
    /// It has reached no provider.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The provider, or the way to it, was lost before the answer.
    #[error("not known what became of it: {0}")]
    Unknown(String),
    /// Who provides it has more to do than it may take.
    #[error("overloaded: try again after {retry_after:?}")]
    Overloaded {
        /// When it may be worth trying again.
        retry_after: Duration,
    },
    /// The deadline has passed.
    #[error("timed out{}", if *.maybe_executed { ", perhaps executed" } else { ", not executed" })]
    TimedOut {
        /// Whether it had reached a provider, as far as is known.
        maybe_executed: bool,
    },
    /// The procedure answers by an error of its own.
    #[error("application error {code}: {}", String::from_utf8_lossy(body))]
    Application {
        /// Of the application's choosing.
        code: u16,
        /// Of the application's choosing, often a text for people.
        body: Bytes,
    },
    /// The procedure has panicked.
    #[error("the procedure has panicked: {0}")]
    Panicked(String),
    /// The node or the provider refused. [`Refusal::Limit`] names the limit.
    #[error("{0}")]
    Refused(Refusal),
    /// The caller has cancelled it: the sending half of the call was dropped before [`CallSender::finish`].
    ///
    /// [`CallSender::finish`]: crate::CallSender::finish
    #[error("cancelled")]
    Cancelled,
    /// The connection to the node was lost before the answer.
    #[error("disconnected{}", if *.maybe_executed { ", perhaps executed" } else { ", not executed" })]
    Disconnected {
        /// Whether it had been sent.
        maybe_executed: bool,
    },
    /// The argument can't be written as JSON. From [`Client::call_typed`](crate::Client::call_typed).
    #[error("argument: {0}")]
    Encode(String),
    /// The result is not what was expected. From [`Client::call_typed`](crate::Client::call_typed).
    #[error("result: {0}")]
    Decode(String),
    /// The client was closed, or has given up on connecting.
    #[error("the client is closed")]
    Closed,
}

impl CallError {
    /// Whether the procedure was executed, as far as is known.
    pub const fn executed(&self) -> Executed {
        match self {
            Self::Application { .. } | Self::Panicked(_) | Self::Decode(_) => Executed::Yes,
            Self::Unknown(_) | Self::Cancelled | Self::ResultTooLarge { .. } => Executed::Maybe,
            Self::TimedOut { maybe_executed } | Self::Disconnected { maybe_executed } if *maybe_executed => {
                Executed::Maybe
            }
            _ => Executed::No,
        }
    }
}

/// How a procedure answers by an error of its own: a code and bytes of the application's choosing.
///
/// Any error becomes one with `?`, with code 1 and its text.
///
/// ```
/// use sinew_client::AppError;
///
/// fn square(text: &str) -> Result<String, AppError> {
///     let number: i64 = text.parse()?;
///     let square = number.checked_mul(number).ok_or_else(|| AppError::new(7, "too large"))?;
///     Ok(square.to_string())
/// }
///
/// assert_eq!(square("12").ok().as_deref(), Some("144"));
/// assert_eq!(square("twelve").unwrap_err().code, 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppError {
    /// Tells errors apart, for programs.
    pub code: u16,
    /// Tells more, often a text for people.
    pub body: Bytes,
}

impl AppError {
    /// An error of this code. Its body may be as large as a result.
    pub fn new(code: u16, body: impl Into<Bytes>) -> Self {
        Self { code, body: body.into() }
    }
}

impl<E: std::error::Error> From<E> for AppError {
    fn from(error: E) -> Self {
        Self::new(1, error.to_string())
    }
}

/// Why an item of a stream was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The call has ended. For a caller, [`Answers`](crate::Answers) tell how.
    #[error("the call has ended")]
    Ended,
    /// The caller of this call takes no stream.
    #[error("the caller takes no stream")]
    NotWanted,
    /// The item is larger than this client sends.
    #[error("item is {actual} bytes long, the limit is {limit}")]
    TooLarge {
        /// Its length in bytes.
        actual: usize,
        /// [`Builder::max_call_bytes`](crate::Builder::max_call_bytes).
        limit: usize,
    },
}
