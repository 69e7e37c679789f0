//! The streams and levels of a segment, by number, and the volume table over them.
//!
//! Streams are numbered from 0 in the order of their label sets; levels from 1 in the order they
//! were met, 0 being "no level". The **volume table** has one row for every (stream, level,
//! minute) with a line, so counts over whole minutes never touch rows.
//!
//! What always holds: the volume table's lines add up to the rows of the segment.

use std::collections::HashMap;

use record::{Labels, Matcher};

use crate::wire::{self, Malformed, Reader};

/// Nanoseconds of a minute, the volume table's step.
pub const MINUTE_NS: i64 = 60_000_000_000;

/// The number of "no level".
pub(crate) const NO_LEVEL: u32 = 0;

/// A stream and the time its rows span, both ends inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) labels: Labels,
    pub(crate) time_min: i64,
    pub(crate) time_max: i64,
}

pub(crate) fn encode_streams(streams: &[Stream]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_varint(&mut out, streams.len() as u64);
    for stream in streams {
        wire::put_bytes(&mut out, stream.labels.to_json().as_bytes());
        wire::put_signed(&mut out, stream.time_min);
        wire::put_varint(&mut out, stream.time_max.wrapping_sub(stream.time_min) as u64);
    }
    out
}

pub(crate) fn decode_streams(section: &[u8]) -> Result<Vec<Stream>, Malformed> {
    let mut reader = Reader::new(section);
    let count = reader.count(3)?;
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let labels = Labels::from_json(reader.text()?)
            .map_err(|_| Malformed("a stream's labels are not what labels look like"))?;
        let time_min = reader.signed()?;
        let time_max = time_min.wrapping_add(reader.varint()? as i64);
        streams.push(Stream { labels, time_min, time_max });
    }
    reader.finish()?;
    Ok(streams)
}

pub(crate) fn encode_levels<'a>(count: usize, levels: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_varint(&mut out, count as u64);
    levels.for_each(|level| wire::put_bytes(&mut out, level));
    out
}

/// The levels by number; [`NO_LEVEL`] is `None`.
pub(crate) fn decode_levels(section: &[u8]) -> Result<Vec<Option<String>>, Malformed> {
    let mut reader = Reader::new(section);
    let count = reader.count(1)?;
    let mut levels = vec![None];
    for _ in 0..count {
        levels.push(Some(reader.text()?.to_owned()));
    }
    reader.finish()?;
    Ok(levels)
}

/// One row of the volume table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VolumeEntry {
    pub(crate) stream: u32,
    pub(crate) level: u32,
    /// Start of the minute, ns.
    pub(crate) minute_ns: i64,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

/// Counts rows that come sorted by stream and time.
#[derive(Debug, Default)]
pub(crate) struct VolumeBuilder {
    entries: Vec<VolumeEntry>,
    /// The entries of the current stream and minute, by level, and the one that was last added to.
    open: HashMap<u32, usize>,
    last: Option<(u32, usize)>,
    current: Option<(u32, i64)>,
}

impl VolumeBuilder {
    pub(crate) fn add(&mut self, stream: u32, level: u32, time_ns: i64, bytes: usize) {
        let minute_ns = minute_of(time_ns);
        if self.current != Some((stream, minute_ns)) {
            self.current = Some((stream, minute_ns));
            self.open.clear();
            self.last = None;
        }
        let at = match self.last {
            Some((last, at)) if last == level => at,
            _ => *self.open.entry(level).or_insert_with(|| {
                self.entries.push(VolumeEntry { stream, level, minute_ns, lines: 0, bytes: 0 });
                self.entries.len() - 1
            }),
        };
        self.last = Some((level, at));
        self.entries[at].lines += 1;
        self.entries[at].bytes += bytes as u64;
    }

    /// The counts, sorted by stream and minute.
    pub(crate) fn into_entries(self) -> Vec<VolumeEntry> {
        self.entries
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        wire::put_varint(out, self.entries.len() as u64);
        let (mut stream, mut minute) = (0, 0);
        for entry in &self.entries {
            wire::put_varint(out, (entry.stream - stream).into());
            wire::put_signed(out, entry.minute_ns.div_euclid(MINUTE_NS) - minute);
            wire::put_varint(out, entry.level.into());
            wire::put_varint(out, entry.lines);
            wire::put_varint(out, entry.bytes);
            stream = entry.stream;
            minute = entry.minute_ns.div_euclid(MINUTE_NS);
        }
    }
}

/// First format whose volume table tells the rows at the first instant of a minute apart.
pub(crate) const FIRSTS_SINCE: u32 = 6;

/// The volume table: how many rows there are by stream, level and minute.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Sorted by stream and minute.
    pub(crate) entries: Vec<VolumeEntry>,
    /// Of these, the rows at the very first instant of their minute; since [`FIRSTS_SINCE`].
    pub(crate) firsts: Option<Vec<VolumeEntry>>,
}

impl Volume {
    /// Reads the table; `streams` and `levels` are how many of each there are.
    pub(crate) fn decode(
        section: &[u8],
        streams: usize,
        levels: usize,
        format: u32,
    ) -> Result<Self, Malformed> {
        let mut reader = Reader::new(section);
        let entries = decode_entries(&mut reader, streams, levels)?;
        let firsts = match format {
            FIRSTS_SINCE.. => Some(decode_entries(&mut reader, streams, levels)?),
            _ => None,
        };
        reader.finish()?;
        Ok(Self { entries, firsts })
    }

    /// The rows by stream, level and minute, where a minute begins after its first instant and ends
    /// with the first of the next; sorted by stream and minute.
    pub(crate) fn by_end(&self) -> Option<Vec<VolumeEntry>> {
        let firsts = self.firsts.as_ref()?;
        let mut entries = self.entries.clone();
        let key = |entry: &VolumeEntry| (entry.stream, entry.minute_ns, entry.level);
        entries.sort_unstable_by_key(key);
        let mut moved = Vec::new();
        for first in firsts {
            let Ok(at) = entries.binary_search_by_key(&key(first), key) else { continue };
            let entry = &mut entries[at];
            entry.lines = entry.lines.saturating_sub(first.lines);
            let minute_ns = minute_of(first.minute_ns.saturating_sub(1));
            moved.push(VolumeEntry { minute_ns, ..*first });
        }
        entries.extend(moved);
        entries.retain(|entry| 0 < entry.lines);
        entries.sort_unstable_by_key(key);
        entries.dedup_by(|next, entry| {
            let same = key(next) == key(entry);
            if same {
                entry.lines = entry.lines.saturating_add(next.lines);
            }
            same
        });
        Some(entries)
    }

    /// Bytes of memory it takes.
    pub(crate) fn held_bytes(&self) -> u64 {
        let entries = self.entries.len() + self.firsts.as_ref().map_or(0, Vec::len);
        (entries * size_of::<VolumeEntry>()) as u64
    }
}

/// The start of the minute `time_ns` is in.
///
/// The first minute that would start before the earliest time there is starts at that time.
pub(crate) fn minute_of(time_ns: i64) -> i64 {
    time_ns.div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS)
}

/// Whether a time is the very first instant of its minute.
pub(crate) fn is_first(time_ns: i64) -> bool {
    time_ns % MINUTE_NS == 0
}

fn decode_entries(
    reader: &mut Reader<'_>,
    streams: usize,
    levels: usize,
) -> Result<Vec<VolumeEntry>, Malformed> {
    let count = reader.count(5)?;
    let mut entries = Vec::with_capacity(count);
    let (mut stream, mut minute) = (0_u32, 0_i64);
    for _ in 0..count {
        stream = stream
            .checked_add(reader.number()?)
            .filter(|stream| (*stream as usize) < streams)
            .ok_or(Malformed("it counts a stream that is not there"))?;
        minute = minute.wrapping_add(reader.signed()?);
        let level: u32 = reader.number()?;
        if levels <= level as usize {
            return Err(Malformed("it counts a level that is not there"));
        }
        entries.push(VolumeEntry {
            stream,
            level,
            minute_ns: minute.saturating_mul(MINUTE_NS),
            lines: reader.varint()?,
            bytes: reader.varint()?,
        });
    }
    Ok(entries)
}

/// Which streams satisfy every matcher, by number.
pub(crate) fn matching_streams(streams: &[Stream], matchers: &[Matcher]) -> Vec<bool> {
    let passes = |stream: &Stream| matchers.iter().all(|m| m.matches_labels(&stream.labels));
    streams.iter().map(passes).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn streams_and_levels_survive_their_bytes() {
        let stream = |app: &str, time_min, time_max| Stream {
            labels: Labels::from_pairs([("app", app), ("x", "\"quoted\"\n")]),
            time_min,
            time_max,
        };
        let streams = vec![stream("a", -5, 7), stream("é", i64::MIN, i64::MAX)];
        assert_eq!(decode_streams(&encode_streams(&streams)).unwrap(), streams);
        let levels = [&b"info"[..], b""];
        assert_eq!(
            decode_levels(&encode_levels(2, levels.into_iter())).unwrap(),
            [None, Some("info".to_owned()), Some(String::new())]
        );
    }

    proptest! {
        #[test]
        fn volumes_add_up(
            mut rows in prop::collection::vec((0_u32..4, -200_i64..200, 0_u32..3, 0_usize..50), 0..100),
        ) {
            rows.sort_unstable();
            let mut builder = VolumeBuilder::default();
            for (stream, seconds, level, bytes) in &rows {
                builder.add(*stream, *level, seconds * 1_000_000_000, *bytes);
            }
            let mut section = Vec::new();
            builder.encode(&mut section);
            let volume = Volume::decode(&section, 4, 3, 5).unwrap();
            prop_assert_eq!(volume.by_end(), None);
            let entries = volume.entries;
            prop_assert_eq!(&entries, &builder.entries);
            for entry in &entries {
                let matching: Vec<_> = rows
                    .iter()
                    .filter(|(stream, seconds, level, _)| {
                        let from = seconds * 1_000_000_000 - entry.minute_ns;
                        *stream == entry.stream && *level == entry.level
                            && (0..MINUTE_NS).contains(&from)
                    })
                    .collect();
                prop_assert_eq!(entry.lines, matching.len() as u64);
                prop_assert_eq!(entry.bytes, matching.iter().map(|r| r.3 as u64).sum::<u64>());
            }
            prop_assert_eq!(entries.iter().map(|e| e.lines).sum::<u64>(), rows.len() as u64);
        }

        #[test]
        fn minutes_may_begin_after_their_first_instant(
            mut rows in prop::collection::vec((0_u32..4, -20_i64..20, 0_u32..3), 0..100),
        ) {
            // Every second row is at such an instant.
            rows.iter_mut().for_each(|(_, time, _)| *time *= MINUTE_NS / 2);
            rows.sort_unstable();
            let (mut all, mut firsts, mut expected) =
                (VolumeBuilder::default(), VolumeBuilder::default(), HashMap::new());
            for (stream, time, level) in &rows {
                all.add(*stream, *level, *time, 7);
                if is_first(*time) {
                    firsts.add(*stream, *level, *time, 7);
                }
                *expected.entry((*stream, *level, minute_of(time - 1))).or_insert(0) += 1;
            }
            let mut section = Vec::new();
            all.encode(&mut section);
            firsts.encode(&mut section);
            let entries = Volume::decode(&section, 4, 3, 6).unwrap().by_end().unwrap();
            prop_assert!(entries.is_sorted_by_key(|e| (e.stream, e.minute_ns)));
            let found = entries.iter().map(|e| ((e.stream, e.level, e.minute_ns), e.lines));
            prop_assert_eq!(found.collect::<HashMap<_, _>>(), expected);
        }

        #[test]
        fn damaged_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            format in 5_u32..7,
        ) {
            drop(decode_streams(&bytes));
            drop(decode_levels(&bytes));
            drop(Volume::decode(&bytes, 3, 3, format).map(|volume| volume.by_end()));
        }
    }
}
