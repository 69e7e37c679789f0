//! Rows as a plain Parquet file, for DuckDB, pandas, Spark and whatever comes after us.
//!
//! Unlike the columns of a segment it has whole lines and label sets, needs no other section to be
//! understood, and uses only what every Parquet reader knows.
//!
//! | Column | Type |
//! | --- | --- |
//! | `time` | timestamp, ns, UTC |
//! | `line` | string |
//! | `labels` | map of string to string |
//! | `attributes` | map of string to string |
//!
//! What always holds: the file has exactly the rows given, in their order. A file that was not
//! finished has no footer, and no reader takes it for a whole one.
//!
//! Bounds: one row group is in memory, [`ROW_GROUP_BYTES`] at most plus the batch being added.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, MapBuilder, MapFieldNames, RecordBatch, StringBuilder, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use record::LogBatch;

/// Encoded bytes after which a row group ends: large ones compress and scan better, and are held
/// in memory while they are written.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Why rows were not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file did not take the bytes, or an encoder failed.
    #[error("write Parquet")]
    Write(#[from] ParquetError),
    /// A batch does not fit Arrow's 2 GiB of text.
    #[error("lay rows out as columns")]
    Columns(#[from] ArrowError),
}

/// Writes batches of rows into one Parquet file.
#[derive(Debug)]
pub struct LogExport<W: Write + Send> {
    schema: Arc<Schema>,
    writer: ArrowWriter<W>,
    rows: u64,
}

impl<W: Write + Send> LogExport<W> {
    /// A file without rows yet.
    ///
    /// # Errors
    /// When `out` does not take its first bytes.
    pub fn new(out: W) -> Result<Self, ExportError> {
        let schema = schema();
        let properties = WriterProperties::builder()
            .set_created_by(concat!("millrace ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?;
        Ok(Self { schema, writer, rows: 0 })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// When they cannot be written; the file is of no use then.
    pub fn write(&mut self, batch: &LogBatch) -> Result<(), ExportError> {
        let times = TimestampNanosecondArray::from(batch.times().to_vec()).with_timezone("UTC");
        let mut lines = StringBuilder::new();
        let (mut labels, mut attributes) = (map(), map());
        for row in 0..batch.len() {
            lines.append_value(batch.line(row));
            append(&mut labels, batch.stream(row).iter())?;
            append(&mut attributes, batch.attributes(row))?;
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times),
            Arc::new(lines.finish()),
            Arc::new(labels.finish()),
            Arc::new(attributes.finish()),
        ];
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        self.rows += batch.len() as u64;
        if ROW_GROUP_BYTES < self.writer.in_progress_size() {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Ends the file. Returns how many rows it has.
    ///
    /// # Errors
    /// When the last bytes cannot be written.
    pub fn finish(mut self) -> Result<u64, ExportError> {
        self.writer.finish()?;
        Ok(self.rows)
    }
}

type TextMap = MapBuilder<StringBuilder, StringBuilder>;

fn names() -> MapFieldNames {
    MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    }
}

fn map() -> TextMap {
    MapBuilder::new(Some(names()), StringBuilder::new(), StringBuilder::new())
        .with_values_field(Field::new("value", DataType::Utf8, false))
}

fn append<'a>(
    map: &mut TextMap,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), ArrowError> {
    // Readers take a map's keys to be distinct; of attributes with one name the first counts.
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in pairs {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        map.keys().append_value(name);
        map.values().append_value(value);
    }
    map.append(true)
}

fn schema() -> Arc<Schema> {
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ]);
    let entries = Arc::new(Field::new("key_value", DataType::Struct(entry), false));
    let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("time", utc, false),
        Field::new("line", DataType::Utf8, false),
        Field::new("labels", DataType::Map(Arc::clone(&entries), false), false),
        Field::new("attributes", DataType::Map(entries, false), false),
    ]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{Array, MapArray, StringArray};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use record::{Labels, LogBatchBuilder, TimestampNanos};

    use super::*;

    fn pairs(map: &MapArray, row: usize) -> Vec<(String, String)> {
        let entry = map.value(row);
        let text = |at: usize| entry.column(at).as_any().downcast_ref::<StringArray>().unwrap();
        (0..entry.len())
            .map(|at| (text(0).value(at).to_owned(), text(1).value(at).to_owned()))
            .collect()
    }

    #[test]
    fn any_parquet_reader_finds_the_rows() {
        let mut export = LogExport::new(Vec::new()).unwrap();
        let stream = Labels::from_pairs([("app", "api"), ("namespace", "shop")]);
        for n in 0..3 {
            let mut builder = LogBatchBuilder::new();
            let attributes = [("k", "first"), ("level", "info"), ("k", "second")];
            let line = format!("größe {n}");
            builder.push(TimestampNanos(n), &stream, &line, &attributes, None);
            builder.push::<&str, &str>(TimestampNanos(n), &Labels::default(), "", &[], None);
            export.write(&builder.finish()).unwrap();
        }
        export.writer.finish().unwrap();
        assert_eq!(export.rows, 6);
        let file = Bytes::from(std::mem::take(export.writer.inner_mut()));

        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        let rows = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(rows.num_rows(), 6);
        let lines: &StringArray = rows.column(1).as_any().downcast_ref().unwrap();
        assert_eq!((lines.value(4), lines.value(5)), ("größe 2", ""));
        let map = |at: usize| rows.column(at).as_any().downcast_ref::<MapArray>().unwrap();
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs(map(2), 4), [owned("app", "api"), owned("namespace", "shop")]);
        assert_eq!(pairs(map(3), 4), [owned("k", "first"), owned("level", "info")]);
        assert_eq!(pairs(map(2), 5), []);
    }
}
