//! The container of every segment: named sections in one object, found through its last bytes.
//!
//! `docs/formats/bundle.md` has the bytes.
//!
//! What always holds: a section is handed out whole only after its checksum matched; no length or
//! offset in an object is trusted before it was checked against the object's size; any bytes at
//! all give a bundle or an error naming the object.
//!
//! What bounds it: the directory ([`DIRECTORY_BYTES_MAX`]); sections are read one by one, so
//! memory is the caller's choice.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use object_store::ObjectStore;
use object_store::path::Path;

const MAGIC: &[u8; 8] = b"MILLRACE";
const FORMAT: u32 = 1;
const TAIL_BYTES: usize = 32;

/// Tail bytes that the directory's checksum covers: all before the checksum itself.
const TAIL_CHECKED_BYTES: usize = 16;

/// Largest directory: 65,536 sections of short names; segments have a few dozen.
pub const DIRECTORY_BYTES_MAX: usize = 2 << 20;

/// More than the directory of a segment takes, with what follows it.
const DIRECTORY_BYTES_USUAL: usize = 4 << 10;

/// What kind of segment a bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    Logs,
    Samples,
}

impl BundleKind {
    const fn letters(self) -> [u8; 4] {
        match self {
            Self::Logs => *b"LOGS",
            Self::Samples => *b"SMPL",
        }
    }
}

/// Why a bundle or one of its sections cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The store refused or failed; trying again may help.
    #[error("read segment object `{path}`")]
    Store { path: String, source: object_store::Error },

    /// The bytes are not what was written.
    #[error("segment object `{path}` is damaged: {what}")]
    Damaged { path: String, what: String },

    /// The bytes are fine, but this program is too old for them.
    #[error(
        "segment object `{path}` has {what} format {found}, this program reads up to {newest}: \
         run a newer Millrace"
    )]
    TooNew { path: String, what: &'static str, found: u32, newest: u32 },
}

/// Lays sections out one after another.
#[derive(Debug)]
pub struct BundleBuilder {
    kind: BundleKind,
    format: u32,
    bytes: BytesMut,
    sections: Vec<(String, Section)>,
    opening_from: Option<usize>,
}

/// A finished bundle.
#[derive(Clone, Debug)]
pub struct BuiltBundle {
    pub bytes: Bytes,
    /// How many of the last bytes one read should fetch to open it.
    pub footer_bytes: u64,
}

/// Where a section lies and what its bytes must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub range: Range<u64>,
    crc32c: u32,
}

impl BundleBuilder {
    /// Starts a bundle of `kind` in that kind's own `format` version.
    pub fn new(kind: BundleKind, format: u32) -> Self {
        let bytes = BytesMut::from(&MAGIC[..]);
        Self { kind, format, bytes, sections: Vec::new(), opening_from: None }
    }

    /// Makes room for sections of so many bytes together, and the directory.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes + DIRECTORY_BYTES_USUAL);
    }

    /// Adds a section.
    ///
    /// # Panics
    /// When the name is empty, longer than 255 bytes or taken: names are chosen by our code.
    pub fn add(&mut self, name: &str, content: &[u8]) {
        assert!((1..=255).contains(&name.len()), "section name of 1 to 255 bytes: {name:?}");
        assert!(self.sections.iter().all(|(taken, _)| taken != name), "section {name:?} twice");
        let start = self.bytes.len() as u64;
        self.bytes.put_slice(content);
        let range = start..self.bytes.len() as u64;
        self.sections.push((name.to_owned(), Section { range, crc32c: crc32c::crc32c(content) }));
    }

    /// Sections added from here on are fetched by the read that opens the bundle.
    pub fn opening_from_here(&mut self) {
        self.opening_from = Some(self.bytes.len());
    }

    /// Bytes laid out so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no section was added yet.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// Writes the directory and the tail.
    pub fn finish(mut self) -> BuiltBundle {
        let directory_start = self.bytes.len();
        for (name, section) in &self.sections {
            self.bytes.put_u8(name.len() as u8);
            self.bytes.put_slice(name.as_bytes());
            self.bytes.put_u64_le(section.range.start);
            self.bytes.put_u64_le(section.range.end - section.range.start);
            self.bytes.put_u32_le(section.crc32c);
        }
        let directory_bytes = self.bytes.len() - directory_start;
        self.bytes.put_slice(&self.kind.letters());
        self.bytes.put_u32_le(self.format);
        self.bytes.put_u32_le(self.sections.len() as u32);
        self.bytes.put_u32_le(directory_bytes as u32);
        let checksum = crc32c::crc32c(&self.bytes[directory_start..]);
        self.bytes.put_u32_le(checksum);
        self.bytes.put_u32_le(FORMAT);
        self.bytes.put_slice(MAGIC);
        let opening_from = self.opening_from.unwrap_or(directory_start);
        let footer_bytes = (self.bytes.len() - opening_from) as u64;
        BuiltBundle { bytes: self.bytes.freeze(), footer_bytes }
    }
}

/// An opened bundle: its directory, and the bytes at its end that opening fetched.
#[derive(Clone, Debug)]
pub struct Bundle {
    store: Arc<dyn ObjectStore>,
    location: Path,
    format: u32,
    sections: BTreeMap<String, Section>,
    at_hand: Bytes,
    at_hand_from: u64,
}

impl Bundle {
    /// Opens the object of `bytes` bytes with one read of its last `footer_bytes`, or two when
    /// that was too few.
    ///
    /// # Errors
    /// When the object cannot be read, is damaged, is not of `kind`, or is of a newer format than
    /// `newest_format`.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        location: Path,
        bytes: u64,
        footer_bytes: u64,
        kind: BundleKind,
        newest_format: u32,
    ) -> Result<Self, BundleError> {
        let object = Object { store: &*store, path: &location };
        let wanted = footer_bytes.max(TAIL_BYTES as u64);
        let mut at_hand = object.last(bytes, wanted).await?;
        let tail = Tail::parse(&at_hand).map_err(|problem| object.error(problem))?;
        let needed = tail.directory_bytes as u64 + TAIL_BYTES as u64;
        if (at_hand.len() as u64) < needed {
            at_hand = object.last(bytes, needed).await?;
        }
        let sections = tail
            .check(kind, newest_format)
            .and_then(|()| tail.directory(&at_hand, bytes))
            .map_err(|problem| object.error(problem))?;
        let at_hand_from = bytes - at_hand.len() as u64;
        let format = tail.format;
        Ok(Self { store, location, format, sections, at_hand, at_hand_from })
    }

    /// The format version of this kind of segment.
    pub fn format(&self) -> u32 {
        self.format
    }

    /// Names of all sections, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// Where a section lies.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn section(&self, name: &str) -> Result<&Section, BundleError> {
        self.sections.get(name).ok_or_else(|| self.damaged(format!("it has no section `{name}`")))
    }

    /// A whole section, checked.
    ///
    /// # Errors
    /// When it is missing, cannot be read or does not match its checksum.
    pub async fn read(&self, name: &str) -> Result<Bytes, BundleError> {
        let section = self.section(name)?;
        let content = self.object_range(section.range.clone()).await?;
        self.checked(name, section, content)
    }

    /// Whole sections, checked, in the order of `names`; near ones in one request.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_all(&self, names: &[&str]) -> Result<Vec<Bytes>, BundleError> {
        let mut ranges = Vec::with_capacity(names.len());
        for name in names {
            ranges.push(self.section(name)?.range.clone());
        }
        let contents = self.object_ranges(&ranges).await?;
        let mut checked = Vec::with_capacity(names.len());
        for (name, content) in names.iter().zip(contents) {
            checked.push(self.checked(name, self.section(name)?, content)?);
        }
        Ok(checked)
    }

    /// Parts of a section, **not** checked: offsets count from the section's start.
    ///
    /// # Errors
    /// When the section is missing, a part lies outside it, or it cannot be read.
    pub async fn read_parts(
        &self,
        name: &str,
        parts: &[Range<u64>],
    ) -> Result<Vec<Bytes>, BundleError> {
        let section = &self.section(name)?.range;
        let mut ranges = Vec::with_capacity(parts.len());
        for part in parts {
            let length = section.end - section.start;
            if part.end < part.start || length < part.end {
                let what = format!("section `{name}` of {length} bytes has no part {part:?}");
                return Err(self.damaged(what));
            }
            ranges.push(section.start + part.start..section.start + part.end);
        }
        self.object_ranges(&ranges).await
    }

    /// An error that says what is wrong with this object.
    pub fn damaged(&self, what: impl Into<String>) -> BundleError {
        BundleError::Damaged { path: self.location.to_string(), what: what.into() }
    }

    fn checked(&self, name: &str, section: &Section, content: Bytes) -> Result<Bytes, BundleError> {
        let computed = crc32c::crc32c(&content);
        if computed != section.crc32c {
            return Err(self.damaged(format!(
                "section `{name}` has checksum {:08x}, its bytes give {computed:08x}",
                section.crc32c
            )));
        }
        Ok(content)
    }

    async fn object_range(&self, range: Range<u64>) -> Result<Bytes, BundleError> {
        let mut contents = self.object_ranges(&[range]).await?;
        Ok(contents.pop().unwrap_or_default())
    }

    /// Ranges of the object, from the bytes at hand where they are there.
    async fn object_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BundleError> {
        let is_far = |range: &&Range<u64>| range.start < range.end && self.near(range).is_none();
        let far: Vec<Range<u64>> = ranges.iter().filter(is_far).cloned().collect();
        let mut fetched = Vec::new().into_iter();
        if !far.is_empty() {
            let object = Object { store: &*self.store, path: &self.location };
            fetched = object.ranges(&far).await?.into_iter();
        }
        let pick = |range: &Range<u64>| {
            if range.is_empty() {
                return Bytes::new();
            }
            self.near(range).or_else(|| fetched.next()).unwrap_or_default()
        };
        Ok(ranges.iter().map(pick).collect())
    }

    fn near(&self, range: &Range<u64>) -> Option<Bytes> {
        let start = range.start.checked_sub(self.at_hand_from)? as usize;
        let end = range.end.checked_sub(self.at_hand_from)? as usize;
        (end <= self.at_hand.len()).then(|| self.at_hand.slice(start..end))
    }
}

/// An object being read, to name it in errors.
struct Object<'a> {
    store: &'a dyn ObjectStore,
    path: &'a Path,
}

impl Object<'_> {
    async fn last(&self, bytes: u64, wanted: u64) -> Result<Bytes, BundleError> {
        let last = bytes.saturating_sub(wanted)..bytes;
        let mut found = self.ranges(std::slice::from_ref(&last)).await?;
        Ok(found.pop().unwrap_or_default())
    }

    /// The bytes of `ranges`; shorter answers are damage: the object is not what the catalog says.
    async fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BundleError> {
        // Also one range: ranges are what caches keep.
        let found = self.store.get_ranges(self.path, ranges).await;
        let found = found.map_err(|source| self.store_error(source))?;
        for (range, bytes) in ranges.iter().zip(&found) {
            if bytes.len() as u64 != range.end - range.start {
                return Err(self.error(Problem::damage("it is shorter than the catalog says")));
            }
        }
        Ok(found)
    }

    fn store_error(&self, source: object_store::Error) -> BundleError {
        BundleError::Store { path: self.path.to_string(), source }
    }

    fn error(&self, problem: Problem) -> BundleError {
        let path = self.path.to_string();
        match problem {
            Problem::Damage(what) => BundleError::Damaged { path, what },
            Problem::TooNew { what, found, newest } => {
                BundleError::TooNew { path, what, found, newest }
            }
        }
    }
}

/// What is wrong with some bytes, before it is known whose they are.
#[derive(Debug)]
enum Problem {
    Damage(String),
    TooNew { what: &'static str, found: u32, newest: u32 },
}

impl Problem {
    fn damage(what: impl Into<String>) -> Self {
        Self::Damage(what.into())
    }
}

#[derive(Debug)]
struct Tail {
    kind: [u8; 4],
    format: u32,
    sections: u32,
    directory_bytes: usize,
    checksum: u32,
}

impl Tail {
    fn parse(last: &[u8]) -> Result<Self, Problem> {
        let Some((_, mut tail)) = last.split_last_chunk::<TAIL_BYTES>().map(|(a, b)| (a, &b[..]))
        else {
            return Err(Problem::damage("it is too short to be a segment"));
        };
        let mut kind = [0; 4];
        tail.copy_to_slice(&mut kind);
        let format = tail.get_u32_le();
        let sections = tail.get_u32_le();
        let directory_bytes = tail.get_u32_le() as usize;
        let checksum = tail.get_u32_le();
        let bundle_format = tail.get_u32_le();
        if tail != MAGIC {
            return Err(Problem::damage("it does not end as a segment does"));
        }
        if FORMAT < bundle_format {
            return Err(Problem::TooNew { what: "bundle", found: bundle_format, newest: FORMAT });
        }
        if DIRECTORY_BYTES_MAX < directory_bytes {
            return Err(Problem::damage(format!("its directory has {directory_bytes} bytes")));
        }
        Ok(Self { kind, format, sections, directory_bytes, checksum })
    }

    fn check(&self, kind: BundleKind, newest_format: u32) -> Result<(), Problem> {
        if self.kind != kind.letters() {
            return Err(Problem::damage(format!(
                "it is of kind `{}`, not `{}`",
                self.kind.escape_ascii(),
                kind.letters().escape_ascii()
            )));
        }
        if newest_format < self.format {
            let what = match kind {
                BundleKind::Logs => "logs segment",
                BundleKind::Samples => "samples segment",
            };
            return Err(Problem::TooNew { what, found: self.format, newest: newest_format });
        }
        Ok(())
    }

    /// Reads the directory out of the object's last bytes.
    fn directory(
        &self,
        last: &Bytes,
        object_bytes: u64,
    ) -> Result<BTreeMap<String, Section>, Problem> {
        let tail_start = last.len() - TAIL_BYTES;
        let Some(start) = tail_start.checked_sub(self.directory_bytes) else {
            return Err(Problem::damage("its directory is larger than the object"));
        };
        if crc32c::crc32c(&last[start..tail_start + TAIL_CHECKED_BYTES]) != self.checksum {
            return Err(Problem::damage("its directory does not match its checksum"));
        }
        let limit = object_bytes - (last.len() - start) as u64;
        let mut rest = &last[start..tail_start];
        let mut sections = BTreeMap::new();
        while !rest.is_empty() {
            let (name, section) = read_entry(&mut rest, limit)?;
            if sections.insert(name, section).is_some() {
                return Err(Problem::damage("two of its sections have one name"));
            }
        }
        if sections.len() != self.sections as usize {
            return Err(Problem::damage("its directory has another number of sections"));
        }
        Ok(sections)
    }
}

fn read_entry(rest: &mut &[u8], limit: u64) -> Result<(String, Section), Problem> {
    let broken = || Problem::damage("its directory breaks off");
    let name_bytes = rest.try_get_u8().map_err(|_| broken())? as usize;
    let (name, after) = rest.split_at_checked(name_bytes).ok_or_else(broken)?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| broken())?;
    *rest = after;
    let start = rest.try_get_u64_le().map_err(|_| broken())?;
    let length = rest.try_get_u64_le().map_err(|_| broken())?;
    let crc32c = rest.try_get_u32_le().map_err(|_| broken())?;
    let end = start.checked_add(length).filter(|end| *end <= limit);
    match end {
        Some(end) if MAGIC.len() as u64 <= start => {
            Ok((name, Section { range: start..end, crc32c }))
        }
        _ => Err(Problem::damage(format!("its section `{name}` lies outside of it"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use object_store::memory::InMemory;
    use proptest::prelude::*;

    use object_store::ObjectStoreExt;

    use super::*;

    const SECTIONS: [(&str, &[u8]); 4] =
        [("columns", b"0123456789"), ("empty", b""), ("index/a", b"abc"), ("index/b", b"defg")];

    fn built() -> BuiltBundle {
        let mut builder = BundleBuilder::new(BundleKind::Logs, 3);
        for (name, content) in SECTIONS {
            if name == "index/a" {
                builder.opening_from_here();
            }
            builder.add(name, content);
        }
        builder.finish()
    }

    async fn open(bytes: Bytes, footer_bytes: u64) -> Result<Bundle, BundleError> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (path, length) = (Path::from("segments/x"), bytes.len() as u64);
        store.put(&path, bytes.into()).await.unwrap();
        Bundle::open(store, path, length, footer_bytes, BundleKind::Logs, 3).await
    }

    async fn contents(bundle: &Bundle) -> Result<Vec<Bytes>, BundleError> {
        bundle.read_all(&SECTIONS.map(|(name, _)| name)).await
    }

    #[tokio::test]
    async fn sections_come_back_however_much_the_first_read_fetched() {
        let BuiltBundle { bytes, footer_bytes } = built();
        for footer_bytes in [0, 40, footer_bytes, bytes.len() as u64, u64::MAX] {
            let bundle = open(bytes.clone(), footer_bytes).await.unwrap();
            assert_eq!(contents(&bundle).await.unwrap(), SECTIONS.map(|(_, content)| content));
            assert_eq!(bundle.read("columns").await.unwrap(), "0123456789");
            let parts = bundle.read_parts("columns", &[0..2, 2..2, 8..10]).await.unwrap();
            assert_eq!(parts, ["01", "", "89"]);
            assert!(bundle.read_parts("columns", &[0..2, 8..11]).await.is_err());
            assert!(bundle.read("absent").await.unwrap_err().to_string().contains("`absent`"));
        }
    }

    #[tokio::test]
    async fn kinds_and_newer_formats_are_refused_by_name() {
        let bytes = built().bytes;
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (path, length) = (Path::from("segments/x"), bytes.len() as u64);
        store.put(&path, bytes.into()).await.unwrap();
        let open = |kind, newest| {
            Bundle::open(Arc::clone(&store), path.clone(), length, 100, kind, newest)
        };
        let newer = open(BundleKind::Logs, 2).await.unwrap_err();
        assert!(matches!(newer, BundleError::TooNew { found: 3, newest: 2, .. }), "{newer}");
        let other = open(BundleKind::Samples, 3).await.unwrap_err();
        assert!(other.to_string().contains("`LOGS`"), "{other}");
    }

    #[tokio::test]
    async fn every_flipped_bit_and_every_cut_is_an_error_or_changes_nothing() {
        let BuiltBundle { bytes, footer_bytes } = built();
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            for damaged in [Bytes::from(flipped), bytes.slice(..at)] {
                let outcome = match open(damaged, footer_bytes).await {
                    Ok(bundle) => contents(&bundle).await,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(same) => assert_eq!(same, SECTIONS.map(|(_, content)| content)),
                    Err(error) => assert!(error.to_string().contains("segments/x"), "{error}"),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bundle_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            directory_bytes in 0_u32..100,
        ) {
            if let Some(tail) = bytes.last_chunk_mut::<TAIL_BYTES>() {
                tail[12..16].copy_from_slice(&directory_bytes.to_le_bytes());
                tail[20..24].copy_from_slice(&FORMAT.to_le_bytes());
                tail[24..].copy_from_slice(MAGIC);
            }
            let object_bytes = bytes.len() as u64;
            if let Ok(tail) = Tail::parse(&bytes) {
                drop(tail.directory(&Bytes::from(bytes), object_bytes));
            }
        }
    }
}
