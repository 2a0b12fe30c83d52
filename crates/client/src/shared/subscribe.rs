use std::sync::Arc;

use sinew_wire::{Control, Refusal};
use tokio::sync::oneshot;

use super::{Phase, Shared, State};
use crate::SubscribeError;
use crate::events::ConnectionEvent;
use crate::inbox::{Inbox, SubscribeOptions, Was};

/// A subscription's place at the node. Dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Registration {
    shared: Arc<Shared>,
    pub(crate) inbox: Arc<Inbox>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.unsubscribe(&self.inbox);
    }
}

impl Shared {
    /// Subscribes and waits for the node to confirm it. Dropped early, there is no subscription.
    pub(crate) async fn subscribe(self: &Arc<Self>, options: SubscribeOptions) -> Result<Registration, SubscribeError> {
        let (answer, answered) = oneshot::channel();
        let mut answer = Some(answer);
        let inbox = self.in_turn(|state| state.subscribe(&options, &mut answer)).await?;
        let registration = Registration { shared: Arc::clone(self), inbox };
        answered.await.unwrap_or(Err(SubscribeError::Closed))?;
        Ok(registration)
    }

    /// The inbox of this number; `None` when the application has dropped the subscription.
    pub(crate) fn inbox(&self, subscription: u32) -> Option<Arc<Inbox>> {
        self.state.lock().inboxes.get(&subscription).cloned()
    }

    /// The node confirms a subscription.
    pub(crate) fn subscribed(&self, inbox: &Inbox) {
        if inbox.confirm() == Was::Resuming {
            self.settle_resubscription();
        }
    }

    /// The node ends a subscription, or refuses it.
    pub(crate) fn unsubscribed(&self, inbox: &Inbox, refusal: Option<Refusal>) {
        let known = self.state.lock().inboxes.remove(&inbox.number()).is_some();
        if !known {
            // The application has dropped it while this was on its way.
            return;
        }
        let reason = refusal.unwrap_or_else(|| Refusal::Protocol("the node gave no reason".to_owned()));
        let was = inbox.end(SubscribeError::Refused(reason.clone()));
        if was != Was::Asked {
            self.emit(ConnectionEvent::SubscriptionLost { pattern: inbox.pattern().clone(), reason });
        }
        if was == Was::Resuming {
            self.settle_resubscription();
        }
    }

    fn unsubscribe(&self, inbox: &Inbox) {
        self.with(|state| {
            if state.inboxes.remove(&inbox.number()).is_some() && state.phase == Phase::Up {
                state.batch.control(&Control::Unsubscribe { subscription: inbox.number() });
            }
        });
        if inbox.abandon() == Was::Resuming {
            self.settle_resubscription();
        }
    }

    fn settle_resubscription(&self) {
        let subscriptions = {
            let mut state = self.state.lock();
            state.resubscribing = state.resubscribing.saturating_sub(1);
            (state.resubscribing == 0).then_some(state.resubscribed)
        };
        if let Some(subscriptions) = subscriptions {
            self.emit(ConnectionEvent::Resubscribed { subscriptions });
        }
    }
}

impl State {
    fn subscribe(
        &mut self,
        options: &SubscribeOptions,
        answer: &mut Option<oneshot::Sender<Result<(), SubscribeError>>>,
    ) -> Result<Option<Arc<Inbox>>, SubscribeError> {
        match self.phase {
            Phase::Closing | Phase::Closed => return Err(SubscribeError::Closed),
            _ if !self.has_room() => return Ok(None),
            _ => {}
        }
        let Some(answer) = answer.take() else { return Ok(None) };
        let number = self.free_number();
        let inbox = Arc::new(Inbox::new(number, options.clone(), answer));
        inbox.begin_link(self.link_window());
        self.inboxes.insert(number, Arc::clone(&inbox));
        self.batch.control(&Control::Subscribe(inbox.request()));
        Ok(Some(inbox))
    }

    /// A number that no subscription has.
    fn free_number(&mut self) -> u32 {
        loop {
            self.last_subscription = self.last_subscription.wrapping_add(1);
            if !self.inboxes.contains_key(&self.last_subscription) {
                return self.last_subscription;
            }
        }
    }
}
