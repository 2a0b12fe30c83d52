//! What a node publishes: keys, values, and what makes them valid.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sinew_topic::{Pattern, validate_topic};
use sinew_wire::check_group;

/// Most queue groups in one [`Interest`].
pub const MAX_GROUPS: usize = 1_024;

/// What a node tells the others something about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A pattern that somebody at the node subscribes to. The text is a valid [`Pattern`].
    Interest(String),
    /// The name of a service that somebody at the node offers. Named like a topic.
    Service(String),
}

impl Key {
    /// The pattern or the name.
    pub fn name(&self) -> &str {
        match self {
            Self::Interest(name) | Self::Service(name) => name,
        }
    }

    /// What is wrong with the name, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Interest(pattern) => Pattern::parse(pattern).err().map(|_| "not a valid pattern"),
            Self::Service(name) => validate_topic(name).err().map(|_| "not a valid name of a service"),
        }
    }
}

/// What is said about a [`Key`]; always the variant of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// About a pattern.
    Interest(Interest),
    /// About a service.
    Service(ServiceSummary),
}

/// How many listen at a node, to one pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interest {
    /// Subscriptions outside of queue groups.
    pub direct: u32,
    /// Those of them that hold publishers back.
    pub blocking: u32,
    /// Queue groups, each once, with their members at the node. At most [`MAX_GROUPS`].
    pub groups: Vec<(String, u32)>,
}

/// What is offered at a node, under one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// Providers at the node.
    pub instances: u32,
}

impl Value {
    fn problem(&self, key: &Key) -> Option<&'static str> {
        match (key, self) {
            (Key::Interest(_), Self::Interest(interest)) => interest.problem(),
            (Key::Service(_), Self::Service(_)) => None,
            _ => Some("a value of another kind than its key"),
        }
    }
}

impl Interest {
    fn problem(&self) -> Option<&'static str> {
        if self.blocking > self.direct {
            return Some("more blocking subscriptions than subscriptions");
        }
        if self.groups.len() > MAX_GROUPS {
            return Some("too many queue groups");
        }
        if self.groups.iter().any(|(group, _)| check_group(group).is_err()) {
            return Some("not a valid name of a queue group");
        }
        let names: BTreeSet<&str> = self.groups.iter().map(|(group, _)| group.as_str()).collect();
        (names.len() < self.groups.len()).then_some("a queue group twice")
    }
}

/// One key as it is since `version`; without a value it was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: Key,
    pub(crate) value: Option<Value>,
}

impl Change {
    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        self.key.problem().or_else(|| self.value.as_ref()?.problem(&self.key))
    }
}

/// Memory that a key and its value are charged with, in bytes: their texts, and what the tables around them take.
pub(crate) fn weight(key: &Key, value: Option<&Value>) -> usize {
    const TABLES: usize = 128;
    let groups = match value {
        Some(Value::Interest(interest)) => interest.groups.iter().map(|(group, _)| group.len() + 32).sum(),
        _ => 0,
    };
    TABLES + key.name().len() + groups
}
