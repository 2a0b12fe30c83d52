use std::sync::Arc;

use crate::check::validate_pattern;
use crate::name::text_traits;
use crate::{NameError, Topic};

/// A validated pattern: what one subscribes to.
///
/// Cloning shares the text. Two patterns are equal when their texts are, not when they match the same topics.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Checks and copies `text`.
    ///
    /// # Errors
    /// The first rule that `text` breaks, and where.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        validate_pattern(text)?;
        Ok(Self(text.into()))
    }

    /// For text that is known to be a pattern.
    pub(crate) fn trusted(text: String) -> Self {
        debug_assert_eq!(validate_pattern(&text), Ok(()));
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens, from the first to the last; wildcards are the tokens `*` and `>`.
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('.')
    }

    /// Whether it has no wildcard, and so matches the one topic of the same name.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '>'])
    }

    /// The first token, or `None` when that is a wildcard. A topic that does not start with it never matches.
    pub fn first_token(&self) -> Option<&str> {
        self.tokens().next().filter(|token| !matches!(*token, "*" | ">"))
    }

    /// Whether it matches `topic`, which must be valid ([`validate_topic`](crate::validate_topic)): for any other
    /// text the answer means nothing.
    ///
    /// Takes time linear in the two texts, and no memory.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.first_token().is_none() {
            return false;
        }
        let mut given = topic.split('.');
        for wanted in self.tokens() {
            match (wanted, given.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        given.next().is_none()
    }
}

text_traits!(Pattern);

/// A topic is the pattern of itself.
impl From<Topic> for Pattern {
    fn from(topic: Topic) -> Self {
        Self(topic.into_inner())
    }
}
