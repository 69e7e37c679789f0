//! Durations: literals, and expressions over them inside brackets and parenthesised offsets.

use super::lex::{self, keyword, sees, symbol};
use super::{Failure, Grammar, Parsed};
use crate::promql::ast::{BinaryOp, Duration};

/// As in expressions: a sign binds looser than `^`.
const SIGN_FLOOR: u8 = 6;

impl Grammar<'_> {
    /// What stands in brackets.
    pub(super) fn duration<'a>(&self, i: &'a str) -> Parsed<'a, Duration> {
        self.duration_terms(i, 0)
    }

    /// What stands after `offset`: one term, perhaps signed; operators belong to the expression.
    pub(super) fn offset_duration<'a>(&self, i: &'a str) -> Parsed<'a, Duration> {
        let start = lex::blank(i);
        let (rest, duration) = match start.strip_prefix(['-', '+']) {
            None => self.duration_term(start)?,
            Some(term) => {
                let (rest, term) = self.duration_term(term)?;
                (rest, signed(start.starts_with('-'), term))
            }
        };
        match duration.constant() {
            Ok(_) => Ok((rest, duration)),
            Err(error) => Err(Failure::at(start, error.to_string()).fatal()),
        }
    }

    fn duration_terms<'a>(&self, i: &'a str, floor: u8) -> Parsed<'a, Duration> {
        self.deeper(i, |i| {
            let start = lex::blank(i);
            let (mut rest, mut left) = match start.strip_prefix(['-', '+']) {
                None => self.duration_term(start)?,
                Some(term) => {
                    let (rest, term) = self.duration_terms(term, SIGN_FLOOR)?;
                    (rest, signed(start.starts_with('-'), term))
                }
            };
            while let Some((after, op)) = arithmetic(rest) {
                if op.precedence() < floor {
                    break;
                }
                self.count(rest)?;
                let right_floor =
                    if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
                let (after, right) = self.duration_terms(after, right_floor)?;
                left = Duration::Binary(op, Box::new(left), Box::new(right));
                rest = after;
            }
            Ok((rest, left))
        })
    }

    fn duration_term<'a>(&self, i: &'a str) -> Parsed<'a, Duration> {
        self.count(i)?;
        if let Ok((rest, _)) = symbol("(")(i) {
            let (rest, inner) = self.duration_terms(rest, 0)?;
            let (rest, _) = symbol(")")(rest).map_err(|_| unexpected(rest))?;
            return Ok((rest, Duration::Paren(Box::new(inner))));
        }
        for (name, duration) in [("step", Duration::Step), ("range", Duration::Range)] {
            if let Ok((rest, _)) = keyword(name)(i) {
                let (rest, _) = symbol("(")(rest).map_err(|_| unexpected(rest))?;
                let (rest, _) = symbol(")")(rest).map_err(|_| unexpected(rest))?;
                return Ok((rest, duration));
            }
        }
        for (name, make) in [
            ("min_of", Duration::Min as fn(Box<Duration>, Box<Duration>) -> Duration),
            ("max_of", Duration::Max),
        ] {
            if let Ok((rest, _)) = keyword(name)(i) {
                let (rest, (a, b)) = self.two_durations(rest)?;
                return Ok((rest, make(Box::new(a), Box::new(b))));
            }
        }
        match lex::number(i) {
            Ok((rest, number)) if number.value.is_finite() => Ok((rest, Duration::Literal(number))),
            Ok(_) => Err(Failure::at(lex::blank(i), "duration out of range").fatal()),
            Err(error @ nom::Err::Failure(_)) => Err(error),
            Err(_) => Err(unexpected(i)),
        }
    }

    fn two_durations<'a>(&self, i: &'a str) -> Parsed<'a, (Duration, Duration)> {
        let (rest, _) = symbol("(")(i).map_err(|_| unexpected(i))?;
        let (rest, a) = self.duration_terms(rest, 0)?;
        let (rest, _) = symbol(",")(rest).map_err(|_| unexpected(rest))?;
        let (rest, b) = self.duration_terms(rest, 0)?;
        let (rest, _) = symbol(")")(rest).map_err(|_| unexpected(rest))?;
        Ok((rest, (a, b)))
    }
}

fn arithmetic(i: &str) -> Option<(&str, BinaryOp)> {
    if sees(i, "]") || sees(i, ":") {
        return None;
    }
    let (rest, op) = lex::operator(i)?;
    let known =
        [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Mod, BinaryOp::Pow];
    known.contains(&op).then_some((rest, op))
}

fn signed(negative: bool, term: Duration) -> Duration {
    if negative { Duration::Negative(Box::new(term)) } else { Duration::Positive(Box::new(term)) }
}

fn unexpected(i: &str) -> nom::Err<Failure> {
    Failure::unexpected(i, ", expected a duration").fatal()
}
