//! What a log query wants of a segment or of recent rows, and its one evaluation.
//!
//! [`LogPlan`] is plain data: query builds it, indexers get it as JSON. [`CompiledPlan`] is the
//! same plan with its regular expressions and searchers built once.
//!
//! What always holds: segments, recent rows and tests all decide through the functions of
//! [`CompiledPlan`], so a row's answer does not depend on where the row happens to be. Whatever
//! prunes only ever skips rows these functions would refuse.
//!
//! Bounds: the query layer caps the length of a query, `record::re2` the size of a compiled
//! expression.

use memchr::memmem::Finder;
use record::{Labels, LogBatch, Matcher, TenantId};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::condition::NeedleNumbers;
use super::variables::{TokenNeedle, TokenNeedles};
use super::verdict::AnalysedTest;

/// The rows and columns a log query needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlan {
    /// Whose rows.
    pub tenant: TenantId,
    /// Earliest time, inclusive, ns since the Unix epoch.
    pub start_ns: i64,
    /// Latest time, exclusive.
    pub end_ns: i64,
    /// All must hold for the stream.
    pub matchers: Vec<Matcher>,
    /// All must hold for the line.
    #[serde(default)]
    pub filters: Vec<LineFilter>,
    /// All must hold for the row's attributes; a missing attribute is empty, and where a name
    /// stands twice the first value counts.
    #[serde(default)]
    pub attribute_matchers: Vec<Matcher>,
    /// All must hold for the row's labels: of a name the first attribute that has a value, else the
    /// stream's label, else empty. That is what LogQL's label filters mean before any parser.
    #[serde(default)]
    pub label_matchers: Vec<Matcher>,
    /// Which attributes the answer carries.
    #[serde(default)]
    pub attributes: AttributeColumns,
    /// Whether the answer carries lines; without, every line is empty.
    pub lines: bool,
    /// Which end of the range a limit keeps.
    #[serde(default)]
    pub direction: Direction,
    /// Most rows wanted. `None` is all of them.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// One test of a line: `|= "a" or "b"` and its three siblings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFilter {
    pub op: LineFilterOp,
    /// Alternatives: under the positive operators one must be found, under the negative ones none
    /// may be.
    pub needles: Vec<String>,
}

/// How a line is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineFilterOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
}

/// Which attributes an answer carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeColumns {
    #[default]
    None,
    All,
    /// Those with one of these names; where a name stands several times, up to the first with a
    /// value.
    Named(Vec<String>),
}

/// Order of interest: which rows a limit keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first, as Grafana asks.
    #[default]
    Backward,
}

/// A plan that cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A line filter's expression is not valid RE2.
    #[error("line filter `{pattern}`: {reason}")]
    Regex { pattern: String, reason: String },
}

/// A plan ready to be evaluated. Build it once a query, share it by `Arc`.
#[derive(Clone, Debug)]
pub struct CompiledPlan {
    plan: LogPlan,
    filters: Vec<CompiledFilter>,
    /// Needles of all filters together.
    needles: usize,
    /// The filters once more, where all their needles lie within tokens.
    token_needles: Option<Vec<TokenNeedles>>,
}

/// A line filter with its searchers built.
#[derive(Clone, Debug)]
pub(crate) struct CompiledFilter {
    /// Whether a hit refuses the row.
    pub(crate) negative: bool,
    pub(crate) tests: Vec<AnalysedTest>,
}

/// One alternative of a line filter.
#[derive(Clone, Debug)]
pub(crate) enum LineTest {
    Contains(Box<Finder<'static>>),
    Regex(Regex),
}

impl LogPlan {
    /// Every row of `tenant` in `start_ns..end_ns` of the streams that satisfy `matchers`, with
    /// lines and attributes.
    pub fn all(tenant: TenantId, start_ns: i64, end_ns: i64, matchers: Vec<Matcher>) -> Self {
        Self {
            tenant,
            start_ns,
            end_ns,
            matchers,
            filters: Vec::new(),
            attribute_matchers: Vec::new(),
            label_matchers: Vec::new(),
            attributes: AttributeColumns::All,
            lines: true,
            direction: Direction::default(),
            limit: None,
        }
    }
}

impl AttributeColumns {
    /// Whether the answer carries an attribute of this name.
    pub fn wants(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => names.iter().any(|wanted| wanted == name),
        }
    }
}

impl CompiledPlan {
    /// Builds the searchers of `plan`.
    ///
    /// # Errors
    /// When a line filter's regular expression is not valid.
    pub fn new(plan: &LogPlan) -> Result<Self, PlanError> {
        let mut numbers = NeedleNumbers::default();
        let filter = |filter| CompiledFilter::new(filter, &mut numbers);
        let filters = plan.filters.iter().map(filter).collect::<Result<_, _>>()?;
        let token_needles = plan.filters.iter().map(token_needles).collect();
        Ok(Self { plan: plan.clone(), filters, needles: numbers.count(), token_needles })
    }

    /// The plan this was built from.
    pub fn plan(&self) -> &LogPlan {
        &self.plan
    }

    pub(crate) fn filters(&self) -> &[CompiledFilter] {
        &self.filters
    }

    /// The filters, if tokens decide all of them.
    pub(crate) fn token_needles(&self) -> Option<&[TokenNeedles]> {
        self.token_needles.as_deref()
    }

    /// Whether an identifier is looked for, which is in few values: the filters are decided by
    /// tokens, and one of them only identifiers satisfy.
    pub(crate) fn seeks_identifier(&self) -> bool {
        let selective = |filter: &TokenNeedles| {
            !filter.negative && filter.needles.iter().all(TokenNeedle::is_selective)
        };
        self.token_needles().is_some_and(|filters| filters.iter().any(selective))
    }

    /// How many needles the filters have together; their numbers are below.
    pub(crate) fn needles(&self) -> usize {
        self.needles
    }

    /// Whether a row's time and line satisfy the plan.
    pub fn row_matches(&self, time_ns: i64, line: &str) -> bool {
        self.time_matches(time_ns) && self.line_matches(line)
    }

    /// Whether `time_ns` is in the plan's range.
    pub fn time_matches(&self, time_ns: i64) -> bool {
        self.plan.start_ns <= time_ns && time_ns < self.plan.end_ns
    }

    /// Whether a line satisfies every line filter.
    pub fn line_matches(&self, line: &str) -> bool {
        self.filters.iter().all(|filter| filter.passes(line))
    }

    /// Whether a stream satisfies every matcher.
    pub fn stream_matches(&self, stream: &Labels) -> bool {
        self.plan.matchers.iter().all(|matcher| matcher.matches_labels(stream))
    }

    /// Whether a row's attributes satisfy every attribute matcher; `value_of` gives the first value
    /// of a name.
    pub fn attributes_match<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        let mut matchers = self.plan.attribute_matchers.iter();
        matchers.all(|matcher| matcher.matches(value_of(matcher.name()).unwrap_or("")))
    }

    /// Whether a row's labels satisfy every label matcher; `value_of` gives the first value of a
    /// name that is not empty.
    pub fn labels_match<'a>(
        &self,
        stream: &Labels,
        value_of: impl Fn(&str) -> Option<&'a str>,
    ) -> bool {
        self.plan.label_matchers.iter().all(|matcher| {
            let name = matcher.name();
            matcher.matches(value_of(name).or_else(|| stream.get(name)).unwrap_or(""))
        })
    }

    /// Names of the attributes that decide rows.
    pub(crate) fn attribute_names(&self) -> impl Iterator<Item = &str> {
        let matchers = self.plan.attribute_matchers.iter().chain(&self.plan.label_matchers);
        matchers.map(Matcher::name)
    }

    /// Whether attributes of this name decide rows.
    pub(crate) fn asks_for_attribute(&self, name: &str) -> bool {
        self.attribute_names().any(|asked| asked == name)
    }

    /// Which rows of `batch` satisfy the plan, except for tenant and limit: the whole evaluation
    /// over rows that are in memory.
    pub fn select(&self, batch: &LogBatch) -> Vec<bool> {
        let streams: Vec<bool> = batch.streams().iter().map(|s| self.stream_matches(s)).collect();
        let rows = batch.times().iter().zip(batch.stream_index()).enumerate();
        rows.map(|(row, (&time, &stream))| {
            streams[stream as usize]
                && self.time_matches(time)
                && self.attributes_match(|name| first_value(batch, row, name))
                && self.labels_match(batch.stream(row), |name| first_filled(batch, row, name))
                && (self.filters.is_empty() || self.line_matches(batch.line(row)))
        })
        .collect()
    }
}

/// `None` when something else than tokens decides the filter.
fn token_needles(filter: &LineFilter) -> Option<TokenNeedles> {
    let negative = match filter.op {
        LineFilterOp::Contains => false,
        LineFilterOp::NotContains => true,
        LineFilterOp::Regex | LineFilterOp::NotRegex => return None,
    };
    let needles = filter.needles.iter().map(|needle| TokenNeedle::new(needle.as_bytes()));
    Some(TokenNeedles { negative, needles: needles.collect::<Option<_>>()? })
}

fn first_value<'a>(batch: &'a LogBatch, row: usize, name: &str) -> Option<&'a str> {
    batch.attributes(row).find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// The first value of a name that is not empty.
fn first_filled<'a>(batch: &'a LogBatch, row: usize, name: &str) -> Option<&'a str> {
    let mut filled =
        batch.attributes(row).filter(|(found, value)| *found == name && !value.is_empty());
    filled.next().map(|(_, value)| value)
}

impl CompiledFilter {
    fn new(filter: &LineFilter, numbers: &mut NeedleNumbers) -> Result<Self, PlanError> {
        let (negative, regex) = match filter.op {
            LineFilterOp::Contains => (false, false),
            LineFilterOp::NotContains => (true, false),
            LineFilterOp::Regex => (false, true),
            LineFilterOp::NotRegex => (true, true),
        };
        let test = |needle: &String| {
            let test = if regex { LineTest::regex(needle)? } else { LineTest::contains(needle) };
            Ok(AnalysedTest::new(test, numbers))
        };
        Ok(Self { negative, tests: filter.needles.iter().map(test).collect::<Result<_, _>>()? })
    }

    /// Whether `line` satisfies the filter.
    pub(crate) fn passes(&self, line: &str) -> bool {
        self.tests.iter().any(|analysed| analysed.test.hits(line)) != self.negative
    }
}

impl LineTest {
    fn contains(needle: &str) -> Self {
        Self::Contains(Box::new(Finder::new(needle).into_owned()))
    }

    fn regex(pattern: &str) -> Result<Self, PlanError> {
        record::re2::unanchored(pattern).map(Self::Regex).map_err(|source| PlanError::Regex {
            pattern: pattern.to_owned(),
            reason: source.to_string(),
        })
    }

    /// Whether the alternative is found in `line`.
    pub(crate) fn hits(&self, line: &str) -> bool {
        match self {
            Self::Contains(finder) => finder.find(line.as_bytes()).is_some(),
            Self::Regex(regex) => regex.is_match(line),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use record::{LogBatchBuilder, MatchOp, TimestampNanos};

    use super::*;

    fn plan(filters: &[(LineFilterOp, &[&str])]) -> CompiledPlan {
        let mut plan = LogPlan::all(TenantId::default(), 10, 20, Vec::new());
        plan.filters = filters
            .iter()
            .map(|(op, needles)| LineFilter {
                op: *op,
                needles: needles.iter().map(|n| (*n).to_owned()).collect(),
            })
            .collect();
        CompiledPlan::new(&plan).unwrap()
    }

    #[test]
    fn alternatives_are_or_and_their_negation_is_none() {
        use LineFilterOp::{Contains, NotContains, NotRegex, Regex};
        for (op, needles, line, expected) in [
            (Contains, &["a", "b"][..], "xbx", true),
            (Contains, &["a", "b"], "x", false),
            (Contains, &[""], "", true),
            (NotContains, &["a", "b"], "xbx", false),
            (NotContains, &["a", "b"], "x", true),
            (NotContains, &[""], "x", false),
            (Regex, &["^a", "b$"], "ca b", true),
            (NotRegex, &["^a", "b$"], "ca b", false),
            (Regex, &["(?i)ERROR"], "an Error", true),
        ] {
            assert_eq!(plan(&[(op, needles)]).line_matches(line), expected, "{op:?} {needles:?}");
        }
    }

    #[test]
    fn the_end_of_the_range_is_outside() {
        let plan = plan(&[]);
        assert!(!plan.row_matches(9, ""));
        assert!(plan.row_matches(10, ""));
        assert!(plan.row_matches(19, ""));
        assert!(!plan.row_matches(20, ""));
    }

    #[test]
    fn selects_by_stream_attribute_and_line() {
        let mut builder = LogBatchBuilder::new();
        let (a, b) = (Labels::from_pairs([("app", "a")]), Labels::from_pairs([("app", "b")]));
        builder.push(TimestampNanos(10), &a, "yes", &[("k", "1"), ("k", "2")], None);
        builder.push(TimestampNanos(11), &b, "yes", &[("k", "1")], None);
        builder.push(TimestampNanos(12), &a, "no", &[("k", "1")], None);
        builder.push::<&str, &str>(TimestampNanos(13), &a, "yes", &[], None);
        let batch = builder.finish();
        let matchers = vec![Matcher::new("app", MatchOp::Eq, "a").unwrap()];
        let mut plan = LogPlan::all(TenantId::default(), 0, 100, matchers);
        plan.filters =
            vec![LineFilter { op: LineFilterOp::Contains, needles: vec!["yes".to_owned()] }];
        plan.attribute_matchers = vec![Matcher::new("k", MatchOp::Eq, "1").unwrap()];
        let compiled = CompiledPlan::new(&plan).unwrap();
        assert_eq!(compiled.select(&batch), [true, false, false, false]);
    }

    #[test]
    fn a_label_is_the_first_attribute_with_a_value_else_the_streams() {
        let mut builder = LogBatchBuilder::new();
        let stream = Labels::from_pairs([("k", "s")]);
        for attributes in [&[][..], &[("k", "")], &[("k", ""), ("k", "a")], &[("k", "b")]] {
            builder.push(TimestampNanos(10), &stream, "", attributes, None);
        }
        let batch = builder.finish();
        let select = |op, value| {
            let mut plan = LogPlan::all(TenantId::default(), 0, 100, Vec::new());
            plan.label_matchers = vec![Matcher::new("k", op, value).unwrap()];
            CompiledPlan::new(&plan).unwrap().select(&batch)
        };
        assert_eq!(select(MatchOp::Eq, "s"), [true, true, false, false]);
        assert_eq!(select(MatchOp::Eq, "a"), [false, false, true, false]);
        assert_eq!(select(MatchOp::Re, "a|b"), [false, false, true, true]);
        assert_eq!(select(MatchOp::Eq, ""), [false; 4]);
    }

    #[test]
    fn a_plan_survives_json_and_old_json_still_reads() {
        let mut plan = LogPlan::all(TenantId::default(), 0, 1, Vec::new());
        plan.limit = Some(5);
        plan.attributes = AttributeColumns::Named(vec!["trace_id".to_owned()]);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<LogPlan>(&json).unwrap(), plan);
        let short = r#"{"tenant":"fake","start_ns":0,"end_ns":1,"matchers":[],"lines":true}"#;
        assert!(serde_json::from_str::<LogPlan>(short).is_ok());
    }
}
