use std::sync::Arc;

use sinew_wire::{Control, Limit, Refusal};

use super::{Phase, Shared, State};
use crate::WatchError;
use crate::services::{Backlog, Seen};

impl Shared {
    /// Begins a watch as soon as there is room. Dropped early, there is none.
    pub(crate) async fn watch(&self, prefix: String) -> Result<Arc<Backlog>, WatchError> {
        let backlog = Arc::new(Backlog::new(prefix));
        self.in_turn(|state| match state.phase {
            Phase::Closing | Phase::Closed => Err(WatchError::Closed),
            _ if !state.has_room() => Ok(None),
            _ => {
                let request = state.add_watch(&backlog);
                backlog.begin(request);
                Ok(Some(()))
            }
        })
        .await?;
        Ok(backlog)
    }

    /// Begins a watch anew that was outpaced.
    pub(crate) fn watch_again(&self, backlog: &Arc<Backlog>) {
        self.with(|state| {
            state.remove_watch(backlog.request());
            match state.phase {
                // On the next link it begins anyway; until then it waits under any number.
                Phase::Up | Phase::Down => {
                    let request = state.add_watch(backlog);
                    backlog.begin_again(request);
                }
                Phase::Closing | Phase::Closed => backlog.end(WatchError::Closed),
            }
        });
    }

    pub(crate) fn unwatch(&self, backlog: &Backlog) {
        self.with(|state| state.remove_watch(backlog.request()));
    }

    /// A watched service has changed.
    pub(crate) fn service_changed(&self, request: u32, name: String, instances: u32) {
        let backlog = self.state.lock().watches.get(&request).cloned();
        if let Some(backlog) = backlog
            && backlog.changed(name, instances) == Seen::TooMany
        {
            // What comes until the application looks is of no use.
            self.with(|state| state.remove_watch(request));
        }
    }

    /// The node ends a watch, or refuses it.
    pub(crate) fn watch_ended(&self, request: u32, refusal: Option<Refusal>) {
        let Some(backlog) = self.state.lock().watches.remove(&request) else { return };
        match refusal {
            // It could not keep up with what changes for a client that reads slowly.
            Some(Refusal::Unavailable(_) | Refusal::Limit { limit: Limit::ControlQueue, .. }) => backlog.outpaced(),
            Some(refusal) => backlog.end(WatchError::Refused(refusal)),
            None => backlog.end(WatchError::Refused(Refusal::Protocol("the node gave no reason".to_owned()))),
        }
    }
}

impl State {
    fn add_watch(&mut self, backlog: &Arc<Backlog>) -> u32 {
        let request = loop {
            self.last_watch = self.last_watch.wrapping_add(1);
            if !self.watches.contains_key(&self.last_watch) {
                break self.last_watch;
            }
        };
        self.watches.insert(request, Arc::clone(backlog));
        if self.phase == Phase::Up {
            self.batch.control(&Control::WatchServices { request, prefix: backlog.prefix().to_owned() });
        }
        request
    }

    fn remove_watch(&mut self, request: u32) {
        if self.watches.remove(&request).is_some() && self.phase == Phase::Up {
            self.batch.control(&Control::Unwatch { request });
        }
    }

    /// On a new link: all begin anew.
    pub(super) fn resume_watches(&mut self) {
        for (request, backlog) in &self.watches {
            self.batch.control(&Control::WatchServices { request: *request, prefix: backlog.prefix().to_owned() });
            backlog.begin_again(*request);
        }
    }
}
