//! From lines to rows: grammar, joining, text, level, attributes.
//!
//! What always holds: every line ends up in a row or in an open record; none is dropped. A line
//! of no grammar is kept raw with `parse_error`. Rows of one source leave in the order of their
//! ends, which is what indexers tell replays by.

use std::time::Duration;

use record::{DETECTED_LEVEL, SourceId, level};

use super::counts::Counts;
use super::discover::Origin;
use super::ledger::Ledger;
use super::lines::Line;
use super::read::Sources;
use super::sink::{BatchId, Row, Sink};
use super::streams::{LogStreams, StreamLabels};
use super::track::{Positions, Track};
use crate::parse::partial::{Extent, FileSerial, Joined, Joiner};
use crate::parse::plain::ReadTimes;
use crate::parse::{Grammar, Piece, Stream, container_line, text};
use crate::ship::{ORIGINAL_BYTES, TRUNCATED};

/// Attribute of a row whose line fits no grammar; its value names the grammar.
const PARSE_ERROR: &str = "parse_error";

/// Attribute of a row whose last piece never came.
const PARTIAL: &str = "partial";

/// Attribute with the pod's id.
const POD_UID: &str = "pod_uid";

/// A record of several files went into a batch: the ledgers of the earlier ones must know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Continued {
    pub(super) file: FileSerial,
    pub(super) stream: Stream,
    pub(super) batch: BatchId,
}

/// Everything rows of one log are made with.
#[derive(Debug)]
pub(super) struct Emitter<'a> {
    pub(super) streams: &'a LogStreams,
    pub(super) origin: &'a Origin,
    pub(super) times: &'a mut ReadTimes,
    /// Time of the log's last container line, for lines that have none.
    pub(super) last_time: &'a mut Option<i64>,
    pub(super) sink: &'a mut Sink,
    pub(super) counts: &'a mut Counts,
    pub(super) continued: &'a mut Vec<Continued>,
    pub(super) record_bytes_max: usize,
    /// Monotonic clock.
    pub(super) now: Duration,
    /// Wall clock in nanoseconds since 1970.
    pub(super) wall: i64,
}

/// The file that lines come from.
#[derive(Debug)]
pub(super) struct Origins<'a> {
    pub(super) serial: FileSerial,
    pub(super) sources: Sources,
    /// What was acknowledged before it was opened: lines up to there are not taken again.
    pub(super) resumed: Positions,
    pub(super) joiner: &'a mut Joiner,
    pub(super) ledger: &'a mut Ledger,
}

impl Emitter<'_> {
    /// Takes one line of a file.
    pub(super) fn line(&mut self, line: Line<'_>, from: &mut Origins<'_>) {
        if !matches!(self.origin, Origin::Pod(_)) {
            let time = self.times.next(self.wall);
            self.raw(line, time, None, from);
            return;
        }
        match container_line(line.bytes) {
            Ok(piece) => self.piece(line, piece, from),
            Err(grammar) => {
                self.counts.parse_error(grammar);
                let time = self.last_time.unwrap_or(self.wall);
                self.raw(line, time, Some(grammar), from);
            }
        }
    }

    /// Sends a record that was given up on, as far as it came.
    pub(super) fn given_up(
        &mut self,
        record: &Joined<'_>,
        ledger: &mut Ledger,
        serial: FileSerial,
    ) {
        self.record(record, serial, ledger);
    }

    fn piece(&mut self, line: Line<'_>, piece: Piece<'_>, from: &mut Origins<'_>) {
        *self.last_time = Some(piece.time);
        if line.end <= from.resumed.get(Track::Output(piece.stream)) {
            return;
        }
        let source = from.sources.outputs[piece.stream.index()];
        let extent = Extent { source, start: line.start, end: line.end };
        let unread = line.length - line.bytes.len() as u64;
        if let Some(record) = from.joiner.add(piece, unread, extent, self.now) {
            self.record(&record, from.serial, from.ledger);
        }
    }

    fn record(&mut self, record: &Joined<'_>, serial: FileSerial, ledger: &mut Ledger) {
        let made = Made {
            stream: self.streams.output(record.stream),
            time: record.time,
            content: &record.content,
            original_bytes: record.original_bytes,
            parse_error: None,
            partial: record.partial,
            source: record.extent.source,
            end: record.extent.end,
        };
        let mut files = vec![serial];
        files.extend_from_slice(&record.earlier);
        let batch = self.push(&made, &files);
        let stream = record.stream;
        ledger.note(batch, Track::Output(stream), record.extent.start);
        let earlier = record.earlier.iter();
        self.continued.extend(earlier.map(|file| Continued { file: *file, stream, batch }));
    }

    fn raw(
        &mut self,
        line: Line<'_>,
        time: i64,
        parse_error: Option<Grammar>,
        from: &mut Origins<'_>,
    ) {
        if line.end <= from.resumed.get(Track::Raw) {
            return;
        }
        let made = Made {
            stream: &self.streams.raw,
            time,
            content: line.bytes,
            original_bytes: line.length,
            parse_error,
            partial: false,
            source: from.sources.raw,
            end: line.end,
        };
        let batch = self.push(&made, &[from.serial]);
        from.ledger.note(batch, Track::Raw, line.start);
    }

    fn push(&mut self, made: &Made<'_>, files: &[FileSerial]) -> BatchId {
        let text = text::of(made.content, made.original_bytes, self.record_bytes_max);
        let line = text.text.as_ref();
        let original_bytes = made.original_bytes.to_string();
        let mut attributes = [("", ""); 6];
        let mut used = 0;
        let mut add = |name, value| {
            attributes[used] = (name, value);
            used += 1;
        };
        add(DETECTED_LEVEL, level::of_line(line));
        if text.truncated {
            add(TRUNCATED, "true");
            add(ORIGINAL_BYTES, &original_bytes);
        }
        if made.partial {
            add(PARTIAL, "true");
        }
        if let Some(grammar) = made.parse_error {
            add(PARSE_ERROR, grammar.name());
        }
        if let Some(uid) = &self.streams.pod_uid {
            add(POD_UID, uid);
        }
        self.counts.record(self.streams.input, line.len(), &text, made.partial);
        let row = Row {
            time: made.time,
            labels: &made.stream.labels,
            partition: made.stream.partition,
            line,
            attributes: attributes.get(..used).unwrap_or_default(),
            source: made.source,
            end: made.end,
        };
        self.sink.push(&row, files, self.now)
    }
}

/// A record that is about to become a row.
struct Made<'a> {
    stream: &'a StreamLabels,
    time: i64,
    content: &'a [u8],
    original_bytes: u64,
    parse_error: Option<Grammar>,
    partial: bool,
    source: SourceId,
    end: u64,
}
