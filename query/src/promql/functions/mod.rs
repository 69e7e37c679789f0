//! The functions of PromQL: names, signatures, and their bodies by family.
//!
//! A body sees windows or values only; where series come from and how labels are kept is the
//! evaluator's business (`eval::call`).

pub(crate) mod dates;
pub(crate) mod histogram;
pub(crate) mod labels;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod rate;
pub(crate) mod regression;
pub(crate) mod sort;
mod table;

use super::ast::ValueType;
pub(crate) use dates::unix_days;
pub use table::{FUNCTIONS, Id};

/// A function's name and types.
#[derive(Debug)]
pub struct Function {
    pub id: Id,
    pub name: &'static str,
    pub args: &'static [ValueType],
    pub variadic: Variadic,
    pub returns: ValueType,
    pub experimental: bool,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// How the last declared argument may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// Exactly the declared arguments.
    No,
    /// The last one may be left out, or be given up to this often.
    UpTo(usize),
    /// The last one may be given any number of times, also none.
    Any,
}

impl Function {
    /// The function of this name. Names are case-sensitive.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }

    /// The declared type of the argument at `index`; the last one repeats.
    pub(crate) fn arg(&self, index: usize) -> Option<ValueType> {
        self.args.get(index).or(self.args.last()).copied()
    }

    /// Whether the result is the same at every step when all arguments are.
    pub(crate) fn is_pure(&self) -> bool {
        !matches!(
            self.id,
            Id::DaysInMonth
                | Id::DayOfMonth
                | Id::DayOfWeek
                | Id::DayOfYear
                | Id::Hour
                | Id::Minute
                | Id::Month
                | Id::Year
                | Id::PredictLinear
                | Id::Time
                | Id::Timestamp
                | Id::Start
                | Id::End
                | Id::Step
                | Id::Range
        )
    }

    /// Whether the metric name stays true of the result.
    pub(crate) fn keeps_name(&self) -> bool {
        matches!(
            self.id,
            Id::Sort
                | Id::SortDesc
                | Id::SortByLabel
                | Id::SortByLabelDesc
                | Id::LastOverTime
                | Id::FirstOverTime
                | Id::LabelReplace
                | Id::LabelJoin
                | Id::Info
        )
    }
}
