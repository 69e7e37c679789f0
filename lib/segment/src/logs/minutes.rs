//! Rows by stream, level and minute, so that plain counts never touch rows.
//!
//! A LogQL window begins after its first instant and ends with its last. The volume table's minutes
//! are the other way round, so a row at the very start of a minute would be counted into the wrong
//! window. The minutes here are `(start, start + 60 s]`. Since format 6 the volume table tells such
//! rows apart; before, the minutes are worked out from the columns of numbers when a query first
//! counts a whole segment. Either way they are kept with it.
//!
//! Bounds: an entry for each stream, level and minute with a row, as the volume table has.

use std::sync::Arc;

use record::{DETECTED_LEVEL, Labels, TenantId};
use runtime::cpu::CpuPool;

use super::budget::ScanBudget;
use super::error::SegmentError;
use super::plan::{AttributeColumns, CompiledPlan, LogPlan};
use super::scan::Found;
use super::segment::{Ask, LogSegment, Part};
use super::streams::{VolumeBuilder, VolumeEntry, matching_streams};

/// The counts of a segment; `None` when a row has attributes without columns of their own, for
/// then any label may be among them.
pub(crate) type MinuteCounts = Option<Vec<VolumeEntry>>;

/// Counts of the rows that satisfy a plan, by stream, level and minute.
#[derive(Clone, Debug)]
pub struct MinuteTally {
    segment: LogSegment,
    counts: Arc<MinuteCounts>,
    /// By stream number: whether the matchers hold; `None` when they do for all that were counted.
    streams: Option<Vec<bool>>,
    plan: Arc<CompiledPlan>,
}

/// Rows of one stream, level and minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteCount<'a> {
    pub stream: &'a Labels,
    pub level: Option<&'a str>,
    /// Number of the level within the segment.
    pub level_number: u32,
    /// Start of the minute, ns, which is not part of it; its end is.
    pub minute_ns: i64,
    pub rows: u64,
}

impl MinuteTally {
    /// Of rows that satisfy `plan`, without levels.
    pub(crate) fn of_matching(
        segment: &LogSegment,
        plan: &Arc<CompiledPlan>,
        counts: Vec<VolumeEntry>,
    ) -> Self {
        let (segment, counts, plan) = (segment.clone(), Arc::new(Some(counts)), Arc::clone(plan));
        Self { segment, counts, streams: None, plan }
    }

    /// The counts, those of one stream together.
    pub fn counts(&self) -> impl Iterator<Item = MinuteCount<'_>> {
        let streams = self.segment.stream_table().unwrap_or_default();
        let levels = self.segment.level_table().unwrap_or_default();
        let entries = self.counts.iter().flatten();
        let wanted = entries.filter(|entry| match &self.streams {
            Some(wanted) => wanted.get(entry.stream as usize) == Some(&true),
            None => true,
        });
        let counts = wanted.filter_map(move |entry| {
            Some(MinuteCount {
                stream: &streams.get(entry.stream as usize)?.labels,
                level: levels.get(entry.level as usize)?.as_deref(),
                level_number: entry.level,
                minute_ns: entry.minute_ns,
                rows: entry.lines,
            })
        });
        counts.filter(|count| {
            let level = count.level.filter(|level| !level.is_empty());
            self.plan.labels_match(count.stream, |name| level.filter(|_| name == DETECTED_LEVEL))
        })
    }
}

impl LogSegment {
    /// Counts the rows that satisfy `plan` by stream, level and minute, without looking at rows
    /// where that was done before. `None` when minutes cannot answer the plan, or when they would
    /// have to be worked out for a part of the segment only.
    ///
    /// The plan's range must begin and end between minutes; what lies outside of it is counted too.
    ///
    /// # Errors
    /// As a scan.
    pub async fn count_minutes(
        &self,
        plan: &Arc<CompiledPlan>,
        budget: &Arc<ScanBudget>,
        cpu: Option<Arc<CpuPool>>,
    ) -> Result<Option<MinuteTally>, SegmentError> {
        if !self.answers_by_minute(plan) {
            return Ok(None);
        }
        let counts = match self.minutes() {
            Some(counts) => counts,
            None if self.volume_has_firsts() => {
                let counts = self.minutes_of_volume(budget).await?;
                self.keep_minutes(counts)
            }
            None if self.lies_within(plan) => {
                let counts = self.work_out_minutes(budget, cpu).await?;
                self.keep_minutes(counts)
            }
            None => return Ok(None),
        };
        if counts.is_none() {
            return Ok(None);
        }
        let streams = matching_streams(self.stream_table()?, &plan.plan().matchers);
        let (segment, plan) = (self.clone(), Arc::clone(plan));
        Ok(Some(MinuteTally { segment, counts, streams: Some(streams), plan }))
    }

    /// Whether stream and level are all that the plan asks of a row of a segment whose attributes
    /// all have columns of their own.
    fn answers_by_minute(&self, plan: &CompiledPlan) -> bool {
        let asked = plan.plan();
        let promoted = self.columns().promoted();
        !asked.lines
            && asked.limit.is_none()
            && asked.filters.is_empty()
            && asked.attribute_matchers.is_empty()
            && !promoted
                .iter()
                .any(|name| asked.attributes.wants(name) || plan.asks_for_attribute(name))
    }

    /// Whether all rows are in the plan's range.
    fn lies_within(&self, plan: &CompiledPlan) -> bool {
        let granules = &self.granules().granules;
        granules.iter().all(|g| plan.time_matches(g.time_min) && plan.time_matches(g.time_max))
    }

    async fn minutes_of_volume(
        &self,
        budget: &Arc<ScanBudget>,
    ) -> Result<MinuteCounts, SegmentError> {
        if !self.granules().granules.iter().all(|granule| granule.rest_empty) {
            return Ok(None);
        }
        let parts = [Part::Streams, Part::Levels, Part::Volume];
        let missing = parts.iter().copied().filter(|part| !self.loaded(*part));
        budget.take_bytes(self.ask_bytes(&Ask { parts: missing.collect(), ..Ask::default() }))?;
        self.load(&parts).await?;
        Ok(self.volume_table()?.by_end())
    }

    async fn work_out_minutes(
        &self,
        budget: &Arc<ScanBudget>,
        cpu: Option<Arc<CpuPool>>,
    ) -> Result<MinuteCounts, SegmentError> {
        // With a name that no attribute has, granules that have attributes without columns of
        // their own give their rows whole.
        let nobody = String::new();
        let plan = LogPlan {
            lines: false,
            attributes: AttributeColumns::Named(vec![DETECTED_LEVEL.to_owned(), nobody]),
            ..LogPlan::all(TenantId::default(), i64::MIN, i64::MAX, Vec::new())
        };
        let Ok(plan) = CompiledPlan::new(&plan) else { return Ok(None) };
        let mut scan = self.scan_counting(&Arc::new(plan), budget, cpu);
        let mut volume = VolumeBuilder::default();
        while let Some(found) = scan.next().await? {
            let Found::Tally(tally) = found else { return Ok(None) };
            tally.for_each(|stream, level, time| {
                // What belongs to a minute's first instant belongs to the minute before.
                volume.add(stream, level, time.saturating_sub(1), 0);
            });
        }
        Ok(Some(volume.into_entries()))
    }
}
