use std::sync::Arc;

use sinew_wire::forward::GroupList;

use crate::plan::Plan;

/// Which part of a plan a run is for.
#[derive(Debug, Clone)]
pub(crate) enum Audience {
    /// Everybody, here and on other nodes: what is published on this node.
    Realm,
    /// What another node forwards: local subscriptions only, and of the queue groups only those for which that node chose
    /// this one.
    Here {
        /// Those outside of queue groups.
        direct: bool,
        groups: Arc<GroupList>,
    },
}

impl Audience {
    /// Whether it is for local subscriptions outside of queue groups.
    pub(crate) const fn has_direct(&self) -> bool {
        match self {
            Self::Realm => true,
            Self::Here { direct, .. } => *direct,
        }
    }

    /// Deliveries due for one message. A group named counts even if its last member here has left.
    pub(crate) fn matched(&self, plan: &Plan) -> u64 {
        match self {
            Self::Realm => plan.matched(),
            Self::Here { direct, groups } => {
                let direct = if *direct { plan.direct().len() } else { 0 };
                (direct + groups.as_groups().len()) as u64
            }
        }
    }
}
