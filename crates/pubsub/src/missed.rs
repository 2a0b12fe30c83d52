use hashbrown::HashMap;
use sinew_flow::Batch;
use sinew_topic::Topic;
use sinew_wire::MeshControl;
use sinew_wire::forward::GroupList;

use crate::recipients::Forwarded;

/// Topics that are kept apart. Beyond it, messages are counted without their topic.
const MAX_TOPICS: usize = 1024;

/// What was dropped on the way to another node, by topic and recipients, until that node is told.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    topics: HashMap<Key, u64>,
    /// Messages whose topics are not known any more.
    others: u64,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    topic: Topic,
    direct: bool,
    groups: GroupList,
}

impl Missed {
    pub(crate) fn add(&mut self, item: &Forwarded) {
        let messages = item.messages() as u64;
        let key =
            Key { topic: item.slice.run().topic.clone(), direct: item.to.direct > 0, groups: item.to.groups.clone() };
        if let Some(count) = self.topics.get_mut(&key) {
            *count = count.saturating_add(messages);
        } else if self.topics.len() < MAX_TOPICS {
            self.topics.insert(key, messages);
        } else {
            self.others = self.others.saturating_add(messages);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.others == 0
    }

    /// Takes everything, as frames for that node.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = MeshControl> {
        let topics = std::mem::take(&mut self.topics);
        let others = std::mem::take(&mut self.others);
        let rest = (others > 0).then(|| MeshControl::Missed {
            topic: String::new(),
            messages: others,
            direct: true,
            groups: Vec::new(),
        });
        let frame = |(key, messages): (Key, u64)| MeshControl::Missed {
            topic: key.topic.as_str().to_owned(),
            messages,
            direct: key.direct,
            groups: key.groups.as_groups().iter().map(str::to_owned).collect(),
        };
        topics.into_iter().map(frame).chain(rest)
    }
}
