//! A tantivy index as sections of a bundle, one section a file.
//!
//! Segments hold exactly one tantivy segment, built in memory and never changed; opening fetches
//! its files whole and reads them from memory, which suits indexes over granules or series: they
//! are small beside the rows. tantivy's own per-file checksum comes on top of the section's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tantivy::directory::{Directory, RamDirectory};
use tantivy::schema::Schema;
use tantivy::{Index, SegmentReader, SingleSegmentIndexWriter, TantivyDocument};

use crate::bundle::{Bundle, BundleBuilder, BundleError};

/// Section names of index files start with this.
pub(crate) const FOLDER: &str = "index/";

/// The file that lists the others.
const META_FILE: &str = "meta.json";

/// Builds a one-segment index in memory; documents keep the order they are added in, so a
/// document's id is its position.
pub struct IndexFilesBuilder {
    directory: RamDirectory,
    writer: SingleSegmentIndexWriter<TantivyDocument>,
}

impl std::fmt::Debug for IndexFilesBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IndexFilesBuilder").finish_non_exhaustive()
    }
}

impl IndexFilesBuilder {
    /// Starts an index with a writer that may take `memory_bytes`.
    ///
    /// # Errors
    /// When tantivy refuses the schema or the budget.
    pub fn new(schema: Schema, memory_bytes: usize) -> tantivy::Result<Self> {
        let directory = RamDirectory::create();
        let writer = Index::builder()
            .schema(schema)
            .single_segment_index_writer(directory.clone(), memory_bytes)?;
        Ok(Self { directory, writer })
    }

    /// Adds the next document.
    ///
    /// # Errors
    /// When the document does not fit the schema.
    pub fn add(&mut self, document: TantivyDocument) -> tantivy::Result<()> {
        self.writer.add_document(document)
    }

    /// Finishes the index and adds its files to `bundle`.
    ///
    /// # Errors
    /// When tantivy fails to write its segment.
    pub fn finish(self, bundle: &mut BundleBuilder) -> tantivy::Result<()> {
        let index = self.writer.finalize()?;
        let mut files: Vec<PathBuf> =
            index.load_metas()?.list_segment_files().into_iter().collect();
        files.push(PathBuf::from(META_FILE));
        files.sort_unstable();
        for file in files {
            // A segment without, say, deletes lists the file's name but has none.
            if self.directory.exists(&file)? {
                let content = self.directory.atomic_read(&file)?;
                bundle.add(&format!("{FOLDER}{}", file.display()), &content);
            }
        }
        Ok(())
    }
}

/// Fetches the index files of a bundle and opens the one segment in them.
///
/// # Errors
/// When files are missing, damaged, or not an index with exactly one segment.
pub async fn open(bundle: &Bundle) -> Result<(Index, Arc<SegmentReader>), BundleError> {
    let names: Vec<&str> = bundle.names().filter(|name| name.starts_with(FOLDER)).collect();
    let contents = bundle.read_all(&names).await?;
    let files = names.iter().map(|name| name.trim_start_matches(FOLDER)).zip(contents);
    open_files(files).map_err(|error| bundle.damaged(format!("its index: {error}")))
}

/// Opens the one segment of an index from its files by name, without [`FOLDER`].
pub(crate) fn open_files<'a>(
    files: impl Iterator<Item = (&'a str, Bytes)>,
) -> tantivy::Result<(Index, Arc<SegmentReader>)> {
    let directory = RamDirectory::create();
    for (name, content) in files {
        directory.atomic_write(Path::new(name), &content)?;
    }
    let index = Index::open(directory)?;
    let segments = index.searchable_segments()?;
    let [segment] = &segments[..] else {
        let message = format!("it has {} segments, expected one", segments.len());
        return Err(tantivy::TantivyError::SchemaError(message));
    };
    let reader = SegmentReader::open(segment)?;
    Ok((index, Arc::new(reader)))
}
