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
        if crate::is_reserved(topic) && self.0.starts_with(['*', '>']) {
            return false;
        }
        // Bytes: tokens are too short for what finds a character in a text to pay off.
        let mut given = topic.as_bytes().split(|&byte| byte == b'.');
        for wanted in self.0.as_bytes().split(|&byte| byte == b'.') {
            match (wanted, given.next()) {
                (_, None) => return false,
                (b">", Some(_)) => return true,
                (b"*", Some(_)) => {}
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("valid")
    }

    #[test]
    fn is_its_text() {
        let parsed: Pattern = "sensors.*.>".parse().expect("valid");
        assert_eq!(parsed.to_string(), "sensors.*.>");
        assert_eq!(format!("{parsed:?}"), "Pattern(sensors.*.>)");
        assert_eq!(parsed.tokens().collect::<Vec<_>>(), ["sensors", "*", ">"]);
        assert_eq!(Pattern::try_from("sensors.*.>"), Ok(parsed));
    }

    #[test]
    fn knows_its_wildcards() {
        assert!(pattern("a.b").is_literal());
        assert!(!pattern("a.*").is_literal());
        assert!(!pattern("a.>").is_literal());
        assert_eq!(pattern("a.>").first_token(), Some("a"));
        assert_eq!(pattern("*.a").first_token(), None);
        assert_eq!(pattern(">").first_token(), None);
    }

    #[test]
    fn a_topic_is_a_pattern_of_the_same_text() {
        let topic = Topic::parse("a.b").expect("valid");
        let own = Pattern::from(topic.clone());
        assert_eq!(own, pattern("a.b"));
        assert!(own.is_literal() && own.matches(topic.as_str()));
    }

    #[test]
    fn matches_by_the_contract() {
        for (text, topic, matches) in [
            ("a.b", "a.b", true),
            ("a.b", "a.B", false),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.c", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c", true),
            // Reserved names: only for who names them.
            (">", "$node.load", false),
            ("*.load", "$node.load", false),
            ("$node.load", "$node.load", true),
            ("$node.*", "$node.load", true),
            ("$node.>", "$node.load", true),
            ("node.*", "node.$load", true),
            ("*", "a$", true),
        ] {
            assert_eq!(pattern(text).matches(topic), matches, "{text} on {topic}");
            assert_eq!(testing::naive_match(text, topic), matches, "{text} on {topic}, naive");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(pattern in testing::pattern(), topic in testing::topic()) {
            let expected = testing::naive_match(pattern.as_str(), topic.as_str());
            prop_assert_eq!(pattern.matches(topic.as_str()), expected);
        }
    }
}
