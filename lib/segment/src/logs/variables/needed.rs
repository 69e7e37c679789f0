//! Which groups of a granule have to be read, as far as what comes before them tells.
//!
//! Masks, identifiers and slots are the granule's, so that it is known without any group which of
//! them have the identifier that is looked for, and which could have it in a text. A query for an
//! identifier reads one or two groups of a dozen.
//!
//! What always holds: a row that satisfies the filters is of a group that is needed.

use bytes::Bytes;

use super::opened::{Opened, Place};
use super::search::{Search, Sight, TokenNeedle, TokenNeedles, patterns_decided};
use super::slot::StoredSlot;
use super::steps::{Identifiers, Steps};
use crate::wire::Malformed;

/// The groups of a granule that have to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needed {
    /// In the order of their numbers.
    pub(crate) groups: Vec<Place>,
    /// How many the granule has.
    pub(crate) of: usize,
}

impl Needed {
    /// What was read of them, by the numbers of groups. `read` has one for each.
    pub(crate) fn place(&self, read: impl Iterator<Item = Bytes>) -> Vec<Option<Bytes>> {
        let mut groups = vec![None; self.groups.last().map_or(0, |last| last.number + 1)];
        for (group, bytes) in self.groups.iter().zip(read) {
            groups[group.number] = Some(bytes);
        }
        groups
    }
}

impl Opened<'_> {
    /// As [`Opened::needed`], by rows.
    pub(crate) fn needed_for_rows(
        &mut self,
        filters: &[TokenNeedles],
        open: impl Iterator<Item = usize>,
        certain: impl Iterator<Item = usize>,
    ) -> Result<Needed, Malformed> {
        let open = self.shapes.of_rows(self.patterns, open);
        let certain = self.shapes.of_rows(self.patterns, certain);
        self.needed(filters, &open, &certain)
    }

    /// The groups with rows of the shapes that are `certain`, and those in which rows of shapes that
    /// are `open` may satisfy `filters`. Slots are known: since format 8.
    pub(crate) fn needed(
        &mut self,
        filters: &[TokenNeedles],
        open: &[bool],
        certain: &[bool],
    ) -> Result<Needed, Malformed> {
        let mut may: Vec<bool> = self.groups.iter().map(|group| group.has(open)).collect();
        let patterns_decided = patterns_decided(filters);
        let mut search = Search::new(self, open);
        for filter in filters.iter().filter(|filter| !filter.negative) {
            let mut hit = vec![false; may.len()];
            for needle in &filter.needles {
                let sight = search.sight(needle)?;
                for (group, hit) in hit.iter_mut().enumerate().filter(|(group, _)| may[*group]) {
                    *hit = *hit
                        || !patterns_decided && search.patterns_have(needle, group)
                        || search.slots_may_have(needle, &sight, group)?;
                }
            }
            may.iter_mut().zip(hit).for_each(|(may, hit)| *may &= hit);
        }
        let needed = self.groups.iter().zip(may);
        let needed = needed.filter(|(group, may)| *may || group.has(certain));
        let groups = needed.map(|(group, _)| group.place.clone()).collect();
        Ok(Needed { groups, of: self.groups.len() })
    }
}

impl Search<'_, '_> {
    /// Whether a pattern of a group has the needle.
    fn patterns_have(&self, needle: &TokenNeedle, group: usize) -> bool {
        let Opened { groups, shapes, table, .. } = &*self.opened;
        let mut pattern = Vec::new();
        groups[group].shapes.clone().filter(|at| self.wanted[*at]).any(|at| {
            table.spell(shapes.shapes[at].pattern, &mut pattern);
            needle.is_in(&pattern)
        })
    }

    /// Whether a slot of a group may have the needle: with an identifier or a mask that has it, or
    /// with texts that are long enough.
    fn slots_may_have(
        &self,
        needle: &TokenNeedle,
        sight: &Sight,
        group: usize,
    ) -> Result<bool, Malformed> {
        let Opened { groups, shapes, masks, ids, .. } = &*self.opened;
        let group = &groups[group];
        let texts = needle.len() <= group.text_max;
        let mut steps = Steps::new(group, ids).following(false, false);
        for at in group.shapes.clone() {
            let shape = &shapes.shapes[at];
            if !self.wanted[at] {
                steps.over(shape, masks, &[])?;
                continue;
            }
            for _ in shape.slots.clone() {
                let has = match StoredSlot::read(&mut steps.slots, &mut steps.masks)? {
                    StoredSlot::Text => texts,
                    StoredSlot::Mask { mask, .. } => !sight.places(mask).is_empty(),
                    StoredSlot::Choices { .. } => {
                        steps.masks.iter().any(|mask| !sight.places(*mask).is_empty())
                    }
                    StoredSlot::Identifiers { list } => {
                        let mut has = false;
                        let found = sight.ids.get(list).filter(|found| !found.is_empty());
                        if let Identifiers::Listed(slot) =
                            steps.identifiers(shape.rows.len(), list)?
                            && let Some(found) = found
                        {
                            let visit = |_, number: usize| has |= found.get(number) == Some(&true);
                            ids.numbers(&slot, visit)?;
                        }
                        has
                    }
                };
                if has {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
