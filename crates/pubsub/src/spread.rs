use std::sync::Arc;

use sinew_flow::Batch;

use crate::group::{Group, GroupRemote};
use crate::plan::{Plan, together};
use crate::recipients::Forwarded;
use crate::remote::Remote;
use crate::run::Slice;

/// Collects which shares of one run go to which other nodes for queue groups, and makes the copies for those nodes of
/// them: as few as may be, so that a node for which all of a run is gets it once, for all of its recipients.
#[derive(Debug, Default)]
pub(crate) struct Spread(Vec<Share>);

/// Neighbouring messages of a run for one group on one node.
#[derive(Debug)]
struct Share {
    /// Index of the node in the plan.
    at: usize,
    /// Index of the group in the plan.
    group: usize,
    forwarded: Forwarded,
}

impl Spread {
    pub(crate) fn add(&mut self, group: usize, remote: &GroupRemote, slice: Slice) {
        let slice = match self.0.iter_mut().rev().find(|share| share.at == remote.at && share.group == group) {
            Some(known) => match known.forwarded.slice.join(slice) {
                Ok(()) => return,
                Err(slice) => slice,
            },
            None => slice,
        };
        let forwarded = Forwarded::new(slice, Arc::clone(&remote.to));
        self.0.push(Share { at: remote.at, group, forwarded });
    }

    /// All copies of the run for all nodes of the plan.
    pub(crate) fn copies<'p>(self, plan: &'p Plan, whole: &Slice) -> Vec<(&'p Arc<Remote>, Forwarded)> {
        let mut copies = Vec::with_capacity(plan.remotes.len() + self.0.len());
        let is_whole = |share: &Share| share.forwarded.slice.messages() == whole.messages();
        for (at, node) in plan.remotes.iter().enumerate() {
            if self.0.is_empty() {
                copies
                    .extend(node.direct.iter().map(|to| (&node.remote, Forwarded::new(whole.clone(), Arc::clone(to)))));
                continue;
            }
            let here = || self.0.iter().filter(|share| share.at == at);
            let groups: Vec<&Group> = here().filter(|share| is_whole(share)).map(|s| &plan.groups[s.group]).collect();
            for to in together(node.direct.as_ref(), &groups) {
                copies.push((&node.remote, Forwarded::new(whole.clone(), to)));
            }
            let parts = here().filter(|share| !is_whole(share));
            copies.extend(parts.map(|share| (&node.remote, share.forwarded.clone())));
        }
        copies
    }
}
