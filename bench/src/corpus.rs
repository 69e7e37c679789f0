//! Log lines in any number: four corpora, made row by row from a seed.
//!
//! What always holds: the same corpus, seed, size and start give the same rows, streams and times,
//! byte for byte; [`Summary::checksum`] tells. Times grow strictly over all streams, so that order
//! is defined, and cover the span asked for evenly by bytes. A line has no line break.
//!
//! Memory does not grow with the size: one request's rows are held at a time.

mod access;
mod k8s;
mod loghub;
mod needles;
mod real;
mod shapes;
mod stacks;
mod template;
mod wide;
mod words;

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use record::Labels;
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

pub use loghub::{Corpus, FOLDER_VARIABLE, Source};
pub use needles::Needles;

/// Which lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum CorpusKind {
    /// Container logs of a cluster.
    K8s,
    /// Web server logs.
    Access,
    /// JSON objects with 100 fields.
    Wide,
    /// The files of loghub with their digits varied.
    Real,
}

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct CorpusPlan {
    /// Which lines.
    pub kind: CorpusKind,
    /// Bytes of lines, line ends not counted; the last line may go beyond.
    pub bytes: u64,
    /// Same seed, same lines.
    pub seed: u64,
    /// Time of the first line at the earliest, ns. Lines show their time, so it changes them.
    pub start_ns: i64,
    /// Time from the first to the last line.
    pub span: Duration,
}

/// 2025-01-15 06:00 UTC. Fixed, so that a corpus is the same on every day.
pub const START_NS: i64 = 1_736_920_800_000_000_000;

/// Six hours.
pub const SPAN: Duration = Duration::from_secs(6 * 3_600);

impl CorpusPlan {
    /// `bytes` of a corpus at the usual time.
    pub fn new(kind: CorpusKind, bytes: u64, seed: u64) -> Self {
        Self { kind, bytes, seed, start_ns: START_NS, span: SPAN }
    }

    /// Seconds from the first to the last time a line may have.
    pub fn seconds(&self) -> u64 {
        let (start_ns, end_ns) = self.range();
        ((end_ns - start_ns) / 1_000_000_000).unsigned_abs()
    }

    /// First and last ns a line may have, the last excluded.
    pub fn range(&self) -> (i64, i64) {
        let span = i64::try_from(self.span.as_nanos()).unwrap_or(i64::MAX / 2);
        // The last lines may run over by a request's length.
        (self.start_ns, self.start_ns + span + 60_000_000_000)
    }
}

/// A row, borrowed until the next one is made.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Which of [`Rows::streams`].
    pub stream: usize,
    /// Unix ns.
    pub time_ns: i64,
    /// Without line end.
    pub line: &'a str,
}

/// What was generated so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rows.
    pub rows: u64,
    /// Bytes of lines without line ends.
    pub raw_bytes: u64,
    /// xxh3 of all lines, each with a line feed.
    pub checksum: u64,
    /// Rows whose line is a JSON object.
    pub json_rows: u64,
    /// Rows whose line is logfmt.
    pub logfmt_rows: u64,
    /// Rows with a trace id.
    pub traced_rows: u64,
    /// Rows that are part of a stack trace or hold one.
    pub stack_rows: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |rows: u64| 100.0 * rows as f64 / self.rows.max(1) as f64;
        write!(
            f,
            "{} rows, {} bytes, xxh3 {:016x}; rows with JSON {:.1} %, logfmt {:.1} %, trace id \
             {:.1} %, stack trace {:.1} %",
            self.rows,
            self.raw_bytes,
            self.checksum,
            share(self.json_rows),
            share(self.logfmt_rows),
            share(self.traced_rows),
            share(self.stack_rows)
        )
    }
}

/// Makes the rows of a plan one after another.
#[derive(Debug)]
pub struct Rows {
    plan: CorpusPlan,
    recipe: Box<dyn Recipe>,
    rng: Rng,
    burst: Burst,
    /// Rows of the burst that were handed out.
    taken: usize,
    summary: Summary,
    hasher: Hasher,
    needles: Needles,
}

impl Rows {
    /// Starts a corpus.
    ///
    /// # Errors
    /// When the files of *real* cannot be read.
    pub fn new(plan: CorpusPlan) -> anyhow::Result<Self> {
        let mut rng = Rng::with_seed(plan.seed);
        let recipe: Box<dyn Recipe> = match plan.kind {
            CorpusKind::K8s => Box::new(k8s::K8s::new(&mut rng)),
            CorpusKind::Access => Box::new(access::Access::new(&mut rng)),
            CorpusKind::Wide => Box::new(wide::Wide::new(&mut rng)),
            CorpusKind::Real => Box::new(real::Real::new()?),
        };
        Ok(Self {
            plan,
            recipe,
            rng,
            burst: Burst::new(&plan),
            taken: 0,
            summary: Summary::default(),
            hasher: Hasher::default(),
            needles: Needles::of(plan.kind),
        })
    }

    /// The streams, as a collector would label them.
    pub fn streams(&self) -> &[Labels] {
        self.recipe.streams()
    }

    /// Where the lines come from: made, of loghub, or built in where loghub is missing.
    pub fn origin(&self) -> &str {
        self.recipe.origin()
    }

    /// What was generated so far.
    pub fn summary(&self) -> Summary {
        Summary { checksum: self.hasher.0.digest(), ..self.summary }
    }

    /// What to search this corpus for; the unique ids are there once all rows were made.
    pub fn needles(&self) -> &Needles {
        &self.needles
    }

    /// The next row, or `None` when there are bytes enough.
    pub fn next_row(&mut self) -> Option<Row<'_>> {
        if self.plan.bytes <= self.summary.raw_bytes {
            return None;
        }
        while self.burst.rows.len() <= self.taken {
            self.burst.clear();
            self.taken = 0;
            self.recipe.burst(&mut self.rng, &mut self.burst);
        }
        let made = self.burst.rows[self.taken];
        self.taken += 1;
        let line = self.burst.text.get(made.start..made.end).unwrap_or_default();
        self.summary.count(line, made.marks);
        self.hasher.0.update(line.as_bytes());
        self.hasher.0.update(b"\n");
        self.needles.look_for_unique(line, &self.plan, self.summary.raw_bytes);
        Some(Row { stream: made.stream as usize, time_ns: made.time_ns, line })
    }
}

impl Summary {
    fn count(&mut self, line: &str, marks: Marks) {
        self.rows += 1;
        self.raw_bytes += line.len() as u64;
        self.json_rows += u64::from(marks.json);
        self.logfmt_rows += u64::from(marks.logfmt);
        self.traced_rows += u64::from(marks.traced);
        self.stack_rows += u64::from(marks.stack);
    }
}

#[derive(Default)]
struct Hasher(Xxh3);

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// Makes the rows of one corpus.
trait Recipe: fmt::Debug + Send {
    fn streams(&self) -> &[Labels];

    /// Where the lines come from.
    fn origin(&self) -> &str {
        "made"
    }

    /// Appends rows that belong together, at least one.
    fn burst(&mut self, rng: &mut Rng, out: &mut Burst);
}

/// What is counted about a row.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    json: bool,
    logfmt: bool,
    traced: bool,
    stack: bool,
}

impl Marks {
    fn of(body: shapes::Body) -> Self {
        Self {
            json: body == shapes::Body::Json,
            logfmt: body == shapes::Body::Logfmt,
            ..Self::default()
        }
    }
}

/// Rows made together, and the clock of all rows.
#[derive(Debug)]
struct Burst {
    text: String,
    rows: Vec<MadeRow>,
    start_ns: i64,
    /// Time a byte of lines takes.
    ns_per_byte: f64,
    bytes: u64,
    time_ns: i64,
    row_start: usize,
}

#[derive(Clone, Copy, Debug)]
struct MadeRow {
    stream: u32,
    start: usize,
    end: usize,
    time_ns: i64,
    marks: Marks,
}

/// About the length of a line, for the spread of times.
const LINE_BYTES: f64 = 150.0;

impl Burst {
    fn new(plan: &CorpusPlan) -> Self {
        Self {
            text: String::new(),
            rows: Vec::new(),
            start_ns: plan.start_ns,
            ns_per_byte: plan.span.as_nanos() as f64 / plan.bytes.max(1) as f64,
            bytes: 0,
            time_ns: plan.start_ns - 1,
            row_start: 0,
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }

    /// Begins a row and returns its time.
    fn open(&mut self, rng: &mut Rng) -> i64 {
        let spread = (LINE_BYTES * self.ns_per_byte).max(1.0) as i64;
        let due = self.start_ns + (self.bytes as f64 * self.ns_per_byte) as i64;
        self.time_ns = (self.time_ns + 1).max(due + rng.i64(0..spread));
        self.row_start = self.text.len();
        self.time_ns
    }

    /// Where the row's line is written.
    fn text(&mut self) -> &mut String {
        &mut self.text
    }

    fn close(&mut self, stream: usize, marks: Marks) {
        let (start, end) = (self.row_start, self.text.len());
        self.bytes += (end - start) as u64;
        let stream = stream as u32;
        self.rows.push(MadeRow { stream, start, end, time_ns: self.time_ns, marks });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [CorpusKind; 4] =
        [CorpusKind::K8s, CorpusKind::Access, CorpusKind::Wide, CorpusKind::Real];

    fn all(plan: CorpusPlan) -> (Summary, Vec<(usize, i64, String)>) {
        let mut rows = Rows::new(plan).unwrap();
        let mut read = Vec::new();
        while let Some(row) = rows.next_row() {
            read.push((row.stream, row.time_ns, row.line.to_owned()));
        }
        (rows.summary(), read)
    }

    #[test]
    fn the_same_seed_gives_the_same_rows_and_another_one_others() {
        for kind in KINDS {
            let plan = CorpusPlan::new(kind, 1_000_000, 1);
            let (summary, rows) = all(plan);
            assert_eq!(all(plan), (summary, rows), "{kind:?}");
            let other = all(CorpusPlan { seed: 2, ..plan }).0;
            assert_ne!(other.checksum, summary.checksum, "{kind:?}");
        }
    }

    #[test]
    fn rows_are_in_order_of_time_fill_the_span_and_have_no_line_breaks() {
        for kind in KINDS {
            let plan = CorpusPlan::new(kind, 2_000_000, 3);
            let mut rows = Rows::new(plan).unwrap();
            let (streams, (start, end)) = (rows.streams().len(), plan.range());
            let (mut last, mut bytes) = (start - 1, 0);
            while let Some(row) = rows.next_row() {
                assert!(row.stream < streams && !row.line.contains('\n'), "{kind:?}: {row:?}");
                assert!(last < row.time_ns && row.time_ns < end, "{kind:?}: {row:?}");
                (last, bytes) = (row.time_ns, bytes + row.line.len() as u64);
            }
            assert!(end - 600_000_000_000 < last, "{kind:?} ends {} ns early", end - last);
            assert!((2_000_000..2_100_000).contains(&bytes), "{kind:?}: {bytes}");
        }
    }

    #[test]
    fn shares_of_the_k8s_corpus_are_as_promised() {
        let (summary, rows) = all(CorpusPlan::new(CorpusKind::K8s, 30_000_000, 1));
        let share = |rows: u64| rows as f64 / summary.rows as f64;
        let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.1 * wanted;
        assert!(near(share(summary.json_rows), 0.2), "{summary}");
        assert!(near(share(summary.logfmt_rows), 0.2), "{summary}");
        assert!(near(share(summary.traced_rows), 0.6), "{summary}");
        assert!(near(share(summary.stack_rows), 0.02), "{summary}");
        let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        let parsed = rows.iter().filter(|(_, _, line)| json(line)).count() as u64;
        assert_eq!(parsed, summary.json_rows);
        let mut streams: Vec<usize> = rows.iter().map(|(stream, _, _)| *stream).collect();
        streams.sort_unstable();
        streams.dedup();
        assert_eq!(streams.len(), 200);
    }

    #[test]
    fn a_trace_id_is_on_a_burst_of_lines() {
        let (_, rows) = all(CorpusPlan::new(CorpusKind::K8s, 1_000_000, 1));
        let trace = regex::Regex::new(r"\b[0-9a-f]{32}\b").unwrap();
        let found = rows.iter().filter_map(|(_, _, line)| Some(trace.find(line)?.as_str()));
        let mut counts = std::collections::BTreeMap::new();
        found.for_each(|id| *counts.entry(id.to_owned()).or_insert(0_u32) += 1);
        let bursts = counts.values().filter(|count| 1 < **count).count();
        assert!(counts.len() / 2 < bursts, "{bursts} of {}", counts.len());
    }

    #[test]
    fn wide_rows_are_objects_of_100_fields() {
        let (_, rows) = all(CorpusPlan::new(CorpusKind::Wide, 100_000, 1));
        for (_, _, line) in rows {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&line).unwrap();
            assert_eq!(object.len(), wide::FIELDS, "{line}");
        }
    }

    #[test]
    fn needles_are_in_the_corpus_or_not_as_they_say() {
        for kind in KINDS {
            let mut rows = Rows::new(CorpusPlan::new(kind, 8_000_000, 1)).unwrap();
            let mut lines = Vec::new();
            while let Some(row) = rows.next_row() {
                lines.push(row.line.to_owned());
            }
            let needles = rows.needles();
            let having = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
            assert_eq!(needles.unique.len(), 4, "{kind:?}: {needles:?}");
            for id in &needles.unique {
                let unique = having(id);
                assert!((1..=40).contains(&unique), "{kind:?}: {needles:?} {unique}");
            }
            assert!(lines.len() / 200 < having(needles.common), "{kind:?}: {needles:?}");
            assert_eq!(having(needles.absent_word), 0);
            assert_eq!(having(needles.absent_part), 0);
            assert!(!needles.part().is_empty() && 0 < having(&needles.part()), "{needles:?}");
            let regex = regex::Regex::new(needles.regex).unwrap();
            let matching = lines.iter().filter(|line| regex.is_match(line)).count();
            assert!(0 < matching && matching < lines.len(), "{kind:?}: {matching}");
        }
    }
}
