//! One segment being written from rows that come in order.

use record::{Labels, LogBatch};

use crate::logs::assemble::Assembler;
use crate::logs::build::{BuildOptions, BuiltSegment, Row};
use crate::logs::error::BuildError;
use crate::logs::widened::WidenedFrames;

/// A segment that grows by granules, and the rows that wait to be one.
pub(super) struct Output {
    promoted: Vec<String>,
    options: BuildOptions,
    /// Made with the first row.
    assembler: Option<Assembler>,
    /// Number of the stream of the last row, over all outputs, and here.
    stream: (u64, u32),
    /// What the waiting rows point into.
    batches: Vec<LogBatch>,
    /// Where in `batches` each input's batch is.
    places: Vec<Option<u32>>,
    rows: Vec<Row>,
}

impl Output {
    pub(super) fn new(inputs: usize, promoted: Vec<String>, options: BuildOptions) -> Self {
        Self {
            promoted,
            options,
            assembler: None,
            stream: (0, 0),
            batches: Vec::new(),
            places: vec![None; inputs],
            rows: Vec::new(),
        }
    }

    /// Notes that an input's rows come from another batch from now on.
    pub(super) fn new_batch(&mut self, input: usize) {
        self.places[input] = None;
    }

    /// Adds a row; `stream` are its stream's number over all outputs, above 0, and its labels.
    pub(super) fn push(
        &mut self,
        input: usize,
        batch: &LogBatch,
        row: usize,
        stream: (u64, &Labels),
    ) -> Result<(), BuildError> {
        let assembler = match &mut self.assembler {
            Some(assembler) => assembler,
            None => {
                // Words that are in patterns are found fastest, so what merged segments leave out is
                // what changes in themselves.
                let frames = WidenedFrames::default();
                let assembler = Assembler::new(self.promoted.clone(), self.options, frames)?;
                self.assembler.insert(assembler)
            }
        };
        if self.stream.0 != stream.0 {
            self.stream = (stream.0, assembler.stream(stream.1.clone()));
        }
        let place = match self.places[input] {
            Some(place) => place,
            None => {
                self.batches.push(batch.clone());
                *self.places[input].insert((self.batches.len() - 1) as u32)
            }
        };
        let time = batch.times()[row];
        self.rows.push(Row { stream: self.stream.1, batch: place, row: row as u32, time });
        if self.options.granule_rows <= self.rows.len() {
            self.write()?;
        }
        Ok(())
    }

    /// The finished segment, or `None` without rows.
    pub(super) fn finish(mut self) -> Result<Option<BuiltSegment>, BuildError> {
        self.write()?;
        self.assembler.map(Assembler::finish).transpose()
    }

    fn write(&mut self) -> Result<(), BuildError> {
        if let Some(assembler) = &mut self.assembler
            && !self.rows.is_empty()
        {
            assembler.granules(&self.batches, &self.rows)?;
        }
        self.rows.clear();
        self.batches.clear();
        self.places.fill(None);
        Ok(())
    }
}
