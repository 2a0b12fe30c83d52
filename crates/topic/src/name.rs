use std::sync::Arc;

use crate::{NameError, validate_topic};

/// A validated topic: what one publishes to.
///
/// Cloning shares the text. Ordered and hashed as its text is, and looked up by `&str` in maps.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks and copies `name`.
    ///
    /// # Errors
    /// The first rule that `name` breaks, and where.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        validate_topic(name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens, from the first to the last.
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('.')
    }

    /// Whether the name belongs to the system: it starts with `$`.
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }

    pub(crate) fn into_inner(self) -> Arc<str> {
        self.0
    }
}

/// Whether a name or pattern belongs to the system: it starts with `$`. Whether it is valid is not looked at.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with('$')
}

/// What every validated name can do as a text.
macro_rules! text_traits {
    ($name:ident) => {
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::NameError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::parse(name)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::NameError;

            fn try_from(name: &str) -> Result<Self, Self::Error> {
                Self::parse(name)
            }
        }
    };
}
pub(crate) use text_traits;

text_traits!(Topic);

/// The name alone, sharing the text.
impl From<Topic> for Arc<str> {
    fn from(topic: Topic) -> Self {
        topic.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_its_text() {
        let topic: Topic = "sensors.kitchen".parse().expect("valid");
        assert_eq!(topic.as_str(), "sensors.kitchen");
        assert_eq!(topic.to_string(), "sensors.kitchen");
        assert_eq!(format!("{topic:>17}"), "  sensors.kitchen");
        assert_eq!(format!("{topic:?}"), "Topic(sensors.kitchen)");
        assert_eq!(topic.tokens().collect::<Vec<_>>(), ["sensors", "kitchen"]);
        assert_eq!(Topic::try_from("sensors.kitchen"), Ok(topic));
    }

    #[test]
    fn only_a_leading_dollar_reserves() {
        assert!(Topic::parse("$node.load").expect("valid").is_reserved());
        assert!(!Topic::parse("node.$load").expect("valid").is_reserved());
    }
}
