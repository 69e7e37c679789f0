//! The index of a segment: one tantivy segment with one document a granule.
//!
//! | field | terms of a granule |
//! | --- | --- |
//! | `label` | `name=value` of the labels of its streams |
//! | `word` | the digit-free words of its patterns |
//! | `fragment` | the digit-free fragments of its variables |
//! | `level` | the numbers of its levels, 0 for rows without |
//! | `time_min`, `time_max` | fast fields: its time bounds |
//!
//! What always holds: document numbers are granule numbers, and the time bounds equal those of the
//! granule table, which is checked on opening: an index of other rows is never believed.
//!
//! Bounds: terms are capped by the builder; the whole index is a few hundred KiB and is read and
//! held at once.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use roaring::RoaringBitmap;
use tantivy::postings::TermInfo;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{DocSet, InvertedIndexReader, SegmentReader, TERMINATED, TantivyDocument, Term};

use super::condition::TermTest;
use super::error::BuildError;
use super::granule::Granule;
use super::sections::INDEX;
use super::terms::TermTable;
use crate::bundle::BundleBuilder;
use crate::index_files::{self, IndexFilesBuilder};
use crate::wire::Malformed;

/// What tantivy sizes its first tables by; they grow as needed.
const WRITER_BYTES: usize = 4 << 20;

/// Room for the terms of a granule, which are some thousands of short ones.
const DOCUMENT_BYTES: usize = 128 << 10;

/// Longest term kept. Longer words and fragments are rare and mark their granule incomplete.
pub(crate) const TERM_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Fields {
    label: Field,
    word: Field,
    fragment: Field,
    level: Field,
    time_min: Field,
    time_max: Field,
}

fn schema() -> (Schema, Fields) {
    let exact = TextOptions::default().set_indexing_options(
        TextFieldIndexing::default()
            .set_tokenizer("raw")
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic),
    );
    let mut schema = Schema::builder();
    let fields = Fields {
        label: schema.add_text_field("label", exact.clone()),
        word: schema.add_text_field("word", exact.clone()),
        fragment: schema.add_text_field("fragment", exact),
        level: schema.add_u64_field("level", INDEXED),
        time_min: schema.add_i64_field("time_min", FAST),
        time_max: schema.add_i64_field("time_max", FAST),
    };
    (schema.build(), fields)
}

/// Writes the index, granule by granule.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    files: IndexFilesBuilder,
    fields: Fields,
}

/// One granule's document being filled.
#[derive(Debug)]
pub(crate) struct GranuleDocument {
    fields: Fields,
    document: TantivyDocument,
}

impl GranuleDocument {
    pub(crate) fn label(&mut self, label: &str) {
        self.document.add_text(self.fields.label, label);
    }

    pub(crate) fn word(&mut self, word: &str) {
        self.document.add_text(self.fields.word, word);
    }

    pub(crate) fn fragment(&mut self, fragment: &str) {
        self.document.add_text(self.fields.fragment, fragment);
    }

    pub(crate) fn level(&mut self, level: u32) {
        self.document.add_u64(self.fields.level, level.into());
    }
}

fn failed(cause: impl std::fmt::Display) -> BuildError {
    BuildError::encode(INDEX, cause)
}

impl IndexBuilder {
    pub(crate) fn new() -> Result<Self, BuildError> {
        let (schema, fields) = schema();
        let files = IndexFilesBuilder::new(schema, WRITER_BYTES).map_err(failed)?;
        Ok(Self { files, fields })
    }

    pub(crate) fn document(&self) -> GranuleDocument {
        GranuleDocument {
            fields: self.fields,
            document: TantivyDocument::with_capacity(DOCUMENT_BYTES),
        }
    }

    /// Adds the document of the next granule.
    pub(crate) fn add(
        &mut self,
        granule: &Granule,
        mut granule_document: GranuleDocument,
    ) -> Result<(), BuildError> {
        let document = &mut granule_document.document;
        document.add_i64(self.fields.time_min, granule.time_min);
        document.add_i64(self.fields.time_max, granule.time_max);
        self.files.add(granule_document.document).map_err(failed)
    }

    /// Adds tantivy's files to the segment.
    pub(crate) fn finish(self, bundle: &mut BundleBuilder) -> Result<(), BuildError> {
        self.files.finish(bundle).map_err(failed)
    }
}

/// The opened index of a segment.
pub(crate) struct GranuleIndex {
    reader: Arc<SegmentReader>,
    fields: Fields,
    /// All terms of these fields, once a query had to search them.
    words: OnceLock<Terms>,
    fragments: OnceLock<Terms>,
}

/// The terms of a field, and where the granules of each are.
struct Terms {
    table: TermTable,
    infos: Vec<TermInfo>,
}

impl std::fmt::Debug for GranuleIndex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GranuleIndex").field("granules", &self.reader.max_doc()).finish()
    }
}

const UNREADABLE: Malformed = Malformed("tantivy cannot read it");

impl GranuleIndex {
    /// Opens the index from its files by name.
    pub(crate) fn open<'a>(
        files: impl Iterator<Item = (&'a str, Bytes)>,
        granules: &[Granule],
    ) -> Result<Self, Malformed> {
        let (index, reader) = index_files::open_files(files).map_err(|_| UNREADABLE)?;
        let (schema, fields) = schema();
        if index.schema() != schema {
            return Err(Malformed("it has other fields"));
        }
        let (words, fragments) = (OnceLock::new(), OnceLock::new());
        let opened = Self { reader, fields, words, fragments };
        opened.check_bounds(granules)?;
        Ok(opened)
    }

    fn check_bounds(&self, granules: &[Granule]) -> Result<(), Malformed> {
        let fast = self.reader.fast_fields();
        let min = fast.i64("time_min").map_err(|_| UNREADABLE)?;
        let max = fast.i64("time_max").map_err(|_| UNREADABLE)?;
        let equal = granules.iter().zip(0..).all(|(granule, document)| {
            min.first(document) == Some(granule.time_min)
                && max.first(document) == Some(granule.time_max)
        });
        if !equal || self.reader.max_doc() as usize != granules.len() {
            return Err(Malformed("it is of other granules than the table"));
        }
        Ok(())
    }

    /// Granules with a stream that has this label.
    pub(crate) fn with_label(&self, name: &str, value: &str) -> Result<RoaringBitmap, Malformed> {
        self.with_term(self.fields.label, &format!("{name}={value}"))
    }

    /// Granules with a row of this level.
    pub(crate) fn with_level(&self, level: u32) -> Result<RoaringBitmap, Malformed> {
        let index = self.inverted(self.fields.level)?;
        let term = Term::from_field_u64(self.fields.level, level.into());
        let mut found = RoaringBitmap::new();
        if let Some(info) = index.get_term_info(&term).map_err(|_| UNREADABLE)? {
            collect(&index, &info, &mut found)?;
        }
        Ok(found)
    }

    /// Granules with a word in their patterns that passes.
    pub(crate) fn with_word(&self, test: &TermTest) -> Result<RoaringBitmap, Malformed> {
        self.passing(self.fields.word, &self.words, test)
    }

    /// Granules with a fragment in their variables that passes.
    pub(crate) fn with_fragment(&self, test: &TermTest) -> Result<RoaringBitmap, Malformed> {
        self.passing(self.fields.fragment, &self.fragments, test)
    }

    fn passing(
        &self,
        field: Field,
        terms: &OnceLock<Terms>,
        test: &TermTest,
    ) -> Result<RoaringBitmap, Malformed> {
        if let TermTest::Exact(term) = test {
            return self.with_term(field, term);
        }
        let index = self.inverted(field)?;
        let terms = match terms.get() {
            Some(terms) => terms,
            None => {
                let read = Terms::read(&index)?;
                terms.get_or_init(|| read)
            }
        };
        let mut found = RoaringBitmap::new();
        for number in terms.table.passing(test) {
            collect(&index, &terms.infos[number], &mut found)?;
        }
        Ok(found)
    }

    fn with_term(&self, field: Field, term: &str) -> Result<RoaringBitmap, Malformed> {
        let index = self.inverted(field)?;
        let mut found = RoaringBitmap::new();
        let term = Term::from_field_text(field, term);
        if let Some(info) = index.get_term_info(&term).map_err(|_| UNREADABLE)? {
            collect(&index, &info, &mut found)?;
        }
        Ok(found)
    }

    fn inverted(&self, field: Field) -> Result<Arc<InvertedIndexReader>, Malformed> {
        self.reader.inverted_index(field).map_err(|_| UNREADABLE)
    }
}

impl Terms {
    fn read(index: &InvertedIndexReader) -> Result<Self, Malformed> {
        let (mut table, mut infos) = (TermTable::default(), Vec::new());
        let mut terms = index.terms().stream().map_err(|_| UNREADABLE)?;
        while let Some((term, info)) = terms.next() {
            table.push(term)?;
            infos.push(info.clone());
        }
        Ok(Self { table: table.finish(), infos })
    }
}

fn collect(
    index: &InvertedIndexReader,
    info: &TermInfo,
    found: &mut RoaringBitmap,
) -> Result<(), Malformed> {
    let mut postings = index
        .read_postings_from_terminfo(info, IndexRecordOption::Basic)
        .map_err(|_| UNREADABLE)?;
    while postings.doc() != TERMINATED {
        found.insert(postings.doc());
        postings.advance();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::super::condition::TermSearch;
    use super::super::grams::Grams;
    use super::super::granule::{Complete, LengthSet};
    use super::super::runs::Runs;
    use super::*;
    use crate::bundle::{Bundle, BundleKind};

    fn granule(time_min: i64) -> Granule {
        Granule {
            rows: 1,
            time_min,
            time_max: time_min + 5,
            streams: 0..=0,
            lengths: LengthSet::default(),
            runs: Runs::default(),
            grams: Grams::unknown(),
            complete: Complete::ALL,
            rest_empty: true,
        }
    }

    async fn files_of(builder: IndexBuilder) -> Vec<(String, Bytes)> {
        let mut bundle = BundleBuilder::new(BundleKind::Logs, 1);
        builder.finish(&mut bundle).unwrap();
        let built = bundle.finish();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (path, length) = (Path::from("one"), built.bytes.len() as u64);
        store.put(&path, built.bytes.into()).await.unwrap();
        let bundle = Bundle::open(store, path, length, length, BundleKind::Logs, 1).await.unwrap();
        let names: Vec<&str> = bundle.names().collect();
        let contents = bundle.read_all(&names).await.unwrap();
        let file = |name: &str| name.trim_start_matches(index_files::FOLDER).to_owned();
        names.iter().map(|name| file(name)).zip(contents).collect()
    }

    #[tokio::test]
    async fn finds_granules_by_term() {
        let granules = [granule(-5), granule(3), granule(9)];
        let mut builder = IndexBuilder::new().unwrap();
        for (number, granule) in granules.iter().enumerate() {
            let mut document = builder.document();
            document.label(["app=a", "app=b", "app=a"][number]);
            document.word(["Error", "error", "größe"][number]);
            document.word("common");
            document.fragment(["ms", "s", "x"][number]);
            document.level(number as u32);
            builder.add(granule, document).unwrap();
        }
        let files = files_of(builder).await;
        let open = |granules: &[Granule]| {
            let files = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone()));
            GranuleIndex::open(files, granules)
        };
        let index = open(&granules).unwrap();
        let list =
            |found: Result<RoaringBitmap, Malformed>| found.unwrap().iter().collect::<Vec<_>>();
        let search = |text: &str, from_boundary| {
            let search = TermSearch::Regex(regex::bytes::Regex::new(text).unwrap());
            TermTest::Search { search, from_boundary }
        };
        assert_eq!(list(index.with_label("app", "a")), [0, 2]);
        assert_eq!(list(index.with_label("app", "c")), [0; 0]);
        assert_eq!(list(index.with_word(&TermTest::Exact("error".to_owned()))), [1]);
        assert_eq!(list(index.with_word(&search("(?i)rror", false))), [0, 1]);
        assert_eq!(list(index.with_word(&search("\ngröße\n", true))), [2]);
        assert_eq!(list(index.with_word(&TermTest::Every)), [0, 1, 2]);
        assert_eq!(list(index.with_fragment(&search("s\n", false))), [0, 1]);
        assert_eq!(list(index.with_level(2)), [2]);
        assert!(open(&granules[..2]).is_err());
        assert!(open(&[granule(0), granule(3), granule(9)]).is_err());
    }
}
