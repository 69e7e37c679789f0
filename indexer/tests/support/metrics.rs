//! What a test's own thread exports as metrics: the last and the highest value of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, LocalRecorderGuard, Metadata,
    Recorder, SharedString, Unit,
};

/// Values by `name{label=value}`.
#[derive(Clone, Default)]
pub struct Seen {
    values: Arc<Mutex<BTreeMap<String, Value>>>,
}

#[derive(Clone, Copy, Default)]
struct Value {
    last: f64,
    max: f64,
}

impl Seen {
    /// Watches this thread until the guard is dropped.
    pub fn watch(&self) -> LocalRecorderGuard<'_> {
        ::metrics::set_default_local_recorder(self)
    }

    pub fn last(&self, name: &str) -> f64 {
        self.value(name).last
    }

    pub fn max(&self, name: &str) -> f64 {
        self.value(name).max
    }

    fn value(&self, name: &str) -> Value {
        self.values.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Handle::new(self, key)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Handle::new(self, key)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// One metric.
struct Handle {
    seen: Seen,
    name: String,
}

impl Handle {
    fn new(seen: &Seen, key: &Key) -> Self {
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Self { seen: seen.clone(), name }
    }

    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut values = self.seen.values.lock().unwrap();
        let value = values.entry(self.name.clone()).or_default();
        value.last = change(value.last);
        value.max = value.max.max(value.last);
    }
}

impl CounterFn for Handle {
    fn increment(&self, by: u64) {
        self.change(|value| value + by as f64);
    }

    fn absolute(&self, to: u64) {
        self.change(|_| to as f64);
    }
}

impl GaugeFn for Handle {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }

    fn set(&self, to: f64) {
        self.change(|_| to);
    }
}
