//! Why something was refused.

use sinew_wire::DecodeError;

/// Why something that another node sent was refused. Each reason is counted ([`crate::Counters::refused`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Larger than such a thing may be.
    #[error("{what} of {actual} bytes or entries, the limit is {allowed}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        actual: usize,
        /// How large it may be.
        allowed: usize,
    },
    /// Not what a node of this version sends.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A record of another realm.
    #[error("a record of the realm {0:?}")]
    Realm(String),
    /// A record whose signature is not that of the node it speaks for.
    #[error("a record that its node has not signed")]
    Signature,
    /// A record that is older than the one held.
    #[error("a record that is older than the one held")]
    Replayed,
    /// A record that wants to be valid for longer than any may be, or not at all.
    #[error("a record that lives for {0} ms")]
    Lifetime(u64),
    /// A key or value that is not valid.
    #[error("a key or value that is not valid: {0}")]
    Key(&'static str),
    /// No room for another member.
    #[error("no room for another member: at most {0}")]
    TooManyMembers(usize),
    /// No room for more of what this member publishes.
    #[error("no room for what the member publishes: at most {0}")]
    TooMuchState(usize),
    /// From a node whose record is not held.
    #[error("from a node whose record is not held")]
    Stranger,
    /// It says that it comes from another node than it does.
    #[error("it says that it comes from another node")]
    Impostor,
    /// An answer that nobody waits for (any more), or to another question.
    #[error("an answer that nobody waits for")]
    Unsolicited,
    /// What came before it has not been fetched by [`crate::Membership::poll_output`].
    #[error("too much output waits to be fetched")]
    Busy,
    /// The membership was left.
    #[error("the membership was left")]
    Left,
}

impl Refused {
    /// Number of reasons.
    pub const REASONS: usize = 14;

    /// The names of all reasons, in the order of [`Self::index`].
    pub const NAMES: [&'static str; Self::REASONS] = [
        "too_large",
        "malformed",
        "realm",
        "signature",
        "replayed",
        "lifetime",
        "key",
        "too_many_members",
        "too_much_state",
        "stranger",
        "impostor",
        "unsolicited",
        "busy",
        "left",
    ];

    /// Position of the reason among all, for counters.
    pub const fn index(&self) -> usize {
        match self {
            Self::TooLarge { .. } => 0,
            Self::Malformed(_) => 1,
            Self::Realm(_) => 2,
            Self::Signature => 3,
            Self::Replayed => 4,
            Self::Lifetime(_) => 5,
            Self::Key(_) => 6,
            Self::TooManyMembers(_) => 7,
            Self::TooMuchState(_) => 8,
            Self::Stranger => 9,
            Self::Impostor => 10,
            Self::Unsolicited => 11,
            Self::Busy => 12,
            Self::Left => 13,
        }
    }

    /// The name of the reason, for metrics.
    pub const fn reason(&self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Whether it takes a sender that is broken or hostile. The others happen between honest nodes, when messages
    /// overtake each other or a limit is reached.
    pub const fn is_hostile(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::Malformed(_)
                | Self::Realm(_)
                | Self::Signature
                | Self::Lifetime(_)
                | Self::Key(_)
                | Self::Impostor
        )
    }
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Why the node may not publish a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooMany {
    /// It publishes as many keys of this kind as it may.
    #[error("the node publishes {0} keys of this kind already, the most that others take")]
    Keys(usize),
    /// What it publishes is as large as it may be.
    #[error("what the node publishes would be larger than {0} bytes, the most that others take")]
    Bytes(usize),
    /// The others would refuse the key or its value.
    #[error("others would refuse it: {0}")]
    Invalid(&'static str),
}
