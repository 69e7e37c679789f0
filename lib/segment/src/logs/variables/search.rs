//! Searching tokens without putting lines together.
//!
//! A text without separators that is in a line is in one of its tokens, and each token is static
//! text of the line's pattern or the value of a slot. Values are masks with digits in them, texts
//! or half-bytes; of each of these streams one look tells whether the text is anywhere in it, and
//! mostly it is not. Only then are slots searched, those of patterns that are still open, and
//! only with the streams that are needed: a word asks for no digits.
//!
//! What always holds: what is found is what a search of the whole lines finds.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem::Finder;

use super::CHOICES_MAX;
use super::read::{CUT_SHORT, Cursor, Mask, NO_SUCH_MASK, add};
use super::shapes::{Shape, Shapes};
use super::slot::StoredSlot;
use super::streams::Streams;
use super::values::to_rows;
use crate::logs::pattern::PatternTable;
use crate::logs::token::{ByteClass, class};
use crate::wire::{Malformed, Reader};

/// A text that lies within one token of a line that contains it.
#[derive(Clone, Debug)]
pub(crate) struct TokenNeedle {
    finder: Finder<'static>,
    /// The needle with its digits made zeros, as in masks.
    mask: Finder<'static>,
    /// The needle's digits alone.
    digits: Vec<u8>,
    /// Whether it can stand in half-bytes.
    hex: bool,
}

/// A line filter all needles of which lie within tokens.
#[derive(Clone, Debug)]
pub(crate) struct TokenNeedles {
    /// Whether a hit refuses the line.
    pub(crate) negative: bool,
    /// One of them is a hit.
    pub(crate) needles: Vec<TokenNeedle>,
}

/// Rows found, by their rank in their pattern.
type Hits = [bool];

impl TokenNeedle {
    /// `None` when `text` is empty or has a separator in it.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let within = !text.is_empty() && text.iter().all(|b| class(*b) != ByteClass::Separator);
        let zeros = text.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte });
        within.then(|| Self {
            finder: Finder::new(text).into_owned(),
            mask: Finder::new(&zeros.collect::<Vec<u8>>()).into_owned(),
            digits: text.iter().copied().filter(u8::is_ascii_digit).collect(),
            hex: text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        })
    }

    fn len(&self) -> usize {
        self.finder.needle().len()
    }

    /// Where in a mask the needle may stand, by the number of digits before it there.
    fn places(&self, mask: &[u8]) -> Vec<usize> {
        let mut digits = 0;
        let mut places = Vec::new();
        for (window, first) in mask.windows(self.len()).zip(mask) {
            if window == self.mask.needle() {
                places.push(digits);
            }
            digits += usize::from(*first == b'0');
        }
        places
    }

    /// Whether a value's digits are the needle's in one of `places`.
    fn digits_at(&self, places: &[usize], digits: &[u8]) -> bool {
        let found = |place: &usize| {
            digits.get(*place..*place + self.digits.len()).is_some_and(|part| part == self.digits)
        };
        places.iter().any(found)
    }

    /// Finds the needle in values of `length` bytes, one every `stride`.
    fn find_in_column(&self, column: &[u8], stride: usize, length: usize, hits: &mut Hits) {
        let mut from = 0;
        while let Some(at) = self.finder.find(&column[from..]).map(|at| from + at) {
            let (rank, place) = (at / stride, at % stride);
            let within = place + self.len() <= length;
            hits[rank] |= within;
            from = if within { (rank + 1) * stride } else { at + 1 };
        }
    }

    /// Finds the needle in texts that begin and end at `starts` in `text`.
    fn find_in_texts(&self, text: &[u8], starts: &[usize], hits: &mut Hits) {
        let end = starts[starts.len() - 1];
        let (mut from, mut rank) = (starts[0], 0);
        while let Some(at) = self.finder.find(&text[from..end]).map(|at| from + at) {
            rank += starts[rank + 1..].partition_point(|start| *start <= at);
            let end = starts[rank + 1];
            let within = at + self.len() <= end;
            hits[rank] |= within;
            from = if within { end } else { at + 1 };
        }
    }
}

/// Which of `rows` satisfy all `filters`, by row of the granule; others are false. `encoded` is
/// what [`super::VariablesWriter::encode`] wrote for rows of these patterns.
pub(crate) fn satisfying(
    encoded: &[u8],
    table: &PatternTable,
    patterns: &[u32],
    filters: &[TokenNeedles],
    rows: impl Iterator<Item = usize> + Clone,
) -> Result<Vec<bool>, Malformed> {
    let shapes = Shapes::of(table, patterns)?;
    let wanted = shapes.of_rows(patterns, rows.clone());
    let mut search = Search::open(encoded, table, &shapes, &wanted)?;
    // Of the rows by pattern.
    let mut passing = vec![true; patterns.len()];
    let mut hits = vec![false; patterns.len()];
    for filter in filters {
        hits.fill(false);
        for needle in &filter.needles {
            search.find(needle, &mut hits)?;
        }
        let outcomes = passing.iter_mut().zip(&hits);
        outcomes.for_each(|(passing, hit)| *passing &= *hit != filter.negative);
    }
    let mut satisfying = vec![false; patterns.len()];
    for row in rows {
        let first = shapes.shapes[shapes.place(patterns[row])].rows.start;
        satisfying[row] = passing[first + shapes.ranks[row] as usize];
    }
    Ok(satisfying)
}

/// A granule's variables, opened as far as needles ask for them.
struct Search<'a> {
    table: &'a PatternTable,
    shapes: &'a Shapes,
    /// By shape: whether its rows are asked for.
    wanted: &'a [bool],
    masks: Vec<Mask>,
    mask_bytes: Cow<'a, [u8]>,
    slots: Cow<'a, [u8]>,
    text: Cow<'a, [u8]>,
    choices: Option<Cow<'a, [u8]>>,
    streams: Streams<'a>,
    digits: Option<Digits<'a>>,
    half_bytes: Option<Vec<u8>>,
}

/// Random digits and repetitive ones.
struct Digits<'a> {
    random: Vec<u8>,
    repetitive: Cow<'a, [u8]>,
}

/// Where one needle is, as far as whole streams tell.
struct Sight {
    /// By mask: where in it, by the number of digits before it there. Empty when in none.
    masks: Vec<Vec<usize>>,
    text: bool,
    half_bytes: bool,
}

impl<'a> Search<'a> {
    fn open(
        encoded: &'a [u8],
        table: &'a PatternTable,
        shapes: &'a Shapes,
        wanted: &'a [bool],
    ) -> Result<Self, Malformed> {
        let streams = Streams::open(encoded)?;
        let mask_bytes = streams.masks.plain()?;
        Ok(Self {
            table,
            shapes,
            wanted,
            masks: Mask::all(&mask_bytes)?,
            mask_bytes,
            slots: streams.slots.plain()?,
            text: streams.text.plain()?,
            choices: None,
            streams,
            digits: None,
            half_bytes: None,
        })
    }

    /// Marks the rows wanted, in the order of their patterns, that have the needle.
    fn find(&mut self, needle: &TokenNeedle, hits: &mut Hits) -> Result<(), Malformed> {
        for shape in self.wanted_shapes() {
            let pattern = self.table.get(shape.pattern).unwrap_or_default();
            if needle.finder.find(pattern).is_some() {
                hits[shape.rows.clone()].fill(true);
            }
        }
        let sight = self.look(needle)?;
        if !sight.masks.is_empty() || sight.text || sight.half_bytes {
            if self.choices.is_none() {
                self.choices = Some(self.streams.choices.plain()?);
            }
            self.find_in_slots(needle, &sight, hits)?;
        }
        Ok(())
    }

    fn wanted_shapes(&self) -> impl Iterator<Item = &'a Shape> {
        self.shapes.shapes.iter().zip(self.wanted).filter(|(_, wanted)| **wanted).map(|(s, _)| s)
    }

    /// Looks through whole streams, those that could have the needle.
    fn look(&mut self, needle: &TokenNeedle) -> Result<Sight, Malformed> {
        let masks = self.masks_with(needle);
        if self.digits.is_none() && !masks.is_empty() && !needle.digits.is_empty() {
            let (random, repetitive) =
                (self.streams.all_random_digits()?, self.streams.repetitive.plain()?);
            self.digits = Some(Digits { random, repetitive });
        }
        if self.half_bytes.is_none() && needle.hex {
            self.half_bytes = Some(self.streams.all_half_bytes()?);
        }
        let half_bytes = self.half_bytes.as_deref().filter(|_| needle.hex);
        Ok(Sight {
            masks,
            text: needle.finder.find(&self.text).is_some(),
            half_bytes: half_bytes.is_some_and(|bytes| needle.finder.find(bytes).is_some()),
        })
    }

    fn masks_with(&self, needle: &TokenNeedle) -> Vec<Vec<usize>> {
        let mut places = Vec::new();
        let mut from = 0;
        while let Some(at) = needle.mask.find(&self.mask_bytes[from..]).map(|at| from + at) {
            let number = self.masks.partition_point(|mask| mask.range.end <= at);
            let Some(mask) = self.masks.get(number) else { break };
            places.resize(self.masks.len(), Vec::new());
            // A length before a mask may look like a character of the needle.
            places[number] = needle.places(&self.mask_bytes[mask.range.clone()]);
            from = mask.range.end.max(at + 1);
        }
        places
    }

    fn find_in_slots(
        &self,
        needle: &TokenNeedle,
        sight: &Sight,
        hits: &mut Hits,
    ) -> Result<(), Malformed> {
        let lengths = if sight.text { self.streams.lengths.plain()? } else { Cow::default() };
        let mut slots = Reader::new(&self.slots);
        let mut walk = Walk {
            search: self,
            needle,
            sight,
            lengths: Reader::new(&lengths),
            with_digits: !needle.digits.is_empty() && !sight.masks.is_empty(),
            cursor: Cursor::default(),
            starts: Vec::new(),
            scratch: Vec::new(),
        };
        let mut masks = Vec::new();
        for (shape, wanted) in self.shapes.shapes.iter().zip(self.wanted) {
            for _ in shape.slots.clone() {
                let hits = wanted.then(|| &mut hits[shape.rows.clone()]);
                let slot = StoredSlot::read(&mut slots, &mut masks)?;
                walk.slot(slot, &masks, shape.rows.len(), hits)?;
            }
        }
        Ok(())
    }
}

/// One pass over the slots for one needle.
struct Walk<'a> {
    search: &'a Search<'a>,
    needle: &'a TokenNeedle,
    sight: &'a Sight,
    lengths: Reader<'a>,
    /// Whether digits decide.
    with_digits: bool,
    cursor: Cursor,
    starts: Vec<usize>,
    scratch: Vec<u8>,
}

impl Walk<'_> {
    /// Steps over the next slot, which has `rows` values, and searches it if it is wanted; `masks`
    /// are those of one with choices.
    fn slot(
        &mut self,
        slot: StoredSlot,
        masks: &[usize],
        rows: usize,
        hits: Option<&mut Hits>,
    ) -> Result<(), Malformed> {
        match slot {
            StoredSlot::Text if self.sight.text => self.texts(rows, hits),
            StoredSlot::Text => Ok(()),
            StoredSlot::HalfBytes { length } => self.half_bytes(rows, length, hits),
            StoredSlot::Mask { mask, repeats } => self.mask(rows, mask, repeats, hits),
            StoredSlot::Choices { repeats } => self.choices(rows, masks, repeats, hits),
        }
    }

    fn texts(&mut self, rows: usize, hits: Option<&mut Hits>) -> Result<(), Malformed> {
        self.starts.clear();
        self.starts.push(self.cursor.text);
        for _ in 0..rows {
            self.cursor.text = add(self.cursor.text, 1, self.lengths.number()?)?;
            self.starts.push(self.cursor.text);
        }
        let text = self.search.text.get(..self.cursor.text).ok_or(CUT_SHORT)?;
        if let Some(hits) = hits {
            self.needle.find_in_texts(text, &self.starts, hits);
        }
        Ok(())
    }

    fn half_bytes(
        &mut self,
        rows: usize,
        length: usize,
        hits: Option<&mut Hits>,
    ) -> Result<(), Malformed> {
        let stride = length.div_ceil(2).saturating_mul(2);
        let start = self.cursor.half_bytes;
        self.cursor.half_bytes = add(start, rows, stride)?;
        let bytes = self.search.half_bytes.as_deref().filter(|_| self.sight.half_bytes);
        if let Some((hits, bytes)) = hits.zip(bytes)
            && self.needle.len() <= length
        {
            let column = bytes.get(start..self.cursor.half_bytes).ok_or(CUT_SHORT)?;
            self.needle.find_in_column(column, stride, length, hits);
        }
        Ok(())
    }

    fn mask(
        &mut self,
        rows: usize,
        number: usize,
        repeats: bool,
        hits: Option<&mut Hits>,
    ) -> Result<(), Malformed> {
        let mask = self.search.masks.get(number).ok_or(NO_SUCH_MASK)?;
        let column = self.digits(rows, mask.digits, repeats)?;
        let places = self.sight.places(number);
        let Some(hits) = hits.filter(|_| !places.is_empty()) else { return Ok(()) };
        if !self.with_digits {
            hits.fill(true);
            return Ok(());
        }
        let all = self.search.digits.as_ref().ok_or(CUT_SHORT)?;
        let mut column = all.of(repeats).get(column).ok_or(CUT_SHORT)?;
        if repeats {
            self.scratch.clear();
            self.scratch.extend_from_slice(column);
            to_rows(&mut self.scratch, mask.digits, &mut Vec::new());
            column = &self.scratch;
        }
        if self.needle.digits.len() == self.needle.len() && mask.digits == mask.range.len() {
            self.needle.find_in_column(column, mask.digits, mask.digits, hits);
        } else {
            for (digits, hit) in column.chunks_exact(mask.digits).zip(hits) {
                *hit |= self.needle.digits_at(places, digits);
            }
        }
        Ok(())
    }

    fn choices(
        &mut self,
        rows: usize,
        masks: &[usize],
        repeats: bool,
        hits: Option<&mut Hits>,
    ) -> Result<(), Malformed> {
        let start = self.cursor.choices;
        self.cursor.choices = add(start, rows, 1)?;
        let choices = self.search.choices.as_deref().unwrap_or_default();
        let picked = choices.get(start..self.cursor.choices).ok_or(CUT_SHORT)?;
        let seen = masks.iter().any(|mask| !self.sight.places(*mask).is_empty());
        let hits = hits.filter(|_| seen);
        if !self.with_digits {
            if let Some(hits) = hits {
                let mut has = [false; CHOICES_MAX];
                for (has, mask) in has.iter_mut().zip(masks) {
                    *has = !self.sight.places(*mask).is_empty();
                }
                let outcomes = hits.iter_mut().zip(picked);
                outcomes.for_each(|(hit, choice)| *hit |= has[usize::from(*choice)]);
            }
            return Ok(());
        }
        let mut widths = [0; CHOICES_MAX];
        for (width, mask) in widths.iter_mut().zip(masks) {
            *width = self.search.masks.get(*mask).ok_or(NO_SUCH_MASK)?.digits;
        }
        let width: usize = picked.iter().map(|choice| widths[usize::from(*choice)]).sum();
        let digits = self.digits(1, width, repeats)?;
        let Some(hits) = hits else { return Ok(()) };
        let all = self.search.digits.as_ref().ok_or(CUT_SHORT)?;
        let mut rest = all.of(repeats).get(digits).ok_or(CUT_SHORT)?;
        for (choice, hit) in picked.iter().zip(hits) {
            let (digits, behind) =
                rest.split_at_checked(widths[usize::from(*choice)]).ok_or(CUT_SHORT)?;
            let mask = masks.get(usize::from(*choice)).ok_or(NO_SUCH_MASK)?;
            *hit |= self.needle.digits_at(self.sight.places(*mask), digits);
            rest = behind;
        }
        Ok(())
    }

    /// The next digits: `rows` times `width`.
    fn digits(
        &mut self,
        rows: usize,
        width: usize,
        repeats: bool,
    ) -> Result<Range<usize>, Malformed> {
        let next = if repeats { &mut self.cursor.repetitive } else { &mut self.cursor.random };
        let start = *next;
        *next = add(start, rows, width)?;
        Ok(start..*next)
    }
}

impl Sight {
    fn places(&self, mask: usize) -> &[usize] {
        self.masks.get(mask).map_or(&[], Vec::as_slice)
    }
}

impl Digits<'_> {
    fn of(&self, repeats: bool) -> &[u8] {
        if repeats { &self.repetitive } else { &self.random }
    }
}
