//! Where a segment's bytes are, and what its lines are made of: for people and benchmarks.

use super::column_reader::ColumnReader;
use super::granule::GranuleTable;
use super::sections::INDEX;
use super::token::{Piece, walk};
use crate::bundle::Bundle;
use crate::index_files;

/// Stored bytes of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentSizes {
    /// By section, in order of name; the files of the index are one.
    pub sections: Vec<(String, u64)>,
    /// By leaf column of the Parquet file.
    pub columns: Vec<(String, u64)>,
}

impl SegmentSizes {
    pub(crate) fn of(bundle: &Bundle, granules: &GranuleTable, columns: &ColumnReader) -> Self {
        let mut sections: Vec<(String, u64)> = Vec::new();
        let mut index = 0;
        for name in bundle.names() {
            let Ok(section) = bundle.section(name) else { continue };
            let bytes = section.range.end - section.range.start;
            if name.starts_with(index_files::FOLDER) {
                index += bytes;
            } else {
                sections.push((name.to_owned(), bytes));
            }
        }
        sections.push((INDEX.to_owned(), index));
        let pages = granules.pages.iter();
        let bytes = pages.map(|pages| pages.iter().map(|page| u64::from(page.bytes)).sum());
        Self { sections, columns: columns.leaf_names().zip(bytes).collect() }
    }
}

/// What a line is cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// All tokens.
    pub tokens: u64,
    /// Those with a digit.
    pub variables: u64,
}

/// Cuts a line the way building a segment does, and counts.
pub fn count_tokens(line: &str) -> TokenCount {
    let mut count = TokenCount::default();
    walk(line.as_bytes(), |piece| {
        if let Piece::Token(token) = piece {
            count.tokens += 1;
            count.variables += u64::from(token.variable);
        }
    });
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_as_they_are_cut() {
        let count = count_tokens("GET /a1/b 200 x2y");
        assert_eq!(count, TokenCount { tokens: 5, variables: 3 });
    }
}
