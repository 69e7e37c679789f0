//! Which leaf columns a plan reads of a granule, and when.
//!
//! Columns of numbers decide first. Lines and attributes are read for the granules that are left,
//! or at once where every granule is likely to be left: without line filters.

use record::DETECTED_LEVEL;

use crate::logs::columns::{
    ATTRIBUTE_NAMES, ATTRIBUTE_VALUES, LEVEL, LINES, PATTERN, PROMOTED, STREAM, TIME,
};
use crate::logs::granule::Granule;
use crate::logs::plan::{AttributeColumns, CompiledPlan};

#[derive(Debug)]
pub(crate) struct Leaves {
    filters: bool,
    lines: bool,
    level_decides: bool,
    level_wanted: bool,
    /// Whether the answer carries attributes but the level. Some may have no column of their own,
    /// and a name that has one may stand twice.
    rest_wanted: bool,
    /// Whether such attributes decide rows.
    rest_decides: bool,
    /// The promoted attributes that are read, and their leaves.
    promoted: Vec<(String, usize)>,
    /// Whether the answer carries one of them.
    promoted_wanted: bool,
    counting: bool,
}

impl Leaves {
    pub(crate) fn new(plan: &CompiledPlan, promoted: &[String], counting: bool) -> Self {
        let wanted = &plan.plan().attributes;
        let own_column = |name: &str| name == DETECTED_LEVEL || promoted.iter().any(|p| p == name);
        let rest_wanted = match wanted {
            AttributeColumns::None => false,
            AttributeColumns::All => true,
            AttributeColumns::Named(names) => names.iter().any(|name| name != DETECTED_LEVEL),
        };
        // A label is the first attribute with a value: behind an empty one in its own column may
        // be others. The level's are looked for only where a level is empty.
        let labels = plan.plan().label_matchers.iter().map(|matcher| matcher.name());
        let rest_decides = labels.into_iter().any(|name| name != DETECTED_LEVEL)
            || plan.plan().attribute_matchers.iter().any(|matcher| !own_column(matcher.name()));
        let numbered = promoted.iter().zip(PROMOTED..);
        let read = numbered
            .filter(|(name, _)| wanted.wants(name) || plan.asks_for_attribute(name))
            .map(|(name, leaf)| (name.clone(), leaf));
        Self {
            filters: !plan.filters().is_empty(),
            lines: plan.plan().lines,
            level_decides: plan.asks_for_attribute(DETECTED_LEVEL),
            level_wanted: wanted.wants(DETECTED_LEVEL),
            rest_wanted,
            rest_decides,
            promoted: read.collect(),
            promoted_wanted: promoted.iter().any(|name| wanted.wants(name)),
            counting,
        }
    }

    /// Whether rows are counted, whatever they are but for their line's patterns and variables, their
    /// stream and their time.
    pub(crate) fn patterns_alone(&self) -> bool {
        let attributes = self.rest_wanted || self.rest_decides || !self.promoted.is_empty();
        self.counting && self.filters && !self.lines && !self.level_read() && !attributes
    }

    /// Whether a row's level can refuse it.
    pub(crate) fn level_decides(&self) -> bool {
        self.level_decides
    }

    /// Whether levels are read at all.
    pub(crate) fn level_read(&self) -> bool {
        self.level_decides || self.level_wanted
    }

    /// Whether the patterns of rows are read: with them lines are decided and put together.
    pub(crate) fn patterns_read(&self) -> bool {
        self.filters || self.lines
    }

    /// Whether the answer carries levels.
    pub(crate) fn level_wanted(&self) -> bool {
        self.level_wanted
    }

    /// Whether the answer carries lines.
    pub(crate) fn lines(&self) -> bool {
        self.lines
    }

    /// Names of the promoted attributes that are read.
    pub(crate) fn promoted(&self) -> impl Iterator<Item = &str> {
        self.promoted.iter().map(|(name, _)| name.as_str())
    }

    /// Whether attributes without columns of their own are read of a granule; `levels_empty` says
    /// that a level may be among them.
    pub(crate) fn rest_read(&self, granule: &Granule, levels_empty: bool) -> bool {
        !granule.rest_empty && (self.rest_wanted || self.rest_decides || levels_empty)
    }

    /// Whether rows are counted and the answer carries none of their lines and attributes but the
    /// level; `rest` says that attributes without columns of their own were read.
    pub(crate) fn counts_without_rows(&self, rest: bool) -> bool {
        let in_rest = rest && (self.rest_wanted || self.level_wanted);
        self.counting && !self.lines && !self.promoted_wanted && !in_rest
    }

    /// What is read of a granule first. Without line filters nearly every row that is in range is
    /// wanted, so everything is read at once.
    pub(crate) fn deciding(&self, granule: &Granule) -> Vec<usize> {
        let mut leaves = vec![TIME];
        if granule.streams.start() != granule.streams.end() {
            leaves.push(STREAM);
        }
        if self.level_read() {
            leaves.push(LEVEL);
        }
        if self.patterns_read() {
            leaves.push(PATTERN);
        }
        if self.rest_read(granule, self.level_read()) {
            leaves.push(ATTRIBUTE_NAMES);
        }
        if !self.filters {
            let late = self.late(false, self.rest_read(granule, false));
            leaves.extend(late.into_iter().filter(|leaf| *leaf != ATTRIBUTE_NAMES));
        }
        leaves
    }

    /// What is read for the rows left: lines when they are wanted or `open` says that they still
    /// decide, attributes without columns of their own when `rest` says so.
    pub(crate) fn late(&self, open: bool, rest: bool) -> Vec<usize> {
        let line = (self.lines || open).then_some(LINES);
        let rest: &[usize] = if rest { &[ATTRIBUTE_NAMES, ATTRIBUTE_VALUES] } else { &[] };
        let promoted = self.promoted.iter().map(|(_, leaf)| *leaf);
        line.into_iter().chain(rest.iter().copied()).chain(promoted).collect()
    }
}
