//! Aggregations: series in groups, each group folded into one series or reduced to some of its own.

mod fold;
mod limit;

use std::collections::HashMap;

use record::Labels;

use super::Evaluator;
use super::value::{Series, Steps, describes};
use crate::promql::ast::{AggregateOp, Grouping};
use crate::promql::error::QueryError;
use crate::promql::number;
use crate::promql::plan::{Aggregate, Grid, Node};
use crate::promql::quantile::quantile;

/// The series that share the grouping labels, in the order they came.
struct Group {
    labels: Labels,
    drop_name: bool,
    members: Vec<Series>,
}

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let op = aggregate.op;
        if op == AggregateOp::CountValues {
            return self.count_values(aggregate, grid);
        }
        let param = match &aggregate.param {
            Some(param) => self.scalar(param, grid)?,
            None => Vec::new(),
        };
        let param = self.checked_param(aggregate, param)?;
        let groups = grouped(self.vector(&aggregate.expr, grid)?, &aggregate.grouping);
        let mut found = Vec::new();
        for group in groups {
            self.hold(grid.steps)?;
            if op.selects() {
                found.extend(limit::select(op, group, &param));
                continue;
            }
            let steps = match op {
                AggregateOp::Quantile => quantiles(&group, &param, grid),
                _ => fold::fold(op, &group.members, grid.steps),
            };
            found.push(Series { labels: group.labels, drop_name: group.drop_name, steps });
        }
        found.retain(|series| !series.steps.is_absent());
        Ok(found)
    }

    /// The parameter at every step, once it is known to mean something.
    fn checked_param(
        &self,
        aggregate: &Aggregate,
        mut param: Vec<f64>,
    ) -> Result<Vec<f64>, QueryError> {
        let span = aggregate.param_span;
        match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                limit::check_count(&param)?;
            }
            AggregateOp::LimitRatio => {
                if param.iter().any(|ratio| ratio.is_nan()) {
                    return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
                }
                for ratio in &mut param {
                    let capped = ratio.clamp(-1.0, 1.0);
                    if capped != *ratio {
                        let text = format!(
                            "ratio value should be between -1 and 1, got {}, capping to {}",
                            number::general(*ratio),
                            number::general(capped)
                        );
                        self.annotate(|notes| notes.warn(text, span));
                        *ratio = capped;
                    }
                }
            }
            AggregateOp::Quantile => {
                for q in &param {
                    self.annotate(|notes| notes.bad_quantile(*q, span));
                }
            }
            _ => {}
        }
        Ok(param)
    }

    fn count_values(&self, aggregate: &Aggregate, grid: Grid) -> Result<Vec<Series>, QueryError> {
        let Some(Node::Text(label)) = &aggregate.param else {
            return Err(QueryError::Internal("expected a label name".to_owned()));
        };
        if label.is_empty() {
            return Err(QueryError::Execution(format!("invalid label name {label:?}")));
        }
        let grouping = &aggregate.grouping;
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut found: Vec<Series> = Vec::new();
        for series in self.vector(&aggregate.expr, grid)? {
            let labels = group_labels(&series.labels, grouping);
            for (step, value) in series.steps.present() {
                let labels = labels.with(label, &number::plain(value));
                let at = match known.get(&labels) {
                    Some(at) => *at,
                    None => {
                        self.hold(grid.steps)?;
                        known.insert(labels.clone(), found.len());
                        let (drop_name, steps) = (series.drop_name, Steps::absent(grid.steps));
                        found.push(Series { labels, drop_name, steps });
                        found.len() - 1
                    }
                };
                let steps = &mut found[at].steps;
                steps.set(step, steps.get(step).unwrap_or(0.0) + 1.0);
            }
        }
        Ok(found)
    }
}

fn quantiles(group: &Group, param: &[f64], grid: Grid) -> Steps {
    let mut steps = Steps::absent(grid.steps);
    let mut values = Vec::with_capacity(group.members.len());
    for (step, q) in param.iter().enumerate() {
        values.clear();
        values.extend(group.members.iter().filter_map(|series| series.steps.get(step)));
        if !values.is_empty() {
            steps.set(step, quantile(*q, &mut values));
        }
    }
    steps
}

fn grouped(series: Vec<Series>, grouping: &Grouping) -> Vec<Group> {
    let mut known: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for member in series {
        let labels = group_labels(&member.labels, grouping);
        let at = *known.entry(labels.clone()).or_insert_with(|| {
            groups.push(Group { labels, drop_name: false, members: Vec::new() });
            groups.len() - 1
        });
        // One member whose name no longer fits is enough for the group's not to fit.
        groups[at].drop_name |= member.drop_name;
        groups[at].members.push(member);
    }
    groups
}

/// The labels a group has: those listed, or all but those listed and the name.
fn group_labels(labels: &Labels, grouping: &Grouping) -> Labels {
    let listed = |name: &str| grouping.labels.iter().any(|label| label == name);
    let kept = labels.iter().filter(|(name, _)| {
        if grouping.without { !listed(name) && !describes(name) } else { listed(name) }
    });
    Labels::from_pairs(kept)
}
