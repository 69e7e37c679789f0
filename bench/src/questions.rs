//! The named questions every system is asked, in nobody's query language yet.

use crate::corpus::Needles;
use crate::oracle::quote;

/// A question with a name for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// As in reports.
    pub name: &'static str,
    /// Which lines.
    pub search: Search,
    /// What about them.
    pub want: Want,
}

/// Which lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// All.
    Everything,
    /// Those with this whole word; systems that only know substrings look for that.
    Word(String),
    /// Those with this text anywhere.
    Text(String),
    /// Those some part of which matches.
    Regex(String),
}

/// What about the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The newest ones.
    Newest(usize),
    /// How many in each minute.
    PerMinute,
    /// How many of each level in each minute.
    PerMinuteAndLevel,
    /// How many.
    Total,
}

/// The set of every report.
pub fn named(needles: &Needles) -> Vec<Question> {
    let question = |name, search, want| Question { name, search, want };
    let word = |word: &str| Search::Word(word.to_owned());
    let text = |text: &str| Search::Text(text.to_owned());
    let hundred = Want::Newest(100);
    vec![
        question("word_histogram_by_minute", word(needles.common), Want::PerMinute),
        question("level_histogram", Search::Everything, Want::PerMinuteAndLevel),
        question("unique_token", word(needles.unique(3)), hundred),
        question("unique_token_at_1_5", word(needles.unique(1)), hundred),
        question("unique_token_at_2_5", word(needles.unique(2)), hundred),
        question("unique_token_at_4_5", word(needles.unique(4)), hundred),
        question("newest_100_common_word", word(needles.common), hundred),
        question("absent_word", word(needles.absent_word), hundred),
        question("absent_substring", text(needles.absent_part), hundred),
        question("substring_reading_lines", text(&needles.part()), Want::Total),
        question("regex_reading_lines", Search::Regex(needles.regex.to_owned()), Want::Total),
    ]
}

impl Question {
    /// In LogQL. A total is over the `seconds` before the time it is asked for.
    pub fn logql(&self, seconds: u64) -> String {
        let filter = match &self.search {
            Search::Everything => String::new(),
            Search::Word(text) | Search::Text(text) => format!(" |= {}", quote(text)),
            Search::Regex(pattern) => format!(" |~ {}", quote(pattern)),
        };
        let lines = format!(r#"{{namespace=~".+"}}{filter}"#);
        match self.want {
            Want::Newest(_) => lines,
            Want::PerMinute => format!("sum(count_over_time({lines} [1m]))"),
            Want::PerMinuteAndLevel => {
                format!("sum by (detected_level) (count_over_time({lines} [1m]))")
            }
            Want::Total => format!("sum(count_over_time({lines} [{seconds}s]))"),
        }
    }
}
