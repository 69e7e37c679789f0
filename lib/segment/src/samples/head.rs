//! Samples in memory, searchable while they are too few for a segment.
//!
//! Always holds: times of a series strictly ascend; of two samples of one series and time the
//! first stays. On a crash everything here is gone and read again from the queue, whose offsets
//! have not moved.
//!
//! Sixteen bytes a sample and a few hundred a series; its owner watches [`Head::bytes`] and cuts.

use std::collections::{BTreeMap, HashMap};

use record::{Labels, MatchOp, Matcher, MetricMetadata, SampleBatch};

use super::{SamplePlan, SeriesData, all_match};

const NAME: &str = "__name__";

/// Rough memory of one sample and of one series without its labels' text.
const SAMPLE_BYTES: usize = 16;
const SERIES_BYTES: usize = 300;

/// Samples of many series in memory.
#[derive(Clone, Debug, Default)]
pub struct Head {
    numbers: HashMap<Labels, u32>,
    series: Vec<Column>,
    by_name: BTreeMap<Box<str>, Vec<u32>>,
    metadata: BTreeMap<String, MetricMetadata>,
    samples: usize,
    label_bytes: usize,
}

/// What became of appended samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub added: u64,
    /// Samples there already, with the same value: replays.
    pub repeated: u64,
    /// Samples whose series and time had another value, which stays.
    pub conflicting: u64,
}

/// One series' samples.
#[derive(Clone, Debug)]
struct Column {
    labels: Labels,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Head {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a batch; batches may come in any order and repeat.
    pub fn append(&mut self, batch: &SampleBatch) -> Appended {
        let numbers: Vec<u32> =
            batch.series().iter().map(|labels| self.number_of(labels)).collect();
        let mut appended = Appended::default();
        let samples = batch.series_index().iter().zip(batch.times()).zip(batch.values());
        for ((series, time), value) in samples {
            let column = &mut self.series[numbers[*series as usize] as usize];
            column.insert(*time, *value, &mut appended);
        }
        self.samples += appended.added as usize;
        for metadata in batch.metadata() {
            self.metadata.insert(metadata.family.clone(), metadata.clone());
        }
        appended
    }

    /// Takes in samples of one series; `times` and `values` are of one length.
    pub fn insert(&mut self, data: &SeriesData) -> Appended {
        let number = self.number_of(&data.labels);
        let mut appended = Appended::default();
        for (time, value) in data.times.iter().zip(&data.values) {
            self.series[number as usize].insert(*time, *value, &mut appended);
        }
        self.samples += appended.added as usize;
        appended
    }

    /// Takes in descriptions of metric families; of one family the latest stays.
    pub fn insert_metadata(&mut self, metadata: &[MetricMetadata]) {
        for one in metadata {
            self.metadata.insert(one.family.clone(), one.clone());
        }
    }

    /// Everything held so far, leaving this empty: what a cut writes as a segment.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The samples a plan asks for; series without one are left out. The tenant is not looked at:
    /// a head belongs to one.
    pub fn scan(&self, plan: &SamplePlan) -> Vec<SeriesData> {
        let mut found = Vec::new();
        for column in self.matching(&plan.matchers) {
            let (from, to) = column.between(plan.start_ms, plan.end_ms);
            if from < to {
                let (times, values) = (&column.times[from..to], &column.values[from..to]);
                let labels = column.labels.clone();
                found.push(SeriesData { labels, times: times.to_vec(), values: values.to_vec() });
            }
        }
        found
    }

    /// Series with a sample in `start_ms` to `end_ms`, both inclusive, that satisfy all matchers.
    pub fn series(&self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Vec<Labels> {
        let inside = |column: &&Column| {
            let (from, to) = column.between(start_ms, end_ms);
            from < to
        };
        self.matching(matchers).filter(inside).map(|column| column.labels.clone()).collect()
    }

    /// Descriptions of metric families, sorted by family.
    pub fn metadata(&self) -> Vec<MetricMetadata> {
        self.metadata.values().cloned().collect()
    }

    /// All series with all their samples, sorted as in a segment: by metric name, then labels.
    pub(super) fn into_sorted(mut self) -> Vec<SeriesData> {
        self.series.retain(|column| !column.times.is_empty());
        self.series.sort_by(|a, b| {
            name_of(&a.labels).cmp(name_of(&b.labels)).then_with(|| a.labels.cmp(&b.labels))
        });
        let sorted = self.series.into_iter();
        sorted
            .map(|Column { labels, times, values }| SeriesData { labels, times, values })
            .collect()
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples
    }

    /// Whether there is no sample. There may still be metadata.
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Number of series seen.
    pub fn series_len(&self) -> usize {
        self.series.len()
    }

    /// About how much memory this takes.
    pub fn bytes(&self) -> usize {
        self.samples * SAMPLE_BYTES + self.series.len() * SERIES_BYTES + 2 * self.label_bytes
    }

    fn number_of(&mut self, labels: &Labels) -> u32 {
        if let Some(number) = self.numbers.get(labels) {
            return *number;
        }
        let number = self.series.len() as u32;
        let column = Column { labels: labels.clone(), times: Vec::new(), values: Vec::new() };
        self.series.push(column);
        self.numbers.insert(labels.clone(), number);
        self.by_name.entry(name_of(labels).into()).or_default().push(number);
        self.label_bytes +=
            labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        number
    }

    /// Series that satisfy all matchers; with a matcher `__name__="..."` only those are tested.
    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = &'a Column> {
        let is_name = |matcher: &&Matcher| matcher.name() == NAME && matcher.op() == MatchOp::Eq;
        let named = matchers
            .iter()
            .find(is_name)
            .map(|matcher| self.by_name.get(matcher.value()).map_or(&[][..], Vec::as_slice));
        let all = if named.is_some() { 0..0 } else { 0..self.series.len() as u32 };
        named
            .unwrap_or_default()
            .iter()
            .copied()
            .chain(all)
            .map(|number| &self.series[number as usize])
            .filter(|column| all_match(matchers, &column.labels))
    }
}

impl Column {
    fn insert(&mut self, time: i64, value: f64, appended: &mut Appended) {
        if self.times.last().is_none_or(|last| *last < time) {
            self.times.push(time);
            self.values.push(value);
            appended.added += 1;
            return;
        }
        match self.times.binary_search(&time) {
            Ok(at) if self.values[at].to_bits() == value.to_bits() => appended.repeated += 1,
            Ok(_) => appended.conflicting += 1,
            Err(at) => {
                self.times.insert(at, time);
                self.values.insert(at, value);
                appended.added += 1;
            }
        }
    }

    /// First position at or after `start_ms`, first after `end_ms`.
    fn between(&self, start_ms: i64, end_ms: i64) -> (usize, usize) {
        let from = self.times.partition_point(|time| *time < start_ms);
        let to = self.times.partition_point(|time| *time <= end_ms);
        (from, to)
    }
}

fn name_of(labels: &Labels) -> &str {
    labels.get(NAME).unwrap_or_default()
}
