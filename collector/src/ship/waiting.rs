//! Those who wait for the rows of one message to be durable.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::ShipError;

type Answer = oneshot::Sender<Result<(), ShipError>>;

/// Answers everybody once all messages that carry their rows have been answered.
///
/// Dropped before that, nobody gets a yes: the answer channels close.
#[derive(Debug)]
pub(crate) struct Waiting {
    accepted: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Messages still to be answered: more than one when a message had to be split.
    messages: usize,
    refused: Option<ShipError>,
    waiting: Vec<(OwnedSemaphorePermit, Answer)>,
}

impl Waiting {
    /// `accepted` is when the first of them handed over its batch.
    pub(crate) fn new(waiting: Vec<(OwnedSemaphorePermit, Answer)>, accepted: Duration) -> Self {
        Self { accepted, state: Mutex::new(State { messages: 1, refused: None, waiting }) }
    }

    pub(crate) fn accepted(&self) -> Duration {
        self.accepted
    }

    /// Counts one more message that has to be answered.
    pub(crate) fn also_waits(&self) {
        self.lock().messages += 1;
    }

    /// Notes the outcome of one message.
    pub(crate) fn answer(&self, outcome: Result<(), ShipError>) {
        let mut state = self.lock();
        if let Err(error) = outcome {
            state.refused.get_or_insert(error);
        }
        state.messages = state.messages.saturating_sub(1);
        if 0 < state.messages {
            return;
        }
        let outcome = state.refused.take().map_or(Ok(()), Err);
        for (permit, answer) in state.waiting.drain(..) {
            drop(permit);
            // Nobody may be interested any more; the rows are stored all the same.
            drop(answer.send(outcome.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
