//! A pipeline ready to run: what the scan does, and what is left to do for each row.
//!
//! Line filters are done by the scan, which prunes by them; as no supported stage changes the line
//! or drops rows by what an earlier filter decided, their place among the stages does not matter.
//! Filters on the text of labels are the scan's too while no stage before them changes labels.

use record::{Labels, LogBatch, Matcher};
use segment::logs::plan::{LineFilter as ScanFilter, LineFilterOp as ScanOp};

use super::filter::Filter;
use super::labels::{ERROR, ERROR_DETAILS, RowLabels};
use crate::error::QueryError;
use crate::logql::ast::{LabelFilter, LabelPick, LineFilter, LineOp, LogQuery, Needle, Stage};
use crate::logql::{ParseError, stage_name};

/// What is done to the rows of a log query.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) matchers: Vec<Matcher>,
    /// Line filters, for the scan.
    pub(super) filters: Vec<ScanFilter>,
    /// Label filters on the labels that rows were stored with, for the scan.
    pub(super) labels: Vec<Matcher>,
    stages: Vec<RowStage>,
}

#[derive(Clone, Debug)]
enum RowStage {
    Filter(Filter),
    Drop(Vec<LabelPick>),
    Keep(Vec<LabelPick>),
}

impl Pipeline {
    /// # Errors
    /// When a stage is not supported yet, by its name, or a line filter's expression is not valid.
    pub(super) fn compile(query: &LogQuery) -> Result<Self, QueryError> {
        let mut filters = Vec::new();
        let mut labels = Vec::new();
        let mut stages = Vec::new();
        for stage in &query.stages {
            match stage {
                Stage::LineFilter(filter) => filters.push(scan_filter(filter)?),
                // Before any stage that changes labels or marks rows.
                Stage::LabelFilter(filter) if stages.is_empty() && is_textual(filter) => {
                    add_matchers(filter, &mut labels);
                }
                Stage::LabelFilter(filter) => {
                    stages.push(RowStage::Filter(Filter::compile(filter).map_err(unsupported)?));
                }
                Stage::Drop(picks) => stages.push(RowStage::Drop(picks.clone())),
                Stage::Keep(picks) => stages.push(RowStage::Keep(picks.clone())),
                other => return Err(unsupported(format!("stage '{}'", stage_name(other)))),
            }
        }
        Ok(Self { matchers: query.matchers.clone(), filters, labels, stages })
    }

    /// Whether every row the scan yields stays, so that the scan may apply the limit.
    pub(super) fn keeps_every_row(&self) -> bool {
        !self.stages.iter().any(|stage| matches!(stage, RowStage::Filter(_)))
    }

    /// The names of all labels the stages look at.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for stage in &self.stages {
            match stage {
                RowStage::Filter(filter) => filter.names(&mut names),
                RowStage::Drop(picks) | RowStage::Keep(picks) => {
                    names.extend(picks.iter().map(pick_name));
                }
            }
        }
        names
    }

    /// Runs the stages on one row: false drops it.
    pub(super) fn keeps<'a>(
        &self,
        batch: &'a LogBatch,
        row: usize,
        labels: &mut RowLabels<'a>,
    ) -> bool {
        self.keeps_labels(batch.stream(row), batch.attributes(row), labels)
    }

    /// Runs the stages on the labels of a row: false drops it.
    pub(super) fn keeps_labels<'a>(
        &self,
        stream: &'a Labels,
        metadata: impl Iterator<Item = (&'a str, &'a str)>,
        labels: &mut RowLabels<'a>,
    ) -> bool {
        labels.reset(stream, metadata);
        self.stages.iter().all(|stage| match stage {
            RowStage::Filter(filter) => filter.keeps(labels),
            RowStage::Drop(picks) => {
                drop_labels(picks, labels);
                true
            }
            RowStage::Keep(picks) => {
                keep_labels(picks, labels);
                true
            }
        })
    }
}

/// Whether a label filter is texts joined by `and`.
fn is_textual(filter: &LabelFilter) -> bool {
    match filter {
        LabelFilter::Text(_) => true,
        LabelFilter::And(operands) => operands.iter().all(is_textual),
        _ => false,
    }
}

fn add_matchers(filter: &LabelFilter, matchers: &mut Vec<Matcher>) {
    match filter {
        LabelFilter::Text(matcher) => matchers.push(matcher.clone()),
        LabelFilter::And(operands) => {
            operands.iter().for_each(|operand| add_matchers(operand, matchers));
        }
        _ => {}
    }
}

/// Refuses what the language has and this engine has not.
pub(super) fn unsupported(what: impl std::fmt::Display) -> QueryError {
    ParseError::new(format!("{what} is not supported yet")).into()
}

fn scan_filter(filter: &LineFilter) -> Result<ScanFilter, QueryError> {
    let op = match filter.op {
        LineOp::Contains => ScanOp::Contains,
        LineOp::NotContains => ScanOp::NotContains,
        LineOp::Regex => ScanOp::Regex,
        LineOp::NotRegex => ScanOp::NotRegex,
        LineOp::Pattern | LineOp::NotPattern => {
            return Err(unsupported(format!("line filter '{}'", filter.op.symbol())));
        }
    };
    let mut needles = Vec::new();
    for needle in &filter.alternatives {
        let Needle::Text(text) = needle else {
            return Err(unsupported("line filter 'ip()'"));
        };
        if matches!(op, ScanOp::Regex | ScanOp::NotRegex)
            && let Err(error) = record::re2::unanchored(text)
        {
            return Err(ParseError::new(format!("stage '{filter}' : {error}")).into());
        }
        needles.push(text.clone());
    }
    // An empty needle is found in every line: `|= ""` passes all and `!= ""` passes none.
    Ok(ScanFilter { op, needles })
}

fn pick_name(pick: &LabelPick) -> &str {
    match pick {
        LabelPick::Name(name) => name,
        LabelPick::Matching(matcher) => matcher.name(),
    }
}

fn picks(pick: &LabelPick, labels: &RowLabels<'_>) -> bool {
    match pick {
        LabelPick::Name(_) => true,
        LabelPick::Matching(matcher) => matcher.matches(labels.get(matcher.name()).unwrap_or("")),
    }
}

fn drop_labels(wanted: &[LabelPick], labels: &mut RowLabels<'_>) {
    for pick in wanted {
        if picks(pick, labels) {
            labels.remove(pick_name(pick));
        }
    }
}

/// Removes every label that is not picked; errors stay.
fn keep_labels(wanted: &[LabelPick], labels: &mut RowLabels<'_>) {
    let kept = |name: &str| {
        name == ERROR
            || name == ERROR_DETAILS
            || wanted.iter().any(|pick| pick_name(pick) == name && picks(pick, labels))
    };
    let gone: Vec<String> = labels.names().filter(|name| !kept(name)).map(str::to_owned).collect();
    for name in gone {
        labels.remove(&name);
    }
}
