//! Taking delivered messages in: decode, drop replays, append. CPU work, run on the decode pool.
//!
//! Always holds: messages are taken in order of offset, each once; work stops at a poison message,
//! which the caller sets aside before it goes on, so no offset passes a message that is in neither
//! place.

use std::collections::VecDeque;
use std::sync::Arc;

use queue::{Message, Offset};
use record::Limits;

use crate::cost::Costs;
use crate::dead_letter;
use crate::decode::{Decoded, Format, Poison, decode};
use crate::kind::{Kind, Weight};
use crate::label_pool::LabelPool;
use crate::open::Intake;
use crate::replay::Replays;
use crate::telemetry;

/// What a held batch takes in memory beside its columns and labels, measured with batches of one
/// to 500 rows.
const BATCH_OVERHEAD_BYTES: usize = 5_120;

/// Messages of one partition on their way in, with the state they change.
#[derive(Debug)]
pub(crate) struct Delivery<K: Kind> {
    pub(crate) messages: VecDeque<(Offset, Message)>,
    pub(crate) format: Arc<Format>,
    pub(crate) costs: Arc<Costs>,
    pub(crate) labels: Arc<LabelPool>,
    /// The time of rows that nothing else gives one.
    pub(crate) now_ns: i64,
    pub(crate) replays: Replays,
    pub(crate) rows: K::Rows,
    /// The next offset to take: everything below was taken or set aside.
    pub(crate) next: i64,
    /// What was taken so far.
    pub(crate) taken: Intake,
    /// Set when work stopped at a message that holds no batch.
    pub(crate) poison: Option<(Offset, Message, Poison)>,
}

impl<K: Kind> Delivery<K> {
    /// Takes messages until none is left or one is poison.
    pub(crate) fn take(mut self) -> Self {
        let limits = Limits::default();
        while let Some((offset, message)) = self.messages.pop_front() {
            if offset.0 < self.next {
                continue;
            }
            count_message::<K>(&message);
            match decode::<K>(&self.format, &message, &limits, self.now_ns) {
                Ok(decoded) => self.take_batch(offset, &message, decoded),
                Err(poison) => {
                    self.poison = Some((offset, message, poison));
                    break;
                }
            }
        }
        self
    }

    /// Passes over a message that was set aside.
    pub(crate) fn skip(&mut self, offset: Offset, message: &Message) {
        self.next = offset.next().0;
        self.taken.messages += 1;
        self.taken.see(message.time_ms);
    }

    fn take_batch(&mut self, offset: Offset, message: &Message, mut decoded: Decoded<K::Batch>) {
        let received = K::weigh(&decoded.batch);
        let labels = K::share_labels(&mut decoded.batch, &self.labels);
        let held = BATCH_OVERHEAD_BYTES + decoded.bytes + labels;
        // What was set aside was never taken, although its source went on since: its positions
        // must not make a replay of it.
        let batch = if message.header(dead_letter::REPLAYED).is_some() {
            decoded.batch
        } else {
            K::take(decoded.batch, &mut self.replays)
        };
        let taken = K::weigh(&batch);
        self.next = offset.next().0;
        self.taken.messages += 1;
        self.taken.rows += taken.rows;
        self.taken.raw_bytes += taken.raw_bytes;
        self.taken.memory_bytes += memory_bytes(held, received, taken);
        self.taken.see(message.time_ms);
        self.costs.received(K::NAME, &decoded.tenant, &K::shares(&batch));
        K::append(&self.rows, offset.0, &decoded.tenant, batch);
        count_rows::<K>(received, taken);
    }
}

/// About what the rows taken hold on to, as their share of the batch they came in.
fn memory_bytes(batch_bytes: usize, received: Weight, taken: Weight) -> u64 {
    if taken.rows == 0 {
        return 0;
    }
    let share = taken.rows as f64 / received.rows.max(1) as f64;
    (batch_bytes as f64 * share) as u64
}

fn count_message<K: Kind>(message: &Message) {
    metrics::counter!(telemetry::MESSAGES, "kind" => K::NAME).increment(1);
    let bytes = message.payload.len() as u64;
    metrics::counter!(telemetry::MESSAGE_BYTES, "kind" => K::NAME).increment(bytes);
}

fn count_rows<K: Kind>(received: Weight, taken: Weight) {
    let replayed = received.rows - taken.rows;
    metrics::counter!(telemetry::ROWS_RECEIVED, "kind" => K::NAME).increment(received.rows);
    metrics::counter!(telemetry::ROWS_REPLAYED, "kind" => K::NAME).increment(replayed);
    metrics::counter!(telemetry::ROWS_TAKEN, "kind" => K::NAME).increment(taken.rows);
    metrics::counter!(telemetry::RAW_BYTES_TAKEN, "kind" => K::NAME).increment(taken.raw_bytes);
}
