//! What a logs segment is made of, for people.

use std::collections::BTreeMap;

use super::columns::{PROMOTED, PROMOTED_PREFIX};
use super::error::SegmentError;
use super::sections::TOKENS;
use super::segment::{LogSegment, Part};
use crate::index_files;
use crate::inspect::Inspection;

impl LogSegment {
    /// Reads the tables and counts what is in them.
    pub(crate) async fn inspect(&self) -> Result<Inspection, SegmentError> {
        self.load(&[Part::Patterns, Part::Streams, Part::Levels]).await?;
        let bundle = self.bundle();
        let filter = bundle.read(TOKENS).await?;
        let entries = self.token_directory().entries(&filter);
        let entries = entries.map_err(|cause| self.damaged(TOKENS, cause))?;
        let mut sections: BTreeMap<String, u64> = BTreeMap::new();
        for name in bundle.names() {
            let range = &bundle.section(name)?.range;
            let shown = if name.starts_with(index_files::FOLDER) { "index" } else { name };
            *sections.entry(shown.to_owned()).or_default() += range.end - range.start;
        }
        let table = self.granules();
        let bytes = table.pages.iter().map(|pages| pages.iter().map(|p| u64::from(p.bytes)).sum());
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
            ],
            sections: sections.into_iter().collect(),
            columns: self.column_names().into_iter().zip(bytes).collect(),
        })
    }

    fn column_names(&self) -> Vec<String> {
        const NAMES: [&str; PROMOTED] =
            ["time", "stream", "level", "pattern", "line", "attribute names", "attribute values"];
        let promoted = self.columns().promoted().iter();
        let promoted = promoted.map(|name| format!("{PROMOTED_PREFIX}{name}"));
        NAMES.iter().map(|name| (*name).to_owned()).chain(promoted).collect()
    }
}
