//! Which row goes next: a merge of sorted inputs, stream by stream.
//!
//! Label sets are compared only where an input comes to another stream; within a stream rows are
//! taken in runs, up to the earliest row of any other input.

use record::{Labels, LogBatch};

use super::output::Output;
use crate::logs::build::{BuildOptions, BuiltSegment};
use crate::logs::error::BuildError;

/// The merge's state between reads.
pub(super) struct Merging {
    cursors: Vec<Cursor>,
    /// The stream whose rows are being taken.
    current: Option<Labels>,
    /// How many streams were begun.
    streams: u64,
    /// Time of the last row taken of the current stream.
    last_time: i64,
    cuts: Vec<i64>,
    outputs: Vec<Output>,
}

/// Where an input stands.
struct Cursor {
    batch: Head,
    /// The next row of the batch.
    at: usize,
    /// Whether that row is of the current stream.
    in_current: bool,
}

enum Head {
    /// Rows must be read before anything else can be decided.
    Wanted,
    Rows(Box<LogBatch>),
    Ended,
}

/// What the merge waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next batch of this input, see [`Merging::give`].
    Needs(usize),
    /// This input gave a row that belongs before one taken earlier.
    Unsorted(usize),
    Done,
}

impl Merging {
    pub(super) fn new(
        inputs: usize,
        cuts: Vec<i64>,
        promoted: Vec<String>,
        options: BuildOptions,
    ) -> Self {
        let cursor = || Cursor { batch: Head::Wanted, at: 0, in_current: false };
        let outputs = (0..=cuts.len()).map(|_| Output::new(inputs, promoted.clone(), options));
        Self {
            cursors: (0..inputs).map(|_| cursor()).collect(),
            current: None,
            streams: 0,
            last_time: i64::MIN,
            outputs: outputs.collect(),
            cuts,
        }
    }

    /// Hands in the next batch of an input; `None` after its last.
    pub(super) fn give(&mut self, input: usize, batch: Option<LogBatch>) {
        let cursor = &mut self.cursors[input];
        cursor.at = 0;
        cursor.batch = match batch {
            Some(batch) if batch.is_empty() => Head::Wanted,
            Some(batch) => Head::Rows(Box::new(batch)),
            None => Head::Ended,
        };
        cursor.in_current = cursor.labels().is_some_and(|head| Some(head) == self.current.as_ref());
        self.outputs.iter_mut().for_each(|output| output.new_batch(input));
    }

    /// Takes rows until an input has none at hand.
    pub(super) fn run(&mut self) -> Result<Next, BuildError> {
        loop {
            let wanting = |cursor: &Cursor| matches!(cursor.batch, Head::Wanted);
            if let Some(input) = self.cursors.iter().position(wanting) {
                return Ok(Next::Needs(input));
            }
            match self.earliest() {
                Some((_, input)) => {
                    if self.take_run(input)? {
                        return Ok(Next::Unsorted(input));
                    }
                }
                None => {
                    let heads = self.cursors.iter().enumerate();
                    let heads = heads.filter_map(|(input, cursor)| Some((cursor.labels()?, input)));
                    let Some((labels, input)) = heads.min() else { return Ok(Next::Done) };
                    if self.current.as_ref().is_some_and(|current| labels < current) {
                        return Ok(Next::Unsorted(input));
                    }
                    let labels = labels.clone();
                    self.begin(labels);
                }
            }
        }
    }

    /// Writes what waits and returns the outputs that have rows.
    pub(super) fn finish(&mut self) -> Result<Vec<BuiltSegment>, BuildError> {
        let built = std::mem::take(&mut self.outputs).into_iter().map(Output::finish);
        built.filter_map(Result::transpose).collect()
    }

    fn begin(&mut self, labels: Labels) {
        self.streams += 1;
        self.last_time = i64::MIN;
        for cursor in &mut self.cursors {
            cursor.in_current = cursor.labels() == Some(&labels);
        }
        self.current = Some(labels);
    }

    /// The input that has the earliest row of the current stream; of equal ones the first.
    fn earliest(&self) -> Option<(i64, usize)> {
        let heads = self.cursors.iter().enumerate();
        heads.filter_map(|(input, cursor)| Some((cursor.time_in_current()?, input))).min()
    }

    /// Takes the rows of an input that come before those of every other. Returns whether they are
    /// out of order.
    fn take_run(&mut self, input: usize) -> Result<bool, BuildError> {
        let others = self.cursors.iter().enumerate().filter(|(other, _)| *other != input);
        let bound =
            others.filter_map(|(other, cursor)| Some((cursor.time_in_current()?, other))).min();
        let cursor = &mut self.cursors[input];
        let (Head::Rows(batch), Some(labels)) = (&cursor.batch, &self.current) else {
            return Ok(false);
        };
        let (times, streams) = (batch.times(), batch.stream_index());
        let stream = streams[cursor.at];
        let first = cursor.at;
        while cursor.at < batch.len() {
            let time = times[cursor.at];
            cursor.in_current = streams[cursor.at] == stream;
            if !cursor.in_current {
                break;
            }
            if cursor.at != first && bound.is_some_and(|bound| bound < (time, input)) {
                break;
            }
            if time < self.last_time {
                return Ok(true);
            }
            self.last_time = time;
            let output = self.cuts.partition_point(|cut| *cut <= time);
            self.outputs[output].push(input, batch, cursor.at, (self.streams, labels))?;
            cursor.at += 1;
        }
        if cursor.at == batch.len() {
            cursor.batch = Head::Wanted;
            cursor.in_current = false;
        }
        Ok(false)
    }
}

impl Cursor {
    fn labels(&self) -> Option<&Labels> {
        match &self.batch {
            Head::Rows(batch) => Some(batch.stream(self.at)),
            Head::Wanted | Head::Ended => None,
        }
    }

    fn time_in_current(&self) -> Option<i64> {
        match &self.batch {
            Head::Rows(batch) if self.in_current => Some(batch.times()[self.at]),
            _ => None,
        }
    }
}
