//! Every function of PromQL 3.14, in order of names.

use super::{Function, Variadic};
use crate::promql::ast::ValueType::{self, Matrix, Scalar, Text, Vector};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id {
    Abs,
    Absent,
    AbsentOverTime,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    AvgOverTime,
    Ceil,
    Changes,
    Clamp,
    ClampMax,
    ClampMin,
    Cos,
    Cosh,
    CountOverTime,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Deg,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    End,
    Exp,
    FirstOverTime,
    Floor,
    HistogramAvg,
    HistogramCount,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramStddev,
    HistogramStdvar,
    HistogramSum,
    Hour,
    Idelta,
    Increase,
    Info,
    Irate,
    LabelJoin,
    LabelReplace,
    LastOverTime,
    Ln,
    Log10,
    Log2,
    MadOverTime,
    MaxOf,
    MaxOverTime,
    MinOf,
    MinOverTime,
    Minute,
    Month,
    Pi,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rad,
    Range,
    Rate,
    Resets,
    Round,
    Scalar,
    Sgn,
    Sin,
    Sinh,
    Sort,
    SortByLabel,
    SortByLabelDesc,
    SortDesc,
    Sqrt,
    Start,
    StartTimestamp,
    StddevOverTime,
    StdvarOverTime,
    Step,
    SumOverTime,
    Tan,
    Tanh,
    Time,
    Timestamp,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
    Vector,
    Year,
}

/// The functions, sorted by name.
pub static FUNCTIONS: &[Function] = &[
    stable(Id::Abs, "abs", &[Vector], Vector),
    stable(Id::Absent, "absent", &[Vector], Vector),
    stable(Id::AbsentOverTime, "absent_over_time", &[Matrix], Vector),
    stable(Id::Acos, "acos", &[Vector], Vector),
    stable(Id::Acosh, "acosh", &[Vector], Vector),
    stable(Id::Asin, "asin", &[Vector], Vector),
    stable(Id::Asinh, "asinh", &[Vector], Vector),
    stable(Id::Atan, "atan", &[Vector], Vector),
    stable(Id::Atanh, "atanh", &[Vector], Vector),
    stable(Id::AvgOverTime, "avg_over_time", &[Matrix], Vector),
    stable(Id::Ceil, "ceil", &[Vector], Vector),
    stable(Id::Changes, "changes", &[Matrix], Vector),
    stable(Id::Clamp, "clamp", &[Vector, Scalar, Scalar], Vector),
    stable(Id::ClampMax, "clamp_max", &[Vector, Scalar], Vector),
    stable(Id::ClampMin, "clamp_min", &[Vector, Scalar], Vector),
    stable(Id::Cos, "cos", &[Vector], Vector),
    stable(Id::Cosh, "cosh", &[Vector], Vector),
    stable(Id::CountOverTime, "count_over_time", &[Matrix], Vector),
    stable(Id::DayOfMonth, "day_of_month", &[Vector], Vector).repeats(Variadic::UpTo(1)),
    stable(Id::DayOfWeek, "day_of_week", &[Vector], Vector).repeats(Variadic::UpTo(1)),
    stable(Id::DayOfYear, "day_of_year", &[Vector], Vector).repeats(Variadic::UpTo(1)),
    stable(Id::DaysInMonth, "days_in_month", &[Vector], Vector).repeats(Variadic::UpTo(1)),
    stable(Id::Deg, "deg", &[Vector], Vector),
    stable(Id::Delta, "delta", &[Matrix], Vector),
    stable(Id::Deriv, "deriv", &[Matrix], Vector),
    stable(
        Id::DoubleExponentialSmoothing,
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Vector,
    )
    .experimental(),
    stable(Id::End, "end", &[], Scalar).experimental(),
    stable(Id::Exp, "exp", &[Vector], Vector),
    stable(Id::FirstOverTime, "first_over_time", &[Matrix], Vector),
    stable(Id::Floor, "floor", &[Vector], Vector),
    stable(Id::HistogramAvg, "histogram_avg", &[Vector], Vector),
    stable(Id::HistogramCount, "histogram_count", &[Vector], Vector),
    stable(Id::HistogramFraction, "histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    stable(Id::HistogramQuantile, "histogram_quantile", &[Scalar, Vector], Vector),
    stable(Id::HistogramQuantiles, "histogram_quantiles", &[Vector, Text, Scalar], Vector)
        .repeats(Variadic::UpTo(10))
        .experimental(),
    stable(Id::HistogramStddev, "histogram_stddev", &[Vector], Vector),
    stable(Id::HistogramStdvar, "histogram_stdvar", &[Vector], Vector),
    stable(Id::HistogramSum, "histogram_sum", &[Vector], Vector),
    stable(Id::Hour, "hour", &[Vector], Vector).repeats(Variadic::UpTo(1)),
    stable(Id::Idelta, "idelta", &[Matrix], Vector),
    stable(Id::Increase, "increase", &[Matrix], Vector),
    stable(Id::Info, "info", &[Vector, Vector], Vector).repeats(Variadic::UpTo(1)).experimental(),
    stable(Id::Irate, "irate", &[Matrix], Vector),
    stable(Id::LabelJoin, "label_join", &[Vector, Text, Text, Text], Vector).repeats(Variadic::Any),
    stable(Id::LabelReplace, "label_replace", &[Vector, Text, Text, Text, Text], Vector),
    stable(Id::LastOverTime, "last_over_time", &[Matrix], Vector),
    stable(Id::Ln, "ln", &[Vector], Vector),
    stable(Id::Log10, "log10", &[Vector], Vector),
    stable(Id::Log2, "log2", &[Vector], Vector),
    stable(Id::MadOverTime, "mad_over_time", &[Matrix], Vector).experimental(),
    stable(Id::MaxOf, "max_of", &[Scalar, Scalar], Scalar).experimental(),
    stable(Id::MaxOverTime, "max_over_time", &[Matrix], Vector),
    stable(Id::MinOf, "min_of", &[Scalar, Scalar], Scalar).experimental(),
    stable(Id::MinOverTime, "min_over_time", &[Matrix], Vector),
    stable(Id::Minute, "minute", &[Vector], Vector).repeats(Variadic::UpTo(1)),
    stable(Id::Month, "month", &[Vector], Vector).repeats(Variadic::UpTo(1)),
    stable(Id::Pi, "pi", &[], Scalar),
    stable(Id::PredictLinear, "predict_linear", &[Matrix, Scalar], Vector),
    stable(Id::PresentOverTime, "present_over_time", &[Matrix], Vector),
    stable(Id::QuantileOverTime, "quantile_over_time", &[Scalar, Matrix], Vector),
    stable(Id::Rad, "rad", &[Vector], Vector),
    stable(Id::Range, "range", &[], Scalar).experimental(),
    stable(Id::Rate, "rate", &[Matrix], Vector),
    stable(Id::Resets, "resets", &[Matrix], Vector),
    stable(Id::Round, "round", &[Vector, Scalar], Vector).repeats(Variadic::UpTo(1)),
    stable(Id::Scalar, "scalar", &[Vector], Scalar),
    stable(Id::Sgn, "sgn", &[Vector], Vector),
    stable(Id::Sin, "sin", &[Vector], Vector),
    stable(Id::Sinh, "sinh", &[Vector], Vector),
    stable(Id::Sort, "sort", &[Vector], Vector),
    stable(Id::SortByLabel, "sort_by_label", &[Vector, Text], Vector)
        .repeats(Variadic::Any)
        .experimental(),
    stable(Id::SortByLabelDesc, "sort_by_label_desc", &[Vector, Text], Vector)
        .repeats(Variadic::Any)
        .experimental(),
    stable(Id::SortDesc, "sort_desc", &[Vector], Vector),
    stable(Id::Sqrt, "sqrt", &[Vector], Vector),
    stable(Id::Start, "start", &[], Scalar).experimental(),
    stable(Id::StartTimestamp, "start_timestamp", &[Vector], Vector).experimental(),
    stable(Id::StddevOverTime, "stddev_over_time", &[Matrix], Vector),
    stable(Id::StdvarOverTime, "stdvar_over_time", &[Matrix], Vector),
    stable(Id::Step, "step", &[], Scalar).experimental(),
    stable(Id::SumOverTime, "sum_over_time", &[Matrix], Vector),
    stable(Id::Tan, "tan", &[Vector], Vector),
    stable(Id::Tanh, "tanh", &[Vector], Vector),
    stable(Id::Time, "time", &[], Scalar),
    stable(Id::Timestamp, "timestamp", &[Vector], Vector),
    stable(Id::TsOfFirstOverTime, "ts_of_first_over_time", &[Matrix], Vector).experimental(),
    stable(Id::TsOfLastOverTime, "ts_of_last_over_time", &[Matrix], Vector).experimental(),
    stable(Id::TsOfMaxOverTime, "ts_of_max_over_time", &[Matrix], Vector).experimental(),
    stable(Id::TsOfMinOverTime, "ts_of_min_over_time", &[Matrix], Vector).experimental(),
    stable(Id::Vector, "vector", &[Scalar], Vector),
    stable(Id::Year, "year", &[Vector], Vector).repeats(Variadic::UpTo(1)),
];

const fn stable(
    id: Id,
    name: &'static str,
    args: &'static [ValueType],
    returns: ValueType,
) -> Function {
    Function { id, name, args, variadic: Variadic::No, returns, experimental: false }
}

impl Function {
    const fn repeats(self, variadic: Variadic) -> Self {
        Self { variadic, ..self }
    }

    const fn experimental(self) -> Self {
        Self { experimental: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_complete() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(FUNCTIONS.len(), 90);
    }
}
