//! `absent` and `absent_over_time`: 1 where nothing is.

use record::Labels;

use super::Evaluator;
use super::value::{Series, Steps};
use crate::promql::error::QueryError;
use crate::promql::plan::{Call, Grid};

impl Evaluator<'_> {
    pub(super) fn absent(&self, call: &Call, grid: Grid) -> Result<Vec<Series>, QueryError> {
        let series = self.vector(&call.args[0], grid)?;
        let mut present = vec![false; grid.steps];
        for (step, _) in series.iter().flat_map(|series| series.steps.present()) {
            present[step] = true;
        }
        Ok(vec![where_not(&present, call)])
    }

    pub(super) fn absent_over_time(
        &self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let mut present = vec![false; grid.steps];
        self.windows(&call.args[0], grid, &mut |step, _| {
            present[step] = true;
            None
        })?;
        Ok(vec![where_not(&present, call)])
    }
}

fn where_not(present: &[bool], call: &Call) -> Series {
    let mut steps = Steps::absent(present.len());
    for (step, present) in present.iter().enumerate() {
        if !present {
            steps.set(step, 1.0);
        }
    }
    let labels = call.absent_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Series { labels: Labels::from_pairs(labels), drop_name: false, steps }
}
