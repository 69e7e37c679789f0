//! Which series may satisfy matchers: a tantivy index with one document a series.
//!
//! Always holds: every series that satisfies the matchers is among the candidates. The caller
//! tests the label sets of the candidates, so nothing here needs to be exact.

use record::{Labels, MatchOp, Matcher};
use roaring::RoaringBitmap;
use tantivy::postings::Postings;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{InvertedIndexReader, SegmentReader, TERMINATED, TantivyDocument};

use crate::bundle::BundleBuilder;
use crate::index_files::IndexFilesBuilder;

const FIELD: &str = "label";

/// Between a label's name and value in a term; names never contain it.
const SEPARATOR: char = '\0';

/// tantivy drops terms of 65,530 bytes and more; such labels get [`LONG`] instead.
const TERM_BYTES_MAX: usize = 60_000;

/// The term of series with a label that has no term of its own.
const LONG: &str = "\0long";

/// What the index writer may hold before it would cut a second segment, which it cannot: it is
/// only a hint to its hash table. Fifteen million is tantivy's own minimum.
const WRITER_MEMORY_BYTES: usize = 50_000_000;

fn schema() -> (Schema, Field) {
    let mut schema = Schema::builder();
    let exact = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::Basic);
    let field = schema.add_text_field(FIELD, TextOptions::default().set_indexing_options(exact));
    (schema.build(), field)
}

/// Indexes label sets in order of ordinals into sections of `bundle`.
pub(super) fn build<'a>(
    series: impl Iterator<Item = &'a Labels>,
    bundle: &mut BundleBuilder,
) -> tantivy::Result<()> {
    let (schema, field) = schema();
    let mut index = IndexFilesBuilder::new(schema, WRITER_MEMORY_BYTES)?;
    for labels in series {
        let mut document = TantivyDocument::default();
        for (name, value) in labels.iter() {
            let term = format!("{name}{SEPARATOR}{value}");
            document.add_text(field, if TERM_BYTES_MAX < term.len() { LONG } else { &term });
        }
        index.add(document)?;
    }
    index.finish(bundle)
}

/// Ordinals of the series that may satisfy all matchers.
pub(super) fn candidates(
    reader: &SegmentReader,
    matchers: &[Matcher],
) -> tantivy::Result<RoaringBitmap> {
    let field = reader.schema().get_field(FIELD)?;
    let terms = reader.inverted_index(field)?;
    let mut found = RoaringBitmap::new();
    found.insert_range(0..reader.max_doc());
    // A matcher that accepts the empty value also accepts series without the label, which have no
    // term to find them by.
    for matcher in matchers.iter().filter(|matcher| !matcher.matches_empty()) {
        let mut accepted = RoaringBitmap::new();
        match matcher.op() {
            MatchOp::Eq => {
                let term = format!("{}{SEPARATOR}{}", matcher.name(), matcher.value());
                add_documents(&terms, term.as_bytes(), &mut accepted)?;
            }
            MatchOp::Ne | MatchOp::Re | MatchOp::Nre => {
                add_matching(&terms, matcher, &mut accepted)?;
            }
        }
        add_documents(&terms, LONG.as_bytes(), &mut accepted)?;
        found &= accepted;
        if found.is_empty() {
            break;
        }
    }
    Ok(found)
}

fn add_documents(
    terms: &InvertedIndexReader,
    term: &[u8],
    found: &mut RoaringBitmap,
) -> tantivy::Result<()> {
    if let Some(info) = terms.terms().get(term)? {
        let mut documents = terms.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
        add_all(&mut documents, found);
    }
    Ok(())
}

/// Tests every value the label has.
fn add_matching(
    terms: &InvertedIndexReader,
    matcher: &Matcher,
    found: &mut RoaringBitmap,
) -> tantivy::Result<()> {
    let prefix = format!("{}{SEPARATOR}", matcher.name());
    let after = format!("{}\u{1}", matcher.name());
    let mut stream =
        terms.terms().range().ge(prefix.as_bytes()).lt(after.as_bytes()).into_stream()?;
    while stream.advance() {
        let value = stream.key().get(prefix.len()..).unwrap_or_default();
        if std::str::from_utf8(value).is_ok_and(|value| matcher.matches(value)) {
            let info = stream.value().clone();
            let mut documents =
                terms.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
            add_all(&mut documents, found);
        }
    }
    Ok(())
}

fn add_all(documents: &mut impl Postings, found: &mut RoaringBitmap) {
    let mut document = documents.doc();
    while document != TERMINATED {
        found.insert(document);
        document = documents.advance();
    }
}
