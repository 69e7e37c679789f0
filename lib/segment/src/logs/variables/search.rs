//! Searching tokens without putting lines together.
//!
//! A text without separators that is in a line is in one of its tokens, and each token is static
//! text of the line's pattern or the value of a slot. Values are masks with digits in them, texts
//! or identifiers; one look at all masks, at all identifiers and at the texts of a group tells
//! whether the text is anywhere in them, and mostly it is not. Only then are slots searched, those
//! of patterns that are still open, and only with the streams that are needed: a word asks for no
//! digits.
//!
//! What always holds: what is found is what a search of the whole lines finds.

use std::ops::Range;

use memchr::memmem::Finder;

use super::CHOICES_MAX;
use super::ids::{Ids, SpelledList};
use super::opened::Opened;
use super::read::{CUT_SHORT, Mask, NO_SUCH_MASK};
use super::slot::StoredSlot;
use super::steps::{Identifiers, Steps, stride, width_of};
use super::streams::{Streams, spelled_out};
use super::values::to_rows;
use crate::logs::token::{ByteClass, class};
use crate::wire::Malformed;

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

/// Shortest needle that is in few values.
const SELECTIVE_BYTES: usize = 8;

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

    pub(super) fn len(&self) -> usize {
        self.finder.needle().len()
    }

    /// Whether it is as long as identifiers are and has a digit: in few values.
    pub(crate) fn is_selective(&self) -> bool {
        SELECTIVE_BYTES <= self.len() && !self.digits.is_empty()
    }

    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        self.finder.find(text).is_some()
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

impl Opened<'_> {
    /// Which of `rows`, those that their patterns leave open, satisfy all `filters`, by row of the
    /// granule; others are false.
    pub(crate) fn satisfying(
        &mut self,
        filters: &[TokenNeedles],
        rows: impl Iterator<Item = usize> + Clone,
    ) -> Result<Vec<bool>, Malformed> {
        let wanted = self.shapes.of_rows(self.patterns, rows.clone());
        let by_pattern = self.satisfying_of(filters, &wanted)?;
        let places = self.places.insert(self.shapes.places(self.patterns));
        let mut satisfying = vec![false; self.patterns.len()];
        rows.for_each(|row| satisfying[row] = by_pattern[places[row] as usize]);
        Ok(satisfying)
    }

    /// Which rows of the shapes that are `wanted`, those that leave their rows open, satisfy all
    /// `filters`, in the order of their patterns; what it says of others is not to be used.
    pub(crate) fn satisfying_of(
        &mut self,
        filters: &[TokenNeedles],
        wanted: &[bool],
    ) -> Result<Vec<bool>, Malformed> {
        let rows = self.patterns.len();
        for group in self.groups.iter_mut().filter(|group| group.read && group.has(wanted)) {
            group.streams.slots.load()?;
            group.streams.text.load()?;
        }
        let mut search = Search::new(self, wanted);
        let patterns_decided = patterns_decided(filters);
        let mut passing = vec![true; rows];
        let mut hits = vec![false; rows];
        for filter in filters {
            hits.fill(false);
            for needle in &filter.needles {
                if !patterns_decided {
                    search.find_in_patterns(needle, &mut hits);
                }
                search.find_in_variables(needle, &mut hits)?;
            }
            let outcomes = passing.iter_mut().zip(&hits);
            outcomes.for_each(|(passing, hit)| *passing &= *hit != filter.negative);
        }
        Ok(passing)
    }
}

/// Had a pattern the only needle, it would not leave its rows open.
pub(super) fn patterns_decided(filters: &[TokenNeedles]) -> bool {
    matches!(filters, [filter] if filter.needles.len() == 1)
}

/// A search under way in a granule the groups of which that are wanted have slots and text loaded.
pub(super) struct Search<'s, 'a> {
    pub(super) opened: &'s mut Opened<'a>,
    /// By shape: whether its rows are asked for.
    pub(super) wanted: &'s [bool],
    /// By group.
    spelled: Vec<Spelled>,
    /// As soon as a needle asks for them.
    ids: Option<Vec<SpelledList>>,
}

/// What of a group is spelled out.
#[derive(Default)]
struct Spelled {
    /// The random ones, as soon as a needle asks for them; the repetitive ones are loaded then.
    digits: Option<Vec<u8>>,
    /// Up to format 6.
    half_bytes: Option<Vec<u8>>,
}

/// Where one needle is, as far as masks and identifiers tell.
pub(super) struct Sight {
    /// By mask: which of `places` are its, if any. Empty when the needle is in none.
    masks: Vec<u32>,
    /// Where in a mask the needle may stand, by the number of digits before it there; none first.
    places: Vec<Vec<usize>>,
    /// By list: which identifiers have it. Empty when none has.
    pub(super) ids: Vec<Vec<bool>>,
}

/// Whether whole streams of a group have the needle.
#[derive(Clone, Copy)]
struct InGroup {
    text: bool,
    half_bytes: bool,
}

impl<'s, 'a> Search<'s, 'a> {
    pub(super) fn new(opened: &'s mut Opened<'a>, wanted: &'s [bool]) -> Self {
        let spelled = opened.groups.iter().map(|_| Spelled::default()).collect();
        Self { opened, wanted, spelled, ids: None }
    }

    /// Marks the rows wanted, in the order of their patterns, whose pattern has the needle.
    fn find_in_patterns(&self, needle: &TokenNeedle, hits: &mut Hits) {
        let mut pattern = Vec::new();
        let shapes = self.opened.shapes.shapes.iter().zip(self.wanted);
        for (shape, _) in shapes.filter(|(_, wanted)| **wanted) {
            self.opened.table.spell(shape.pattern, &mut pattern);
            if needle.finder.find(&pattern).is_some() {
                hits[shape.rows.clone()].fill(true);
            }
        }
    }

    /// Marks the rows wanted, in the order of their patterns, that have the needle in a variable.
    fn find_in_variables(
        &mut self,
        needle: &TokenNeedle,
        hits: &mut Hits,
    ) -> Result<(), Malformed> {
        let sight = self.sight(needle)?;
        for group in 0..self.opened.groups.len() {
            // One that was not read has no needle: see `needed`.
            let of = &self.opened.groups[group];
            if !of.read || !of.has(self.wanted) {
                continue;
            }
            let here = self.look(needle, &sight, group)?;
            if !sight.masks.is_empty() || !sight.ids.is_empty() || here.text || here.half_bytes {
                let streams = &mut self.opened.groups[group].streams;
                streams.choices.load()?;
                if here.text {
                    streams.lengths.load()?;
                }
                self.find_in_slots(needle, &sight, here, group, hits)?;
            }
        }
        Ok(())
    }

    /// Where a needle is, as far as masks and identifiers tell.
    pub(super) fn sight(&mut self, needle: &TokenNeedle) -> Result<Sight, Malformed> {
        let (masks, places) = self.masks_with(needle);
        Ok(Sight { masks, places, ids: self.ids_with(needle)? })
    }

    /// Looks through whole streams of a group, those that could have the needle.
    fn look(
        &mut self,
        needle: &TokenNeedle,
        sight: &Sight,
        group: usize,
    ) -> Result<InGroup, Malformed> {
        let (streams, spelled) = (&mut self.opened.groups[group].streams, &mut self.spelled[group]);
        if spelled.digits.is_none() && !sight.masks.is_empty() && !needle.digits.is_empty() {
            streams.repetitive.load()?;
            spelled.digits = Some(streams.random.all()?);
        }
        if spelled.half_bytes.is_none() && needle.hex {
            spelled.half_bytes = Some(spelled_out(streams.half_bytes.load()?));
        }
        let half_bytes = spelled.half_bytes.as_deref().filter(|_| needle.hex);
        Ok(InGroup {
            text: needle.finder.find(streams.text.plain()).is_some(),
            half_bytes: half_bytes.is_some_and(|bytes| needle.finder.find(bytes).is_some()),
        })
    }

    /// By list: which identifiers have the needle. Empty when none has.
    fn ids_with(&mut self, needle: &TokenNeedle) -> Result<Vec<Vec<bool>>, Malformed> {
        if !needle.hex {
            return Ok(Vec::new());
        }
        if self.ids.is_none() {
            self.ids = Some(self.opened.ids.spelled_out()?);
        }
        let mut found = Vec::new();
        let lists = self.ids.as_deref().unwrap_or_default();
        for (list, SpelledList { length, stride, text }) in lists.iter().enumerate() {
            if needle.finder.find(text).is_some() {
                found.resize(lists.len(), Vec::new());
                found[list].resize(text.len() / stride.max(&1), false);
                needle.find_in_column(text, *stride, *length, &mut found[list]);
            }
        }
        Ok(found)
    }

    /// By mask, which of the places returned are its.
    fn masks_with(&self, needle: &TokenNeedle) -> (Vec<u32>, Vec<Vec<usize>>) {
        // There are thousands of masks, and few have the needle.
        let (mut numbers, mut places) = (Vec::new(), vec![Vec::new()]);
        let mut from = 0;
        let Opened { masks, mask_bytes, .. } = &*self.opened;
        while let Some(at) = needle.mask.find(&mask_bytes[from..]).map(|at| from + at) {
            let number = masks.partition_point(|mask| mask.range().end <= at);
            let Some(mask) = masks.get(number) else { break };
            numbers.resize(masks.len(), 0);
            // A length before a mask may look like a character of the needle.
            numbers[number] = places.len() as u32;
            places.push(needle.places(&mask_bytes[mask.range()]));
            from = mask.range().end.max(at + 1);
        }
        (numbers, places)
    }

    fn find_in_slots(
        &self,
        needle: &TokenNeedle,
        sight: &Sight,
        here: InGroup,
        group: usize,
        hits: &mut Hits,
    ) -> Result<(), Malformed> {
        let Opened { shapes, masks, ids, groups, .. } = &*self.opened;
        let with_digits = !needle.digits.is_empty() && !sight.masks.is_empty();
        let (spelled, group) = (&self.spelled[group], &groups[group]);
        let mut walk = Walk {
            masks,
            ids,
            streams: &group.streams,
            spelled,
            needle,
            sight,
            here,
            with_digits,
            steps: Steps::new(group, ids).following(here.text, with_digits),
            starts: Vec::new(),
            scratch: Vec::new(),
        };
        for at in group.shapes.clone() {
            let shape = &shapes.shapes[at];
            if !self.wanted[at] {
                walk.steps.over(shape, masks, group.streams.choices.plain())?;
                continue;
            }
            for _ in shape.slots.clone() {
                let slot = StoredSlot::read(&mut walk.steps.slots, &mut walk.steps.masks)?;
                walk.slot(slot, &mut hits[shape.rows.clone()])?;
            }
        }
        Ok(())
    }
}

/// One pass over the slots of a group for one needle.
struct Walk<'w> {
    masks: &'w [Mask],
    ids: &'w Ids<'w>,
    streams: &'w Streams<'w>,
    spelled: &'w Spelled,
    needle: &'w TokenNeedle,
    sight: &'w Sight,
    here: InGroup,
    /// Whether digits decide.
    with_digits: bool,
    steps: Steps<'w>,
    starts: Vec<usize>,
    scratch: Vec<u8>,
}

impl<'w> Walk<'w> {
    /// Searches the next slot, which has a value for each of `hits`.
    fn slot(&mut self, slot: StoredSlot, hits: &mut Hits) -> Result<(), Malformed> {
        match slot {
            StoredSlot::Text if self.here.text => self.texts(hits),
            StoredSlot::Text => Ok(()),
            StoredSlot::Identifiers { list } => self.identifiers(list, hits),
            StoredSlot::Mask { mask, repeats } => self.mask(mask, repeats, hits),
            StoredSlot::Choices { repeats } => self.choices(repeats, hits),
        }
    }

    /// The random or the repetitive digits, if any needle asked for them.
    fn digits(&self, repeats: bool) -> &'w [u8] {
        if repeats {
            self.streams.repetitive.plain()
        } else {
            self.spelled.digits.as_deref().unwrap_or_default()
        }
    }

    fn texts(&mut self, hits: &mut Hits) -> Result<(), Malformed> {
        self.starts.clear();
        self.starts.push(self.steps.text);
        for _ in 0..hits.len() {
            self.steps.next_text()?;
            self.starts.push(self.steps.text);
        }
        let text = self.streams.text.plain();
        let text = text.get(..self.steps.text).ok_or(CUT_SHORT)?;
        self.needle.find_in_texts(text, &self.starts, hits);
        Ok(())
    }

    fn identifiers(&mut self, list: usize, hits: &mut Hits) -> Result<(), Malformed> {
        match self.steps.identifiers(hits.len(), list)? {
            Identifiers::Listed(slot) => match self.sight.ids.get(list) {
                Some(found) if !found.is_empty() => self
                    .ids
                    .numbers(&slot, |rank, number| hits[rank] |= found.get(number) == Some(&true)),
                _ => Ok(()),
            },
            Identifiers::Characters(range, length) => self.characters(range, length, hits),
        }
    }

    fn characters(
        &self,
        range: Range<usize>,
        length: usize,
        hits: &mut Hits,
    ) -> Result<(), Malformed> {
        if let Some(bytes) = self.spelled.half_bytes.as_deref().filter(|_| self.here.half_bytes)
            && self.needle.len() <= length
        {
            let column = bytes.get(range).ok_or(CUT_SHORT)?;
            self.needle.find_in_column(column, stride(length), length, hits);
        }
        Ok(())
    }

    fn mask(&mut self, number: usize, repeats: bool, hits: &mut Hits) -> Result<(), Malformed> {
        let mask = *self.masks.get(number).ok_or(NO_SUCH_MASK)?;
        let column = self.steps.digits(hits.len(), mask.digits(), repeats)?;
        let places = self.sight.places(number);
        if places.is_empty() {
            return Ok(());
        }
        if !self.with_digits {
            hits.fill(true);
            return Ok(());
        }
        let mut column = self.digits(repeats).get(column).ok_or(CUT_SHORT)?;
        if repeats {
            self.scratch.clear();
            self.scratch.extend_from_slice(column);
            to_rows(&mut self.scratch, mask.digits(), &mut Vec::new());
            column = &self.scratch;
        }
        if self.needle.digits.len() == self.needle.len() && mask.digits() == mask.range().len() {
            self.needle.find_in_column(column, mask.digits(), mask.digits(), hits);
        } else {
            for (digits, hit) in column.chunks_exact(mask.digits()).zip(hits) {
                *hit |= self.needle.digits_at(places, digits);
            }
        }
        Ok(())
    }

    fn choices(&mut self, repeats: bool, hits: &mut Hits) -> Result<(), Malformed> {
        let chosen = self.steps.choices(hits.len())?;
        let choices = self.streams.choices.plain();
        let picked = choices.get(chosen).ok_or(CUT_SHORT)?;
        let places = |mask: &usize| self.sight.places(*mask);
        let seen = self.steps.masks.iter().any(|mask| !places(mask).is_empty());
        if !self.with_digits {
            if seen {
                let mut has = [false; CHOICES_MAX];
                for (has, mask) in has.iter_mut().zip(&self.steps.masks) {
                    *has = !places(mask).is_empty();
                }
                let outcomes = hits.iter_mut().zip(picked);
                outcomes.for_each(|(hit, choice)| *hit |= has[usize::from(*choice)]);
            }
            return Ok(());
        }
        let widths = self.steps.widths(self.masks)?;
        let width = width_of(picked, &widths);
        let digits = self.steps.digits(1, width, repeats)?;
        if !seen {
            return Ok(());
        }
        let mut rest = self.digits(repeats).get(digits).ok_or(CUT_SHORT)?;
        for (choice, hit) in picked.iter().zip(hits) {
            let width = widths[usize::from(*choice)] as usize;
            let (digits, behind) = rest.split_at_checked(width).ok_or(CUT_SHORT)?;
            let mask = self.steps.masks.get(usize::from(*choice)).ok_or(NO_SUCH_MASK)?;
            *hit |= self.needle.digits_at(places(mask), digits);
            rest = behind;
        }
        Ok(())
    }
}

impl Sight {
    pub(super) fn places(&self, mask: usize) -> &[usize] {
        let number = self.masks.get(mask).map_or(0, |number| *number as usize);
        self.places.get(number).map_or(&[], Vec::as_slice)
    }
}
