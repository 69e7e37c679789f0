//! The samples batch: series, millisecond times, and values kept to the bit.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::batch::{self, column, label_column, read_labels, shape};
use crate::error::BatchError;
use crate::labels::Labels;
use crate::limits::Limits;
use crate::time::TimestampMillis;

const SERIES: usize = 0;
const TIME: usize = 1;
const VALUE: usize = 2;

/// Key of the schema's metadata under which [`MetricMetadata`] travels, as a JSON array.
const METADATA_KEY: &str = "millrace.metadata";

/// Entries of metric metadata in one batch; a scrape has a few hundred families.
const METADATA_MAX: usize = 100_000;

/// What a metric family is, as its exposition says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MetricMetadata {
    /// Family name, without `_total`, `_bucket` and the like.
    pub family: String,
    /// `counter`, `gauge`, `histogram`, `summary`, `info`, `stateset`, `unknown`.
    pub kind: String,
    /// Help text, may be empty.
    pub help: String,
    /// Unit, may be empty.
    pub unit: String,
}

/// Samples of series. Cloning is cheap. Values keep every bit, also of a NaN.
#[derive(Clone, Debug)]
pub struct SampleBatch {
    rows: RecordBatch,
    series_index: Arc<[u32]>,
    series: Arc<[Labels]>,
    metadata: Arc<[MetricMetadata]>,
}

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let labels = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("series", labels, false),
        Field::new("time", time, false),
        Field::new("value", DataType::Float64, false),
    ]))
});

impl SampleBatch {
    /// The distinct series, `__name__` among their labels.
    pub fn series(&self) -> &[Labels] {
        &self.series
    }

    /// Replaces [`SampleBatch::series`] by equal ones, so that batches can have them in common.
    pub fn replace_series(&mut self, series: Vec<Labels>) {
        debug_assert_eq!(*self.series, *series, "samples stay in their series");
        self.series = series.into();
    }

    /// Which of [`SampleBatch::series`] each sample belongs to.
    pub fn series_index(&self) -> &[u32] {
        &self.series_index
    }

    /// Time of each sample, ms since the Unix epoch.
    pub fn times(&self) -> &[i64] {
        column::<TimestampMillisecondArray>(&self.rows, TIME).values()
    }

    /// Value of each sample.
    pub fn values(&self) -> &[f64] {
        column::<Float64Array>(&self.rows, VALUE).values()
    }

    /// Type, help and unit of metric families.
    pub fn metadata(&self) -> &[MetricMetadata] {
        &self.metadata
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is no sample. There may still be metadata.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message payload: an Arrow IPC stream of `docs/formats/batch.md`.
    ///
    /// # Errors
    /// When Arrow cannot write it; does not happen for batches this crate built.
    pub fn encode(&self) -> Result<Bytes, BatchError> {
        batch::encode(&self.rows)
    }

    /// Reads a payload, checking every column. The batch lies in the payload, which is kept as long.
    ///
    /// # Errors
    /// When the bytes are damaged, of another shape, or over a limit.
    pub fn decode(payload: &Bytes, limits: &Limits) -> Result<Self, BatchError> {
        let rows = batch::decode(payload, &SCHEMA, limits)?;
        if rows.column(TIME).null_count() + rows.column(VALUE).null_count() != 0 {
            return Err(shape("a sample has a null"));
        }
        let (series_index, series) = read_labels(&rows, SERIES, limits)?;
        let metadata = match rows.schema().metadata().get(METADATA_KEY) {
            Some(text) => read_metadata(text)?,
            None => Vec::new(),
        };
        Ok(Self {
            rows,
            series_index: series_index.into(),
            series: series.into(),
            metadata: metadata.into(),
        })
    }
}

fn read_metadata(text: &str) -> Result<Vec<MetricMetadata>, BatchError> {
    let entries: Vec<MetricMetadata> =
        serde_json::from_str(text).map_err(|error| shape(&format!("metadata: {error}")))?;
    BatchError::check("metadata_max", entries.len(), METADATA_MAX)?;
    Ok(entries)
}

/// Collects samples into a [`SampleBatch`].
#[derive(Debug, Default)]
pub struct SampleBatchBuilder {
    series_index: Vec<u32>,
    series: Vec<Labels>,
    series_ids: HashMap<Labels, u32>,
    times: Vec<i64>,
    values: Vec<f64>,
    metadata: Vec<MetricMetadata>,
    bytes: usize,
}

impl SampleBatchBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sample of `series`, whose labels include `__name__`.
    pub fn push(&mut self, time: TimestampMillis, series: &Labels, value: f64) {
        let id = match self.series_ids.get(series) {
            Some(id) => *id,
            None => self.add_series(series),
        };
        self.series_index.push(id);
        self.times.push(time.0);
        self.values.push(value);
        self.bytes += 4 + 8 + 8;
    }

    /// Says what a metric family is.
    pub fn push_metadata(&mut self, metadata: MetricMetadata) {
        self.bytes += metadata.family.len() + metadata.help.len() + metadata.unit.len() + 48;
        self.metadata.push(metadata);
    }

    /// Samples so far.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// About what the batch takes in memory and, uncompressed, on the queue.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch of all samples so far; the builder is empty again.
    pub fn finish(&mut self) -> SampleBatch {
        let done = std::mem::take(self);
        let series = label_column(done.series_index.clone(), &done.series)
            .expect("series indexes are in range");
        let columns: Vec<ArrayRef> = vec![
            series,
            Arc::new(TimestampMillisecondArray::from(done.times).with_timezone("UTC")),
            Arc::new(Float64Array::from(done.values)),
        ];
        let mut schema = SCHEMA.as_ref().clone();
        if !done.metadata.is_empty() {
            let text = serde_json::to_string(&done.metadata).expect("plain strings");
            schema.metadata.insert(METADATA_KEY.to_owned(), text);
        }
        let rows = RecordBatch::try_new(Arc::new(schema), columns)
            .expect("the columns are those of the schema");
        SampleBatch {
            rows,
            series_index: done.series_index.into(),
            series: done.series.into(),
            metadata: done.metadata.into(),
        }
    }

    fn add_series(&mut self, series: &Labels) -> u32 {
        let id = u32::try_from(self.series.len()).expect("a batch holds far fewer series");
        self.bytes += series.iter().map(|(n, v)| n.len() + v.len() + 6).sum::<usize>();
        self.series.push(series.clone());
        self.series_ids.insert(series.clone(), id);
        id
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn values_survive_to_the_bit_and_metadata_travels_along() {
        // Prometheus' staleness marker and ordinary NaN differ in their bits only.
        let values = [f64::from_bits(0x7ff0_0000_0000_0002), f64::NAN, -0.0, 1.5, f64::INFINITY];
        let up = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let down = Labels::from_pairs([("__name__", "down")]);
        let family = MetricMetadata {
            family: "up".to_owned(),
            kind: "gauge".to_owned(),
            help: "is it \"up\"?".to_owned(),
            unit: String::new(),
        };
        let mut builder = SampleBatchBuilder::new();
        for (i, value) in values.into_iter().enumerate() {
            let series = if i % 2 == 0 { &up } else { &down };
            builder.push(TimestampMillis(1_000 + i as i64), series, value);
        }
        builder.push_metadata(family.clone());
        let bytes = builder.finish().encode().unwrap();
        assert!(builder.is_empty());

        let batch = SampleBatch::decode(&bytes, &Limits::default()).unwrap();
        assert_eq!(batch.series(), [up, down]);
        assert_eq!(batch.series_index(), [0, 1, 0, 1, 0]);
        assert_eq!(batch.times(), [1000, 1001, 1002, 1003, 1004]);
        let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(batch.values()), bits(&values));
        assert_eq!(batch.metadata(), [family]);
    }

    #[test]
    fn a_logs_batch_is_not_a_samples_batch() {
        let logs = crate::LogBatchBuilder::new().finish().encode().unwrap();
        let error = SampleBatch::decode(&logs, &Limits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "batch has the wrong shape: column 0 should be `series` of Dictionary(UInt32, Utf8)"
        );
    }
}
