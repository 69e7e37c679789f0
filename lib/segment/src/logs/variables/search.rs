//! Searching tokens without putting lines together.
//!
//! A text without separators that is in a line is in one of its tokens, and each token is static
//! text of the line's pattern or the value of a slot. So a slot at a time is searched, and mostly
//! its masks alone tell that no value can have the text.
//!
//! What always holds: what is found is what a search of the whole lines finds.

use memchr::memmem::Finder;

use super::read::{Bytes, CUT_SHORT, Kind, Mask, NO_SUCH_MASK, Slot, Variables};
use crate::logs::token::{ByteClass, class};
use crate::wire::Malformed;

/// A text that lies within one token of a line that contains it.
#[derive(Clone, Debug)]
pub(crate) struct TokenNeedle {
    finder: Finder<'static>,
    /// The needle's digits alone.
    digits: Vec<u8>,
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
        within.then(|| Self {
            finder: Finder::new(text).into_owned(),
            digits: text.iter().copied().filter(u8::is_ascii_digit).collect(),
        })
    }

    fn bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    /// Where in a mask the needle may stand, by the number of digits before it there.
    fn places(&self, mask: &[u8]) -> Vec<usize> {
        let fits = |at: &[u8]| {
            at.iter().zip(self.bytes()).all(|(mask, byte)| match byte {
                b'0'..=b'9' => *mask == b'0',
                byte => mask == byte,
            })
        };
        let mut digits = 0;
        let mut places = Vec::new();
        for (window, first) in mask.windows(self.bytes().len()).zip(mask) {
            if fits(window) {
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

    /// Finds the needle in values of `length` bytes, one every `stride`, from `start` on.
    fn find_in_column(
        &self,
        column: &[u8],
        (start, stride, length): (usize, usize, usize),
        hits: &mut Hits,
    ) -> Result<(), Malformed> {
        if length < self.bytes().len() {
            return Ok(());
        }
        let column = column.get(start..start + stride * hits.len()).ok_or(CUT_SHORT)?;
        let mut from = 0;
        while let Some(at) = self.finder.find(&column[from..]).map(|at| from + at) {
            let (rank, place) = (at / stride, at % stride);
            let within = place + self.bytes().len() <= length;
            hits[rank] |= within;
            from = if within { (rank + 1) * stride } else { at + 1 };
        }
        Ok(())
    }
}

impl Variables<'_> {
    /// Which of `rows` satisfy all `filters`, by row of the granule; others are false.
    pub(crate) fn satisfying(
        &self,
        filters: &[TokenNeedles],
        rows: impl Iterator<Item = usize> + Clone,
    ) -> Result<Vec<bool>, Malformed> {
        let mut wanted = vec![false; self.shapes.len()];
        rows.clone().for_each(|row| wanted[self.shape(row)] = true);
        // Of the rows by pattern: which satisfy.
        let mut passing = vec![true; self.ranks.len()];
        let mut hits = vec![false; self.ranks.len()];
        let mut starts = Vec::with_capacity(self.shapes.len());
        let mut start = 0;
        for (number, shape) in self.shapes.iter().enumerate() {
            starts.push(start);
            let end = start + shape.rows;
            let passing = passing.get_mut(start..end).ok_or(CUT_SHORT)?;
            start = end;
            if !wanted[number] {
                continue;
            }
            for filter in filters {
                let hits = &mut hits[..shape.rows];
                hits.fill(false);
                for needle in &filter.needles {
                    self.find(number, needle, hits)?;
                }
                let outcomes = passing.iter_mut().zip(&*hits);
                outcomes.for_each(|(passing, hit)| *passing &= *hit != filter.negative);
            }
        }
        let mut satisfying = vec![false; self.ranks.len()];
        for row in rows {
            satisfying[row] = passing[starts[self.shape(row)] + self.ranks[row] as usize];
        }
        Ok(satisfying)
    }

    fn shape(&self, row: usize) -> usize {
        self.shape_of[self.patterns[row] as usize] as usize
    }

    /// Marks the rows of a pattern that have the needle.
    fn find(&self, shape: usize, needle: &TokenNeedle, hits: &mut Hits) -> Result<(), Malformed> {
        let shape = &self.shapes[shape];
        let pattern = self.table.get(shape.pattern).unwrap_or_default();
        if needle.finder.find(pattern).is_some() {
            hits.fill(true);
            return Ok(());
        }
        for slot in self.slots.get(shape.slots.clone()).ok_or(CUT_SHORT)? {
            slot.find(needle, &self.bytes, &self.masks, hits)?;
        }
        Ok(())
    }
}

impl Slot {
    /// Marks the rows whose value has the needle.
    fn find(
        &self,
        needle: &TokenNeedle,
        bytes: &Bytes,
        masks: &[Mask],
        hits: &mut Hits,
    ) -> Result<(), Malformed> {
        let places = |mask: u32| {
            let mask = masks.get(mask as usize).ok_or(NO_SUCH_MASK)?;
            Ok(needle.places(&bytes.masks[mask.range.clone()]))
        };
        match &self.kind {
            Kind::Digits { start, length } if needle.digits.len() == needle.bytes().len() => {
                needle.find_in_column(&bytes.digits, (*start, *length, *length), hits)?;
            }
            Kind::Digits { .. } => {}
            Kind::Masked { start, mask } => {
                let (places, width) = (places(*mask)?, masks[*mask as usize].digits);
                if !places.is_empty() {
                    for (rank, hit) in hits.iter_mut().enumerate() {
                        let digits = bytes.digits.get(start + rank * width..).ok_or(CUT_SHORT)?;
                        *hit |= needle.digits_at(&places, &digits[..width.min(digits.len())]);
                    }
                }
            }
            Kind::Choices { choices, masks } => {
                let places: Vec<Vec<usize>> =
                    masks.iter().map(|mask| places(*mask)).collect::<Result<_, _>>()?;
                if places.iter().all(Vec::is_empty) {
                    return Ok(());
                }
                let choices = bytes.choices.get(*choices..*choices + hits.len());
                for (rank, (choice, hit)) in choices.ok_or(CUT_SHORT)?.iter().zip(hits).enumerate()
                {
                    let places = places.get(*choice as usize).ok_or(NO_SUCH_MASK)?;
                    let digits = match self.starts.get(rank..rank + 2) {
                        Some(ends) => bytes.digits.get(ends[0] as usize..ends[1] as usize),
                        None => Some(&[][..]),
                    };
                    *hit |= needle.digits_at(places, digits.ok_or(CUT_SHORT)?);
                }
            }
            Kind::HalfBytes { start, stride, length } => {
                needle.find_in_column(&bytes.half_bytes, (*start, *stride, *length), hits)?;
            }
            Kind::Text => self.find_in_texts(needle, &bytes.text, hits)?,
        }
        Ok(())
    }

    fn find_in_texts(
        &self,
        needle: &TokenNeedle,
        text: &[u8],
        hits: &mut Hits,
    ) -> Result<(), Malformed> {
        let (Some(first), Some(last)) = (self.starts.first(), self.starts.last()) else {
            return Ok(());
        };
        let text = text.get(..*last as usize).ok_or(CUT_SHORT)?;
        let mut from = *first as usize;
        let mut rank = 0;
        while let Some(at) = text.get(from..).and_then(|text| needle.finder.find(text)) {
            let at = from + at;
            rank += self.starts[rank + 1..].partition_point(|start| *start as usize <= at);
            let end = self.starts[rank + 1] as usize;
            let within = at + needle.bytes().len() <= end;
            hits[rank] |= within;
            from = if within { end } else { at + 1 };
        }
        Ok(())
    }
}
