//! A LogQL question in parts that a naive scan can evaluate, and made at random.

use std::collections::BTreeMap;

use fastrand::Rng;
use record::{Labels, MatchOp, Matcher};

use super::{Filter, Found, Table, quote};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// What is asked of the lines of some streams.
#[derive(Debug)]
pub struct LogQuestion {
    /// At least one, and one that an empty label does not match.
    pub matchers: Vec<Matcher>,
    /// In order; all must pass.
    pub filters: Vec<Filter>,
    /// First ns of a range, included.
    pub start_ns: i64,
    /// Its end: excluded for lines; for values the last point may lie on it.
    pub end_ns: i64,
    /// What for.
    pub ask: AskFor,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskFor {
    /// The lines themselves.
    Lines {
        /// Most lines.
        limit: usize,
        /// Oldest first.
        forward: bool,
    },
    /// A sum at each point of a range.
    Values {
        /// Of what.
        aggregate: Aggregate,
        /// Each point looks back this far.
        window_secs: i64,
        /// Points lie on multiples of this.
        step_secs: i64,
        /// A series for each combination of these labels.
        by: Vec<String>,
    },
}

/// What is summed over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// `count_over_time`
    Count,
    /// `bytes_over_time`
    Bytes,
}

/// Values by labels and time in Unix seconds; a point without rows is absent.
pub type Series = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// The answer to a [`LogQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In the order asked for.
    Lines(Vec<Found>),
    /// Of each series.
    Values(Series),
}

impl LogQuestion {
    /// Whether a stream is selected. A label that is absent is empty.
    pub fn selects(&self, stream: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches(stream.get(m.name()).unwrap_or_default()))
    }

    /// The points of a range query: multiples of the step around the range, as Loki's query
    /// front end aligns them.
    pub fn points(&self, step_secs: i64) -> Vec<i64> {
        let step_ns = step_secs * NANOS_PER_SECOND;
        let first = self.start_ns.div_euclid(step_ns);
        let last = -(-self.end_ns).div_euclid(step_ns);
        (first..=last).map(|point| point * step_secs).collect()
    }

    /// The query.
    pub fn logql(&self) -> String {
        let op = |matcher: &Matcher| match matcher.op() {
            MatchOp::Eq => "=",
            MatchOp::Ne => "!=",
            MatchOp::Re => "=~",
            MatchOp::Nre => "!~",
        };
        let matchers = self.matchers.iter();
        let matchers: Vec<String> =
            matchers.map(|m| format!("{}{}{}", m.name(), op(m), quote(m.value()))).collect();
        let mut lines = format!("{{{}}}", matchers.join(", "));
        for filter in &self.filters {
            lines.push_str(&format!(" {}", filter.logql));
        }
        match &self.ask {
            AskFor::Lines { .. } => lines,
            AskFor::Values { aggregate, window_secs, by, .. } => {
                let function = match aggregate {
                    Aggregate::Count => "count_over_time",
                    Aggregate::Bytes => "bytes_over_time",
                };
                let by =
                    if by.is_empty() { String::new() } else { format!(" by ({})", by.join(", ")) };
                format!("sum{by} ({function}({lines} [{window_secs}s]))")
            }
        }
    }

    /// A question about rows of the table.
    pub fn random(table: &Table, rng: &mut Rng) -> Self {
        let filters = rng.usize(..3);
        let filters = (0..filters).map(|_| Filter::random(table, rng)).collect();
        let (a, b) = (rng.f64(), rng.f64());
        let mut range = (table.time_at(a.min(b)), table.time_at(a.max(b)));
        if rng.u8(..4) == 0 {
            range = (table.time_at(0.0), table.time_at(1.0) + 1);
        }
        // Edges of ranges fall on rows, just before and just after.
        let (start_ns, end_ns) = (range.0 + rng.i64(-1..=1), range.1 + rng.i64(-1..=1));
        let ask = match rng.bool() {
            true => {
                AskFor::Lines { limit: [1, 7, 100, 1_000][rng.usize(..4)], forward: rng.bool() }
            }
            false => AskFor::Values {
                aggregate: if rng.bool() { Aggregate::Count } else { Aggregate::Bytes },
                window_secs: [1, 60, 90, 600, 3_600][rng.usize(..5)],
                step_secs: [60, 300, 420, 3_600][rng.usize(..4)],
                by: match rng.u8(..3) {
                    0 => Vec::new(),
                    1 => vec!["container".to_owned()],
                    _ => vec!["namespace".to_owned(), "stream".to_owned()],
                },
            },
        };
        let matchers = matchers(table, rng);
        Self { matchers, filters, start_ns, end_ns: end_ns.max(start_ns + 1), ask }
    }
}

/// One to three matchers, most of which the labels of one stream pass.
fn matchers(table: &Table, rng: &mut Rng) -> Vec<Matcher> {
    let matcher = |name: &str, op, value: &str| {
        Matcher::new(name, op, value).expect("escaped text is a regular expression")
    };
    if rng.u8(..3) == 0 {
        return vec![matcher("namespace", MatchOp::Re, ".+")];
    }
    let streams = table.streams();
    let stream = &streams[rng.usize(..streams.len())];
    let pairs: Vec<(&str, &str)> = stream.iter().collect();
    let (name, value) = pairs[rng.usize(..pairs.len())];
    // The first matches no empty label, so that the selector is allowed.
    let mut matchers = vec![matcher(name, MatchOp::Eq, value)];
    for _ in 0..rng.usize(..3) {
        let (name, value) = pairs[rng.usize(..pairs.len())];
        let other = &streams[rng.usize(..streams.len())];
        let foreign = other.get(name).unwrap_or("absent");
        let start: String = value.chars().take(3).collect();
        let start = format!("{}.*", regex::escape(&start));
        matchers.push(match rng.u8(..5) {
            0 => matcher(name, MatchOp::Ne, foreign),
            1 => matcher(name, MatchOp::Re, &start),
            2 => matcher(name, MatchOp::Nre, &format!("{}|zz", regex::escape(foreign))),
            3 => matcher("no_such_label", MatchOp::Eq, ""),
            _ => matcher(name, MatchOp::Eq, value),
        });
    }
    matchers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SECOND: i64 = NANOS_PER_SECOND;

    fn labels(app: &str) -> Labels {
        Labels::from_pairs([("app", app), ("env", "live")])
    }

    /// Six lines of two streams, at 1 to 6 s.
    fn table() -> Table {
        let (a, b) = (labels("a"), labels("b"));
        Table::from_rows([
            (&a, SECOND, "one apple"),
            (&b, 2 * SECOND, "two pears"),
            (&a, 3 * SECOND, "three apples"),
            (&b, 4 * SECOND, "FOUR PEARS"),
            (&a, 5 * SECOND, ""),
            (&b, 6 * SECOND, "six apples and pears"),
        ])
    }

    fn ask(matchers: &[(&str, MatchOp, &str)], filters: &[&str], ask: AskFor) -> LogQuestion {
        let matchers = matchers.iter().map(|(name, op, value)| Matcher::new(*name, *op, *value));
        LogQuestion {
            matchers: matchers.map(Result::unwrap).collect(),
            filters: filters.iter().map(|text| Filter::parse(text).unwrap()).collect(),
            start_ns: SECOND,
            end_ns: 7 * SECOND,
            ask,
        }
    }

    const LINES: AskFor = AskFor::Lines { limit: 10, forward: true };

    fn lines(question: &LogQuestion) -> Vec<String> {
        match table().answer(question) {
            Answer::Lines(found) => found.into_iter().map(|row| row.line).collect(),
            Answer::Values(_) => panic!("values"),
        }
    }

    #[test]
    fn matchers_filters_ranges_directions_and_limits() {
        use MatchOp::{Eq, Ne, Nre, Re};
        let all = [("env", Eq, "live")];
        for (matchers, filters, expected) in [
            (
                &all[..],
                &[][..],
                vec![
                    "one apple",
                    "two pears",
                    "three apples",
                    "FOUR PEARS",
                    "",
                    "six apples and pears",
                ],
            ),
            (&[("app", Eq, "a")], &[], vec!["one apple", "three apples", ""]),
            (&[("app", Ne, "a")], &[], vec!["two pears", "FOUR PEARS", "six apples and pears"]),
            (&[("app", Re, "a|c")], &["|= apples"], vec!["three apples"]),
            (&[("app", Nre, "a.*")], &["|= apples"], vec!["six apples and pears"]),
            // Regular expressions of matchers are anchored, those of filters are not.
            (&[("env", Re, "liv")], &[], vec![]),
            (
                &[("absent", Eq, ""), ("env", Eq, "live")],
                &["|= pears"],
                vec!["two pears", "six apples and pears"],
            ),
            (&all[..], &["!= apple", "!= pears"], vec!["FOUR PEARS", ""]),
            (&all[..], &["|~ (?i)PEARS$"], vec!["two pears", "FOUR PEARS", "six apples and pears"]),
            (&all[..], &["!~ a|e"], vec!["FOUR PEARS", ""]),
            (&all[..], &["|= apples", "|= pears"], vec!["six apples and pears"]),
        ] {
            assert_eq!(lines(&ask(matchers, filters, LINES)), expected, "{matchers:?} {filters:?}");
        }
        let newest = AskFor::Lines { limit: 2, forward: false };
        let newest = LogQuestion { end_ns: 6 * SECOND, ..ask(&all, &[], newest) };
        assert_eq!(lines(&newest), ["", "FOUR PEARS"]);
        let from_second = LogQuestion { start_ns: SECOND + 1, ..ask(&all, &[], LINES) };
        assert_eq!(lines(&from_second).len(), 5);
    }

    #[test]
    fn windows_exclude_their_start_and_points_lie_on_multiples_of_the_step() {
        let values = |aggregate, window_secs, step_secs, by: &[&str]| AskFor::Values {
            aggregate,
            window_secs,
            step_secs,
            by: by.iter().map(|name| (*name).to_owned()).collect(),
        };
        let answer = |ask_for| {
            let question = ask(&[("env", MatchOp::Eq, "live")], &[], ask_for);
            match table().answer(&question) {
                Answer::Values(series) => series,
                Answer::Lines(_) => panic!("lines"),
            }
        };
        let total = answer(values(Aggregate::Count, 2, 2, &[]));
        // Points 0, 2, 4, 6, 8: (0, 2] has rows 1 and 2; (-2, 0] and nothing after 6.
        let expected = BTreeMap::from([(2, 2), (4, 2), (6, 2)]);
        assert_eq!(total, BTreeMap::from([(Labels::default(), expected)]));
        let bytes = answer(values(Aggregate::Bytes, 3, 6, &["app"]));
        let of = |app| Labels::from_pairs([("app", app)]);
        let expected = BTreeMap::from([
            (of("a"), BTreeMap::from([(6, 0)])),
            (of("b"), BTreeMap::from([(6, 30)])),
        ]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_text_of_a_question_says_what_is_evaluated() {
        let ask_for = AskFor::Values {
            aggregate: Aggregate::Bytes,
            window_secs: 60,
            step_secs: 60,
            by: vec!["app".to_owned()],
        };
        let question = ask(&[("app", MatchOp::Re, "a|b")], &["|= a\"b", "!~ c"], ask_for);
        assert_eq!(
            question.logql(),
            r#"sum by (app) (bytes_over_time({app=~"a|b"} |= "a\"b" !~ "c" [60s]))"#
        );
    }

    #[test]
    fn random_questions_often_have_answers() {
        let (table, mut rng) = (table(), Rng::with_seed(1));
        let answered =
            (0..300).filter(|_| match table.answer(&LogQuestion::random(&table, &mut rng)) {
                Answer::Lines(found) => !found.is_empty(),
                Answer::Values(series) => !series.is_empty(),
            });
        assert!(60 < answered.count());
    }
}
