//! Faults a test orders from a memory queue.
//!
//! None of them breaks what a queue promises: they are what a promise must survive.

use std::time::Duration;

use crate::{Offset, TopicPartition};

use super::MemoryQueue;

impl MemoryQueue {
    /// Fails the next `count` submitted messages, each with everything behind it in its partition.
    pub fn fail_appends(&self, count: u32) {
        self.shared.lock().orders.fail_next = count;
    }

    /// Makes messages submitted from now on durable only `delay` after they were submitted.
    pub fn delay_appends(&self, delay: Duration) {
        self.shared.lock().orders.delay = delay;
    }

    /// Keeps submitted messages from becoming durable until [`MemoryQueue::release_appends`].
    pub fn hold_appends(&self) {
        self.shared.lock().orders.held = true;
    }

    /// Ends [`MemoryQueue::hold_appends`].
    pub fn release_appends(&self) {
        self.shared.lock().orders.held = false;
        self.shared.settle();
    }

    /// Cuts every producer and consumer off: acknowledgements wait, `next` fails.
    pub fn drop_connection(&self) {
        self.shared.lock().orders.disconnected = true;
        self.shared.hub.ring();
    }

    /// Ends [`MemoryQueue::drop_connection`]. Every consumer loses its partitions and is assigned
    /// anew, as after a session that ran out.
    pub fn restore_connection(&self) {
        self.shared.lock().orders.disconnected = false;
        self.shared.hub.groups().take_all();
        self.shared.settle();
        self.shared.hub.ring();
    }

    /// Removes what lies below `low`, as retention would.
    pub fn trim(&self, at: &TopicPartition, low: Offset) {
        if let Some(log) = self.shared.lock().log_mut(at) {
            log.trim(low);
        }
        self.shared.hub.ring();
    }

    /// Makes the messages from `first` to `last` unreadable, as a bad disk would.
    pub fn lose(&self, at: &TopicPartition, first: Offset, last: Offset) {
        if let Some(log) = self.shared.lock().log_mut(at) {
            log.lose(first, last);
        }
        self.shared.hub.ring();
    }
}
