//! The variables of a granule's lines, apart from their patterns.
//!
//! Within a granule, what stands in one place of one pattern is alike: a number of a certain
//! length, an identifier, a name with a counter behind it. Such a place is a **slot**, and its
//! values lie together ([`by_slot`]). Most bytes of variables are digits, and most digits are as
//! good as random, so a value is taken apart once more, into its **mask** (the value with its
//! digits made zeros) and its digits. The masks of a slot are few, mostly one; the digits of all
//! slots go into one row of [`digits`], or, where they repeat from value to value, into a row that
//! zstd compresses. Slots whose masks hardly repeat are kept as text, or, where they are
//! hexadecimal, as numbers of identifiers ([`ids`]). The slots of some patterns at a time make a
//! group ([`groups`]), which is what has to be decompressed for any line of these patterns.
//!
//! What always holds: a line is its pattern with the values put back, byte for byte; a line
//! without a pattern is the only value of a slot of its own.
//!
//! Bounds: a granule's variables are no larger than its lines; a slot has at most [`CHOICES_MAX`]
//! masks.

mod asked;
mod by_slot;
mod collected;
mod digits;
mod groups;
mod ids;
mod ids_writer;
mod masks;
mod needed;
mod opened;
mod read;
mod search;
mod shapes;
mod slot;
mod steps;
mod streams;
mod values;
mod write;

pub(crate) use by_slot::BySlot;
pub(crate) use collected::{GranuleVariables, Value};
pub(crate) use needed::Needed;
pub(crate) use opened::{Encoded, Opened};
pub(crate) use read::{UNREAD, Variables};
pub(crate) use search::{TokenNeedle, TokenNeedles};
pub(crate) use shapes::Shapes;
pub(crate) use write::VariablesWriter;

/// Masks of one slot that are told apart; one byte a value says which.
const CHOICES_MAX: usize = 256;

/// Shortest hexadecimal value worth half-bytes: shorter ones are mostly words.
const HALF_BYTES_MIN: usize = 8;

/// Bytes of streams before compression, at which a group ends with the pattern at hand.
const GROUP_BYTES: usize = 64 << 10;

/// Most bytes of one stream before compression, and of a granule's lines rebuilt at once.
const STREAM_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::borrow::Cow;

    use bytes::Bytes;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::logs::pattern::{NO_PATTERN, PatternInterner};
    use crate::logs::pattern_table::PatternTable;
    use crate::logs::sections::FORMAT_VERSION;
    use crate::wire::Malformed;

    struct Written {
        bytes: Vec<u8>,
        /// How many of the last bytes are groups.
        groups_bytes: usize,
        patterns: Vec<u32>,
        table: PatternTable,
    }

    /// Encodes `lines` as one granule; those that `without` names get no pattern.
    fn encode(
        writer: &mut VariablesWriter,
        lines: &[String],
        without: impl Fn(usize) -> bool,
    ) -> Written {
        let mut interner = PatternInterner::default();
        let mut variables = GranuleVariables::default();
        let mut patterns = Vec::new();
        for (row, line) in lines.iter().enumerate() {
            let mut put = |from: &[u8], length| variables.push(from, length);
            let interned = interner.intern(line.as_bytes(), &mut put);
            let pattern = if without(row) { NO_PATTERN } else { interned.pattern };
            match pattern {
                NO_PATTERN => variables.end_row_without_pattern(line.as_bytes()),
                _ => variables.end_row(),
            }
            patterns.push(pattern);
        }
        let table = PatternTable::decode(&interner.encode(), FORMAT_VERSION).unwrap();
        let mut by_slot = BySlot::default();
        by_slot.arrange(&patterns, &variables);
        let (bytes, groups_bytes) = writer.encode(&by_slot).unwrap();
        Written { bytes, groups_bytes, patterns, table }
    }

    impl Written {
        fn open(&self) -> Result<Opened<'_>, Malformed> {
            self.open_as(Encoded::Whole(&self.bytes))
        }

        fn open_as<'a>(&'a self, encoded: Encoded<'a>) -> Result<Opened<'a>, Malformed> {
            Opened::new(
                encoded,
                &self.table,
                &self.patterns,
                Cow::Owned(Shapes::of(&self.table, &self.patterns)?),
            )
        }

        /// Searching tokens finds what searching lines does.
        fn check_search(&self, lines: &[String], needles: &[(bool, Vec<String>)]) {
            let within = |text: &&String| TokenNeedle::new(text.as_bytes()).is_some();
            let needles: Vec<(bool, Vec<&String>)> = needles
                .iter()
                .map(|(negative, texts)| (*negative, texts.iter().filter(within).collect()))
                .collect();
            let filter = |(negative, texts): &(bool, Vec<&String>)| {
                let needles = texts.iter().filter_map(|text| TokenNeedle::new(text.as_bytes()));
                TokenNeedles { negative: *negative, needles: needles.collect() }
            };
            let filters: Vec<TokenNeedles> = needles.iter().map(filter).collect();
            let mut opened = self.open().unwrap();
            // A scan asks for the rows of the patterns that leave them open.
            let decided = |row: &usize| match &needles[..] {
                [(_, one)] if one.len() == 1 => {
                    let pattern = self.table.get(self.patterns[*row]).unwrap_or_default();
                    memchr::memmem::find(&pattern, one[0].as_bytes()).is_some()
                }
                _ => false,
            };
            let (certain, open): (Vec<usize>, Vec<usize>) = (0..lines.len()).partition(decided);
            let found = opened.satisfying(&filters, open.iter().copied()).unwrap();
            // What was searched can be read as well.
            let mut read = Variables::open(opened, 0..lines.len()).unwrap();
            for ((row, line), found) in lines.iter().enumerate().zip(&found) {
                assert_eq!(read.line(row).unwrap(), line);
                let expected = needles.iter().all(|(negative, texts)| {
                    texts.iter().any(|text| line.contains(text.as_str())) != *negative
                });
                assert_eq!(*found, expected && open.contains(&row), "{needles:?} in {line:?}");
            }
            self.check_in_part(lines, &filters, (&open, &certain), &found);
        }

        /// The groups that are needed suffice to find what is found with all, and to read it.
        fn check_in_part(
            &self,
            lines: &[String],
            filters: &[TokenNeedles],
            (open, certain): (&[usize], &[usize]),
            found: &[bool],
        ) {
            let (head, groups) = self.bytes.split_at(self.bytes.len() - self.groups_bytes);
            let mut opened = self.open_as(Encoded::InPart { head, groups: &[] }).unwrap();
            let (open, sure) = (open.iter().copied(), certain.iter().copied());
            let needed = opened.needed_for_rows(filters, open.clone(), sure).unwrap();
            let read = needed.groups.iter().map(|place| {
                let bytes = &groups[place.bytes.start as usize..place.bytes.end as usize];
                assert_eq!(crc32c::crc32c(bytes), place.crc);
                Bytes::copy_from_slice(bytes)
            });
            let read = needed.place(read);
            let mut opened = self.open_as(Encoded::InPart { head, groups: &read }).unwrap();
            assert_eq!(opened.satisfying(filters, open).unwrap(), found);
            let wanted = (0..lines.len()).filter(|row| found[*row] || certain.contains(row));
            let mut read = Variables::open(opened, wanted.clone()).unwrap();
            wanted.for_each(|row| assert_eq!(read.line(row).unwrap(), lines[row]));
        }

        fn check(&self, lines: &[String]) {
            // All of them, and one of many.
            for step in [1, 7, lines.len()] {
                let rows = (0..lines.len()).step_by(step);
                let mut read = Variables::open(self.open().unwrap(), rows.clone()).unwrap();
                // Backwards too: lines are read in any order.
                for row in rows.clone().chain(rows.rev()) {
                    assert_eq!(read.line(row).unwrap(), lines[row], "row {row}");
                }
            }
        }
    }

    /// With groups that end at `group_bytes`.
    fn writer(group_bytes: usize) -> VariablesWriter {
        VariablesWriter::with_groups_of(group_bytes, 1).unwrap()
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[0-9]{1,6}",
            1 => "[0-9]{2}",
            1 => "[0-9a-f]{8}",
            1 => "[0-9a-f]{15}",
            // Those that come again.
            1 => prop::sample::select(vec!["00c0ffee", "dec0de0000c0ffee", "dec0de0000c0ff00"])
                .prop_map(str::to_owned),
            1 => "0x[0-9a-f]{1,4}",
            1 => "[a-c]{1,2}[0-9]{1,2}",
            1 => "[0-9]{20,40}",
            1 => "[A-Za-z0-9]{1,20}",
            1 => "ü[0-9]ß",
            1 => Just("2026".to_owned()),
        ]
    }

    fn line() -> impl Strategy<Value = String> {
        let shapes = vec!["", "#", "GET # took #ms", "# # #", "no variable", "=#", "größe #/#\n"];
        let shaped = (prop::sample::select(shapes), prop::collection::vec(value(), 3));
        let shaped = shaped.prop_map(|(shape, values)| {
            values.iter().fold(shape.to_owned(), |line, value| line.replacen('#', value, 1))
        });
        prop_oneof![8 => shaped, 1 => any::<String>()]
    }

    fn stretch() -> impl Strategy<Value = (Index, Index)> {
        (any::<Index>(), any::<Index>())
    }

    proptest! {
        #[test]
        fn tokens_are_searched_like_lines(
            lines in prop::collection::vec(line(), 1..120),
            filters in prop::collection::vec(
                (any::<bool>(), prop::collection::vec((stretch(), 1_usize..5), 1..3)),
                1..3,
            ),
            every in 2_usize..50,
            group_bytes in 1_usize..300,
        ) {
            // Stretches of lines, so that they are found.
            let cut = |((line, start), length): &((Index, Index), usize)| {
                let chars: Vec<char> = lines[line.index(lines.len())].chars().collect();
                let start = start.index(chars.len() + 1);
                chars[start..].iter().take(*length).collect::<String>()
            };
            let filters: Vec<(bool, Vec<String>)> = filters
                .iter()
                .map(|(negative, cuts)| (*negative, cuts.iter().map(cut).collect()))
                .collect();
            let encoded = encode(&mut writer(group_bytes), &lines, |row| row % every == 1);
            encoded.check_search(&lines, &filters);
        }

        #[test]
        fn lines_come_back_byte_for_byte(
            granules in prop::collection::vec(prop::collection::vec(line(), 1..120), 1..4),
            every in 2_usize..50,
            group_bytes in 1_usize..300,
        ) {
            let mut writer = writer(group_bytes);
            for lines in &granules {
                encode(&mut writer, lines, |row| row % every == 1).check(lines);
            }
        }

        #[test]
        fn damage_is_an_error_or_another_line(
            lines in prop::collection::vec(line(), 1..60),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
            group_bytes in 1_usize..300,
        ) {
            let mut encoded = encode(&mut writer(group_bytes), &lines, |row| row == 1);
            for (at, bit) in flips {
                let at = at.index(encoded.bytes.len());
                encoded.bytes[at] ^= 1 << bit;
            }
            if let Some(cut) = cut {
                encoded.bytes.truncate(cut.index(encoded.bytes.len() + 1));
            }
            for step in [1, 7] {
                let rows = (0..lines.len()).step_by(step);
                let opened = encoded.open();
                if let Ok(mut read) = opened.and_then(|o| Variables::open(o, rows.clone())) {
                    let whole = rows.clone().filter(|row| read.line(*row).is_ok()).count();
                    prop_assert!(whole <= rows.len());
                }
            }
        }
    }

    /// Every way of keeping a slot takes part, at sizes where it pays.
    #[test]
    fn every_kind_of_slot_comes_back() {
        let mix = |n: usize| (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let kinds: [fn(usize, u64) -> String; 10] = [
            |_, random| format!("{}", random % 1_000_000),
            |n, _| format!("{:010}", 1_700_000_000 + n),
            |_, random| format!("{random:016x}"),
            |n, random| format!("{:015x}", random >> 4 | n as u64 & 1),
            |n, _| {
                format!("{:016x}", (n as u64 / 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 10 << 60)
            },
            |n, _| format!("c0ffee0000000000000{n:05x}"),
            |_, random| format!("v{}-{}ms", random % 7, random % 1_000),
            |_, random| format!("{random:X}g"),
            |n, _| format!("k{}", n / 100),
            |n, random| format!("{}", if n % 2 == 0 { 200 } else { random % 10 }),
        ];
        for kind in kinds {
            let lines: Vec<String> =
                (0..2_000).map(|n| format!("a={} b={}", kind(n, mix(n)), n % 3)).collect();
            let encoded = encode(&mut writer(GROUP_BYTES), &lines, |_| false);
            encoded.check(&lines);
            for needle in ["0", "00", "17", "a", "7ms", "f", "v3", "1f", "5"] {
                encoded.check_search(&lines, &[(false, vec![needle.to_owned()])]);
            }
            let plain: usize = lines.iter().map(String::len).sum();
            assert!(encoded.bytes.len() < plain, "{} of {plain} bytes", encoded.bytes.len());
        }
    }

    /// An identifier is in the group of its lines alone, unless texts are as long.
    #[test]
    fn an_identifier_needs_few_groups() {
        let random = |n: usize| (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let words = ["get", "put", "list", "delete"];
        let lines: Vec<String> = (0..4_000)
            .map(|n| format!("{} id={:016x} n={}", words[n % 4], random(n), n % 10))
            .collect();
        let written = encode(&mut writer(1), &lines, |_| false);
        let head = &written.bytes[..written.bytes.len() - written.groups_bytes];
        let mut opened = written.open_as(Encoded::InPart { head, groups: &[] }).unwrap();
        assert_eq!(opened.groups.len(), 4);
        let mut needed = |text: &str| {
            let needles = vec![TokenNeedle::new(text.as_bytes()).unwrap()];
            let filters = [TokenNeedles { negative: false, needles }];
            opened.needed_for_rows(&filters, 0..lines.len(), 0..0).unwrap().groups.len()
        };
        assert_eq!(needed(&format!("{:016x}", random(1_234))), 1);
        assert_eq!(needed("0123456789abcdef"), 0);
        assert_eq!(needed("7"), 4, "it may be any digit");
    }

    #[test]
    fn random_digits_take_what_they_must() {
        let random = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        let lines: Vec<String> =
            (1..8_000).map(|n| format!("{:012}", random(n) % 1_000_000_000_000)).collect();
        let encoded = encode(&mut writer(GROUP_BYTES), &lines, |_| false);
        let entropy = lines.len() as f64 * 12.0 * 10_f64.log2() / 8.0;
        assert!((encoded.bytes.len() as f64) < 1.005 * entropy + 100.0);
    }
}
