//! Query answers as JSON.
//!
//! Written by hand because the order of keys matters: Grafana's reader drops `encodingFlags` that
//! come after `result`, and `stats` that come before it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use record::Labels;
use serde::Serialize;
use serde_json::{Value, json};

use super::CATEGORIZE_LABELS;
use super::number::{format_seconds, format_value};
use crate::admission::{QueryContext, Stats};
use crate::exec::{Categories, Entry, MetricData, QueryData};

/// What a client asked to have in its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    /// Labels by category.
    pub(super) categories: bool,
    /// What the query did.
    pub(super) explain: bool,
}

/// The whole answer to a query, with its trailing newline where Loki has one.
pub(super) fn query_answer(data: &QueryData, wishes: Wishes, context: &QueryContext) -> Vec<u8> {
    let categories = wishes.categories;
    let mut out = Vec::new();
    out.extend_from_slice(br#"{"status":"success","#);
    let warnings = context.warnings();
    if !warnings.is_empty() {
        out.extend_from_slice(br#""warnings":"#);
        write_json(&mut out, &warnings);
        out.push(b',');
    }
    out.extend_from_slice(br#""data":{"resultType":"#);
    let entries = match data {
        QueryData::Log(log) => {
            out.extend_from_slice(br#""streams","#);
            if categories {
                out.extend_from_slice(br#""encodingFlags":"#);
                write_json(&mut out, &[CATEGORIZE_LABELS]);
                out.push(b',');
            }
            out.extend_from_slice(br#""result":"#);
            write_streams(&mut out, &log.entries, categories);
            log.entries.len()
        }
        QueryData::Metric(metric) => {
            write_metric(&mut out, metric);
            0
        }
    };
    out.extend_from_slice(br#","stats":"#);
    write_json(&mut out, &stats(context, entries));
    if wishes.explain {
        out.extend_from_slice(br#","explain":"#);
        write_json(&mut out, &context.explained().json(context.elapsed()));
    }
    out.extend_from_slice(b"}}\n");
    out
}

/// Content type of the answer, which differs by what is in it.
pub(super) fn content_type(data: &QueryData) -> &'static str {
    match data {
        QueryData::Log(_) => "application/json; charset=UTF-8",
        QueryData::Metric(_) => "application/json",
    }
}

fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *out, value).expect("strings and maps of strings are always JSON");
}

/// The labels an entry is grouped by, and those its row carries.
fn split(labels: &Categories, categories: bool) -> Labels {
    if categories { labels.stream.clone() } else { labels.merged() }
}

fn write_streams(out: &mut Vec<u8>, entries: &[Entry], categories: bool) {
    // Sorted by label string, as the answer promises; entries keep query order.
    let mut streams: BTreeMap<String, (Labels, Vec<&Entry>)> = BTreeMap::new();
    let mut last: Option<(Labels, String)> = None;
    for entry in entries {
        let labels = split(&entry.labels, categories);
        let name = match &last {
            Some((known, name)) if *known == labels => name.clone(),
            _ => labels.to_string(),
        };
        last = Some((labels.clone(), name.clone()));
        streams.entry(name).or_insert_with(|| (labels, Vec::new())).1.push(entry);
    }
    out.push(b'[');
    for (number, (labels, entries)) in streams.values().enumerate() {
        comma(out, number);
        out.extend_from_slice(br#"{"stream":"#);
        write_json(out, labels);
        out.extend_from_slice(br#","values":["#);
        for (number, entry) in entries.iter().enumerate() {
            comma(out, number);
            write_entry(out, entry, categories);
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry, categories: bool) {
    out.extend_from_slice(format!("[\"{}\",", entry.time_ns).as_bytes());
    write_json(out, &entry.line);
    if categories {
        out.extend_from_slice(b",{");
        let kinds =
            [("structuredMetadata", &entry.labels.metadata), ("parsed", &entry.labels.parsed)];
        let present = kinds.into_iter().filter(|(_, labels)| !labels.is_empty());
        for (number, (name, labels)) in present.enumerate() {
            comma(out, number);
            write_json(out, &name);
            out.push(b':');
            write_json(out, labels);
        }
        out.push(b'}');
    }
    out.push(b']');
}

fn write_metric(out: &mut Vec<u8>, metric: &MetricData) {
    match metric {
        MetricData::Matrix { grid, series } => {
            out.extend_from_slice(br#""matrix","result":["#);
            for (number, series) in series.iter().enumerate() {
                comma(out, number);
                out.extend_from_slice(br#"{"metric":"#);
                write_json(out, &series.labels);
                out.extend_from_slice(br#","values":["#);
                for (number, point) in series.points.iter().enumerate() {
                    comma(out, number);
                    write_sample(out, grid.time_ns(point.step), point.value);
                }
                out.extend_from_slice(b"]}");
            }
            out.push(b']');
        }
        MetricData::Vector { time_ns, samples } => {
            out.extend_from_slice(br#""vector","result":["#);
            for (number, (labels, value)) in samples.iter().enumerate() {
                comma(out, number);
                out.extend_from_slice(br#"{"metric":"#);
                write_json(out, labels);
                out.extend_from_slice(br#","value":"#);
                write_sample(out, *time_ns, *value);
                out.push(b'}');
            }
            out.push(b']');
        }
        MetricData::Scalar { time_ns, value } => {
            out.extend_from_slice(br#""scalar","result":"#);
            write_sample(out, *time_ns, *value);
        }
    }
}

fn write_sample(out: &mut Vec<u8>, time_ns: i64, value: f64) {
    out.extend_from_slice(
        format!("[{},\"{}\"]", format_seconds(time_ns), format_value(value)).as_bytes(),
    );
}

fn comma(out: &mut Vec<u8>, number: usize) {
    if number != 0 {
        out.push(b',');
    }
}

/// Figures about the query. What this engine has no counterpart of is 0, for clients that print it.
pub(super) fn stats(context: &QueryContext, entries: usize) -> Value {
    let stats = context.stats();
    let seconds = context.elapsed().as_secs_f64();
    let bytes = Stats::get(&stats.line_bytes);
    let rows = context.budget().rows();
    let per_second = |count: u64| if seconds == 0.0 { 0 } else { (count as f64 / seconds) as u64 };
    let chunk = json!({
        "headChunkBytes": 0, "headChunkLines": 0, "decompressedBytes": bytes,
        "decompressedLines": rows, "compressedBytes": context.budget().bytes(),
        "totalDuplicates": 0,
    });
    let empty_chunk = json!({
        "headChunkBytes": 0, "headChunkLines": 0, "decompressedBytes": 0,
        "decompressedLines": 0, "compressedBytes": 0, "totalDuplicates": 0,
    });
    let store = |chunk: &Value| {
        json!({
            "totalChunksRef": 0, "totalChunksDownloaded": 0, "chunksDownloadTime": 0.0,
            "chunk": chunk,
        })
    };
    let cache = json!({
        "entriesFound": 0, "entriesRequested": 0, "entriesStored": 0, "bytesReceived": 0,
        "bytesSent": 0, "requests": 0, "downloadTime": 0.0,
    });
    json!({
        "summary": {
            "bytesProcessedPerSecond": per_second(bytes),
            "linesProcessedPerSecond": per_second(rows),
            "totalBytesProcessed": bytes,
            "totalLinesProcessed": rows,
            "execTime": seconds,
            "queueTime": stats.queue_nanos.load(Ordering::Relaxed) as f64 / 1e9,
            "subqueries": 0,
            "totalEntriesReturned": entries,
            "splits": Stats::get(&stats.segments),
            "shards": 0,
            "totalPostFilterLines": Stats::get(&stats.rows_matched),
            "totalStructuredMetadataBytesProcessed": 0,
        },
        "querier": { "store": store(&chunk) },
        "ingester": {
            "totalReached": Stats::get(&stats.indexers), "totalChunksMatched": 0,
            "totalBatches": 0, "totalLinesSent": 0, "store": store(&empty_chunk),
        },
        "cache": {
            "chunk": cache, "index": cache, "result": cache, "statsResult": cache,
            "volumeResult": cache, "seriesResult": cache, "labelResult": cache,
            "instantMetricResult": cache,
        },
        "index": { "totalChunks": 0, "postFilterChunks": 0, "shardsDuration": 0 },
    })
}
