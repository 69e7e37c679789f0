//! Several logs segments into one, or into one per stretch of time.
//!
//! The inputs are read side by side, granule by granule, in the order every segment has: stream,
//! then time. The smallest row goes next, so the rows of the output come out sorted and are
//! written granule by granule as they come.
//!
//! What always holds: the outputs have exactly the rows of the inputs; rows of one stream and time
//! keep the order of the inputs, and within an input theirs. Inputs that turn out unsorted, or
//! rows that do not add up, are an error and no output.
//!
//! On a crash nothing is left: outputs are bytes in memory until the caller stores them.
//!
//! Bounds, with one output: the pages of [`GRANULES_AHEAD`] granules of each input and the rows of
//! one, one granule of rows that wait, and the encoded output. With several outputs each waits for a
//! granule of its own, so in the worst case all rows of the inputs are in memory: callers bound
//! those.

mod order;
mod output;

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::cpu::{CpuError, CpuPool};

use self::order::{Merging, Next};
use super::build::{BuildOptions, BuiltSegment, PROMOTED_MAX, PROMOTED_ROWS_SHARE};
use super::error::{BuildError, SegmentError};
use super::scan::LogScan;
use super::segment::LogSegment;

/// Granules of one input that are read at once. More make fewer, larger requests to the store and
/// hold the pages and columns of numbers of each, for every input.
pub const GRANULES_AHEAD: usize = 2;

/// Why segments were not merged. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// An input cannot be read.
    #[error(transparent)]
    Read(#[from] SegmentError),
    /// The output cannot be written.
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// An input's rows are not in the order its format promises.
    #[error("segment object `{path}` is damaged: its rows are not sorted")]
    Unsorted { path: String },
    /// Rows were lost or doubled: a bug, noticed in time.
    #[error("the inputs have {inputs} rows, the merged segments {outputs}")]
    Rows { inputs: u64, outputs: u64 },
}

/// A merge under way.
pub struct LogMerge {
    inputs: Vec<Input>,
    /// `None` while the pool has it; lost for good when the caller drops a step midway.
    merging: Option<Box<Merging>>,
    cpu: Arc<CpuPool>,
    rows: u64,
}

struct Input {
    segment: LogSegment,
    scan: LogScan,
}

impl std::fmt::Debug for LogMerge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths: Vec<&str> = self.inputs.iter().map(|input| input.segment.path()).collect();
        formatter.debug_struct("LogMerge").field("inputs", &paths).finish_non_exhaustive()
    }
}

impl LogMerge {
    /// Starts merging `inputs`, given in the order in which their rows came in.
    ///
    /// Rows are spread over outputs at the times `cuts`, which ascend: one output below the first,
    /// one from each on. Without cuts there is one output.
    pub fn new(
        inputs: Vec<LogSegment>,
        cuts: Vec<i64>,
        options: BuildOptions,
        cpu: Arc<CpuPool>,
    ) -> Self {
        let merging = Merging::new(inputs.len(), cuts, promoted(&inputs), options);
        let rows = inputs.iter().map(LogSegment::rows).sum();
        let inputs = inputs.into_iter().map(|segment| {
            let scan = segment.read_through(GRANULES_AHEAD, Some(Arc::clone(&cpu)));
            Input { segment, scan }
        });
        Self { inputs: inputs.collect(), merging: Some(Box::new(merging)), cpu, rows }
    }

    /// Goes on by about a granule. Returns whether there is more to do.
    ///
    /// # Errors
    /// See [`MergeError`]; the merge is over then.
    pub async fn step(&mut self) -> Result<bool, MergeError> {
        let (merging, next) = self.on_cpu(|merging| merging.run()).await?;
        self.merging = Some(merging);
        match next {
            Next::Needs(number) => {
                let input = &mut self.inputs[number];
                let batch = input.scan.next_rows().await?;
                let Some(merging) = &mut self.merging else { return Ok(true) };
                merging.give(number, batch);
                Ok(true)
            }
            Next::Unsorted(number) => {
                Err(MergeError::Unsorted { path: self.inputs[number].segment.path().to_owned() })
            }
            Next::Done => Ok(false),
        }
    }

    /// Bytes read of the inputs so far, opening not counted.
    pub fn bytes_read(&self) -> u64 {
        self.inputs.iter().map(|input| input.scan.stats().bytes_read).sum()
    }

    /// Merges what is left and returns the outputs that have rows, in order of time.
    ///
    /// # Errors
    /// See [`MergeError`].
    pub async fn finish(mut self) -> Result<Vec<BuiltSegment>, MergeError> {
        while self.step().await? {}
        let (_, built) = self.on_cpu(Merging::finish).await?;
        let outputs = built.iter().map(|segment| segment.rows).sum();
        if outputs != self.rows {
            return Err(MergeError::Rows { inputs: self.rows, outputs });
        }
        Ok(built)
    }

    async fn on_cpu<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Merging) -> Result<T, BuildError> + Send + 'static,
    ) -> Result<(Box<Merging>, T), MergeError> {
        let Some(mut merging) = self.merging.take() else {
            // An earlier step was given up midway.
            return Err(MergeError::Rows { inputs: self.rows, outputs: 0 });
        };
        let done = self.cpu.run(move || work(&mut merging).map(|result| (merging, result)));
        Ok(done.await??)
    }
}

/// The attributes that get columns of their own: frequent ones have them in some input already.
fn promoted(inputs: &[LogSegment]) -> Vec<String> {
    let rows: u64 = inputs.iter().map(LogSegment::rows).sum();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for input in inputs {
        for name in input.columns().promoted() {
            *counts.entry(name).or_default() += input.rows();
        }
    }
    let frequent =
        counts.into_iter().filter(|(_, count)| rows <= count * PROMOTED_ROWS_SHARE as u64);
    let mut frequent: Vec<(&str, u64)> = frequent.collect();
    frequent.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    frequent.into_iter().take(PROMOTED_MAX).map(|(name, _)| name.to_owned()).collect()
}
