//! What a logs segment is made of, for people.

use super::error::SegmentError;
use super::granule::Complete;
use super::sections::TOKENS;
use super::segment::{LogSegment, Part};
use crate::inspect::Inspection;

impl LogSegment {
    /// Reads the tables and counts what is in them.
    pub(crate) async fn inspect(&self) -> Result<Inspection, SegmentError> {
        self.load(&[Part::Patterns, Part::Streams, Part::Levels]).await?;
        let bundle = self.bundle();
        let filter = bundle.read(TOKENS).await?;
        let entries = self.token_directory().entries(&filter);
        let entries = entries.map_err(|cause| self.damaged(TOKENS, cause))?;
        let table = self.granules();
        let without = |holds: fn(&Complete) -> bool| {
            table.granules.iter().filter(|granule| !holds(&granule.complete)).count() as u64
        };
        let sizes = self.sizes();
        Ok(Inspection {
            format: bundle.format(),
            counts: vec![
                ("rows", self.rows()),
                ("granules", table.granules.len() as u64),
                ("granule_rows", table.granule_rows as u64),
                ("streams", self.stream_table()?.len() as u64),
                ("levels", (self.level_table()?.len() - 1) as u64),
                ("patterns", self.pattern_table()?.len() as u64),
                ("token_entries", entries),
                // These are read whatever is searched for that only the missing could rule out.
                ("granules_without_words", without(|complete| complete.words)),
                ("granules_without_fragments", without(|complete| complete.fragments)),
                ("granules_without_tokens", without(|complete| complete.tokens)),
            ],
            sections: sizes.sections,
            columns: sizes.columns,
        })
    }
}
