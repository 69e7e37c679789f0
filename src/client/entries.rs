//! Log entries as a server answers them.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use serde_json::Value;

/// One log line with its labels and structured metadata.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entry {
    pub(super) unix_nanos: i64,
    pub(super) labels: BTreeMap<String, String>,
    /// Structured metadata and parsed labels.
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) line: String,
}

/// Reads the `result` of a `streams` answer.
pub(super) fn read(result: &Value) -> anyhow::Result<Vec<Entry>> {
    let streams = result.as_array().context("read the answer: `result` is no list")?;
    let mut entries = Vec::new();
    for stream in streams {
        let labels = pairs(&stream["stream"]);
        let rows = stream["values"].as_array().map(Vec::as_slice).unwrap_or_default();
        for row in rows {
            entries.push(entry(row, &labels)?);
        }
    }
    Ok(entries)
}

fn entry(row: &Value, labels: &BTreeMap<String, String>) -> anyhow::Result<Entry> {
    let time = row[0].as_str().and_then(|time| time.parse().ok());
    let (Some(unix_nanos), Some(line)) = (time, row[1].as_str()) else {
        return Err(anyhow!("read the answer: `{row}` is no entry"));
    };
    let mut metadata = pairs(&row[2]["structuredMetadata"]);
    metadata.extend(pairs(&row[2]["parsed"]));
    Ok(Entry { unix_nanos, labels: labels.clone(), metadata, line: line.to_owned() })
}

/// Sorts by time; entries of one stream with equal times keep their order.
///
/// The server sends newest first, so each stream is turned around before.
pub(super) fn sort(entries: &mut [Entry]) {
    entries.reverse();
    entries.sort_by_key(|entry| entry.unix_nanos);
}

/// Reads an object of texts; anything else is empty.
pub(super) fn pairs(value: &Value) -> BTreeMap<String, String> {
    let Some(fields) = value.as_object() else {
        return BTreeMap::new();
    };
    fields
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use serde_json::json;

    #[test]
    fn entries_of_all_streams_come_in_the_order_of_time() {
        let result = json!([
            {"stream": {"a": "1"}, "values": [
                ["20", "second of equal", {}], ["20", "first of equal", {}], ["5", "oldest", {}]]},
            {"stream": {"a": "2"}, "values": [
                ["10", "between", {"structuredMetadata": {"t": "x"}, "parsed": {"p": "y"}}]]},
        ]);
        let mut entries = read(&result).unwrap();
        sort(&mut entries);
        let lines: Vec<&str> = entries.iter().map(|entry| entry.line.as_str()).collect();
        assert_eq!(lines, ["oldest", "between", "first of equal", "second of equal"]);
        assert_eq!(entries[1].metadata.len(), 2);
    }

    #[test]
    fn rows_without_metadata_are_read_too_and_nonsense_is_refused() {
        let result = json!([{"stream": {}, "values": [["1", "x"]]}]);
        assert_eq!(read(&result).unwrap().len(), 1);
        for nonsense in [json!({}), json!([{"values": [["x", "y"]]}]), json!([{"values": [7]}])] {
            assert!(read(&nonsense).is_err(), "{nonsense}");
        }
    }
}
