//! What both kinds of batch share: Arrow IPC in and out, and the dictionary of label sets.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, RecordBatch, StringArray, UInt32Array};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, UInt32Type};
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use crate::error::BatchError;
use crate::labels::Labels;
use crate::limits::Limits;

/// Version of `docs/formats/batch.md` that this build writes, and the newest it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Writes one record batch as a self-contained Arrow IPC stream.
pub(crate) fn encode(batch: &RecordBatch) -> Result<Bytes, BatchError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner()?.into())
}

/// Reads a stream that must hold exactly one record batch with the columns of `schema`, which lie in
/// the payload from then on.
pub(crate) fn decode(
    payload: &Bytes,
    schema: &Schema,
    limits: &Limits,
) -> Result<RecordBatch, BatchError> {
    BatchError::check("batch_bytes_max", payload.len(), limits.batch_bytes_max)?;
    let batch = contained(|| read_stream(payload))?;
    BatchError::check("rows_max", batch.num_rows(), limits.rows_max)?;
    let found = batch.schema();
    for (at, field) in schema.fields().iter().enumerate() {
        let same = found.fields().get(at).is_some_and(|f| {
            f.name() == field.name() && f.data_type().equals_datatype(field.data_type())
        });
        if !same {
            let name = field.name();
            return Err(shape(&format!("column {at} should be `{name}` of {}", field.data_type())));
        }
    }
    Ok(batch)
}

/// Reads with the decoder that is fed bytes: it never allocates more than it was given, and
/// validates every array it makes.
fn read_stream(payload: &Bytes) -> Result<RecordBatch, BatchError> {
    let mut rest = Buffer::from(payload.clone());
    let mut decoder = StreamDecoder::new();
    let batch = decoder.decode(&mut rest)?.ok_or_else(|| shape("holds no record batch"))?;
    if decoder.decode(&mut rest)?.is_some() {
        return Err(shape("holds more than one record batch"));
    }
    decoder.finish()?;
    Ok(batch)
}

/// Runs Arrow on untrusted bytes. Its reader panics on some damaged offsets (found by the
/// property test in `log.rs`), which must not take the process with it.
fn contained<T>(read: impl FnOnce() -> Result<T, BatchError>) -> Result<T, BatchError> {
    // Unwind safe: `read` sees nothing that outlives it but the immutable payload.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(shape("its offsets point outside of it")))
}

pub(crate) fn shape(problem: &str) -> BatchError {
    BatchError::Shape(problem.to_owned())
}

/// Column `at` as its concrete type, which [`decode`] has checked.
pub(crate) fn column<T: 'static>(batch: &RecordBatch, at: usize) -> &T {
    batch.column(at).as_any().downcast_ref().expect("decode and build check the column's type")
}

/// A dictionary column of label sets in canonical JSON.
pub(crate) fn label_column(index: Vec<u32>, sets: &[Labels]) -> Result<ArrayRef, BatchError> {
    let values = StringArray::from_iter_values(sets.iter().map(Labels::to_json));
    let keys = UInt32Array::from(index);
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, Arc::new(values))?))
}

/// The label sets of a dictionary column, each index in range and none null.
pub(crate) fn read_labels(
    batch: &RecordBatch,
    at: usize,
    limits: &Limits,
) -> Result<(Vec<u32>, Vec<Labels>), BatchError> {
    let column: &DictionaryArray<UInt32Type> = column(batch, at);
    let values: &StringArray = column
        .values()
        .as_any()
        .downcast_ref()
        .ok_or_else(|| shape("label sets are not strings"))?;
    if column.keys().null_count() != 0 || values.null_count() != 0 {
        return Err(shape("a row has no label set"));
    }
    BatchError::check("streams_max", values.len(), limits.streams_max)?;
    let mut sets = Vec::with_capacity(values.len());
    for text in values.iter().flatten() {
        let labels = Labels::from_json(text)?;
        check_labels(&labels, limits)?;
        sets.push(labels);
    }
    Ok((column.keys().values().to_vec(), sets))
}

fn check_labels(labels: &Labels, limits: &Limits) -> Result<(), BatchError> {
    BatchError::check("labels_max", labels.len(), limits.labels_max)?;
    for (name, value) in labels.iter() {
        BatchError::check("label_name_bytes_max", name.len(), limits.label_name_bytes_max)?;
        BatchError::check("label_value_bytes_max", value.len(), limits.label_value_bytes_max)?;
    }
    Ok(())
}
