//! The sections of a logs segment by name, and the format's version.
//!
//! The container around them is [`crate::bundle`]; `docs/formats/segment.md` has the bytes.

/// The format this build writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 8;

pub(crate) const PATTERNS: &str = "patterns";
pub(crate) const STREAMS: &str = "streams";
pub(crate) const LEVELS: &str = "levels";
pub(crate) const VOLUME: &str = "volume";
pub(crate) const TOKENS: &str = "tokens";
/// The pages of the Parquet file; with [`COLUMNS_META`], which adjoins it, the whole file.
pub(crate) const COLUMNS: &str = "columns";
/// Parquet's offset index and metadata. From here to the end is what opening reads.
pub(crate) const COLUMNS_META: &str = "columns-meta";
pub(crate) const GRANULES: &str = "granules";
pub(crate) const TOKEN_DIRECTORY: &str = "token-directory";

/// Stands for the tantivy files, which are sections of their own.
pub(crate) const INDEX: &str = "index";

/// Most bytes a compressed section has when it is not. Writers refuse more, readers too.
pub(crate) const SECTION_BYTES_MAX: usize = 512 << 20;
