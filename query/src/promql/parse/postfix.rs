//! An operand and what follows it directly: ranges, subqueries, `offset`, `@`, `anchored`.

use nom::Parser;
use nom::combinator::opt;

use super::expr::signed_number;
use super::lex::{self, keyword, sees, symbol};
use super::{Failure, Grammar, Parsed};
use crate::promql::ast::{At, Duration, Expr, Extension, Kind, RangeSelector, Subquery, When};

impl Grammar<'_> {
    pub(super) fn postfix<'a>(&self, i: &'a str) -> Parsed<'a, Expr> {
        let start = lex::blank(i);
        let (mut rest, mut operand) = self.primary(start)?;
        loop {
            if sees(rest, "[") {
                (rest, operand) = self.bracket(rest, operand)?;
            } else if sees(rest, "@") {
                rest = self.at_modifier(rest, &mut operand)?;
            } else if let Ok((after, _)) = keyword("offset")(rest) {
                rest = self.offset_modifier(rest, after, &mut operand)?;
            } else if let Some((after, extension)) = extension(rest) {
                self.extend(rest, extension, &mut operand)?;
                rest = after;
            } else {
                return Ok((rest, operand));
            }
            operand.span = self.span(start, rest);
        }
    }

    fn primary<'a>(&self, i: &'a str) -> Parsed<'a, Expr> {
        self.count(i)?;
        let start = lex::blank(i);
        let (rest, kind) = match start.chars().next() {
            Some('(') => self.paren(start)?,
            Some('"' | '\'' | '`') => {
                let (rest, text) = lex::string(start)?;
                (rest, Kind::Text(text))
            }
            Some('{') => self.selector(start, None)?,
            _ => match lex::number(start) {
                Ok((rest, number)) => (rest, Kind::Number(number)),
                Err(error @ nom::Err::Failure(_)) => return Err(error),
                Err(_) => self.named(start)?,
            },
        };
        Ok((rest, Expr { kind, span: self.span(start, rest) }))
    }

    fn paren<'a>(&self, start: &'a str) -> Parsed<'a, Kind> {
        let (rest, _) = symbol("(")(start)?;
        let (rest, inner) = self.expr(rest, 0)?;
        match symbol(")")(rest) {
            Ok((rest, _)) => Ok((rest, Kind::Paren(Box::new(inner)))),
            Err(_) if lex::blank(rest).is_empty() => {
                Err(Failure::at("", "unclosed left parenthesis").fatal())
            }
            Err(_) => Err(Failure::unexpected(rest, " in parenthesised expression").fatal()),
        }
    }

    /// `[5m]` or `[30m:1m]` after `operand`.
    fn bracket<'a>(&self, i: &'a str, operand: Expr) -> Parsed<'a, Expr> {
        self.count(i)?;
        let open = lex::blank(i);
        let (rest, _) = symbol("[")(open)?;
        let (rest, range) = self.positive_duration(rest)?;
        let colon: (&str, Option<&str>) = opt(symbol(":")).parse(rest)?;
        let span = operand.span;
        if let (rest, Some(_)) = colon {
            let (rest, step) = if sees(rest, "]") {
                (rest, None)
            } else {
                let (rest, step) = self.positive_duration(rest)?;
                (rest, Some(step))
            };
            let (rest, _) = close(rest)?;
            let expr = Box::new(operand);
            let kind = Kind::Subquery(Subquery { expr, range, step, when: When::default() });
            return Ok((rest, Expr { kind, span }));
        }
        let (rest, _) = close(rest)?;
        let Kind::Selector(selector) = operand.kind else {
            return Err(Failure::at(open, "ranges only allowed for vector selectors").fatal());
        };
        for (written, what) in
            [(selector.when.offset.is_some(), "offset"), (selector.when.at.is_some(), "@")]
        {
            if written {
                let message = format!("no {what} modifiers allowed before range");
                return Err(Failure::at(open, message).fatal());
            }
        }
        Ok((rest, Expr { kind: Kind::Range(RangeSelector { selector, range }), span }))
    }

    fn offset_modifier<'a>(
        &self,
        i: &'a str,
        after: &'a str,
        operand: &mut Expr,
    ) -> Result<&'a str, nom::Err<Failure>> {
        let (rest, offset) = self.offset_duration(after)?;
        let when = self.when(i, operand, "offset modifier")?;
        if when.offset.is_some() {
            return Err(Failure::at(lex::blank(i), "offset may not be set multiple times").fatal());
        }
        when.offset = Some(offset);
        Ok(rest)
    }

    fn at_modifier<'a>(
        &self,
        i: &'a str,
        operand: &mut Expr,
    ) -> Result<&'a str, nom::Err<Failure>> {
        let (rest, _) = symbol("@")(i)?;
        let (rest, at) = at_time(rest)?;
        let when = self.when(i, operand, "@ modifier")?;
        if when.at.is_some() {
            let message = "@ <timestamp> may not be set multiple times";
            return Err(Failure::at(lex::blank(i), message).fatal());
        }
        when.at = Some(at);
        Ok(rest)
    }

    /// The modifiers of `operand`, which must be something that has them.
    fn when<'e>(
        &self,
        i: &str,
        operand: &'e mut Expr,
        what: &str,
    ) -> Result<&'e mut When, nom::Err<Failure>> {
        match &mut operand.kind {
            Kind::Selector(selector) => Ok(&mut selector.when),
            Kind::Range(range) => Ok(&mut range.selector.when),
            Kind::Subquery(subquery) => Ok(&mut subquery.when),
            _ => {
                let message = format!(
                    "{what} must be preceded by an instant vector selector or range vector \
                     selector or a subquery"
                );
                Err(Failure::at(lex::blank(i), message).fatal())
            }
        }
    }

    fn extend(
        &self,
        i: &str,
        extension: Extension,
        operand: &mut Expr,
    ) -> Result<(), nom::Err<Failure>> {
        let name = match extension {
            Extension::Anchored => "anchored",
            Extension::Smoothed => "smoothed",
        };
        let fail = |message: String| Err(Failure::at(lex::blank(i), message).fatal());
        if !self.features.extended_range_selectors {
            return fail(format!("{name} modifier is experimental and not enabled"));
        }
        let selector = match &mut operand.kind {
            Kind::Selector(_) if extension == Extension::Anchored => {
                return fail("anchored modifier can only be used with range selectors".to_owned());
            }
            Kind::Selector(selector) => selector,
            Kind::Range(range) => &mut range.selector,
            _ => return fail(format!("{name} modifier must follow a selector")),
        };
        if selector.extension.is_some() {
            return fail("anchored and smoothed modifiers cannot be used together".to_owned());
        }
        selector.extension = Some(extension);
        Ok(())
    }

    fn positive_duration<'a>(&self, i: &'a str) -> Parsed<'a, Duration> {
        let start = lex::blank(i);
        let (rest, duration) = self.duration(start)?;
        match duration.constant() {
            Ok(Some(seconds)) if seconds.is_nan() || seconds < 0.001 => {
                Err(Failure::at(start, "duration must be greater than 0").fatal())
            }
            Ok(_) => Ok((rest, duration)),
            Err(error) => Err(Failure::at(start, error.to_string()).fatal()),
        }
    }
}

fn close(i: &str) -> Parsed<'_, &str> {
    symbol("]")(i).map_err(|_| {
        Failure::unexpected(i, " in subquery or range selector, expected \"]\"").fatal()
    })
}

fn extension(i: &str) -> Option<(&str, Extension)> {
    let (rest, text) = lex::word(i).ok()?;
    [("anchored", Extension::Anchored), ("smoothed", Extension::Smoothed)]
        .into_iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name))
        .map(|(_, extension)| (rest, extension))
}

fn at_time(i: &str) -> Parsed<'_, At> {
    for (name, at) in [("start", At::Start), ("end", At::End)] {
        if let Ok((rest, _)) = (keyword(name), symbol("("), symbol(")")).parse(i) {
            return Ok((rest, at));
        }
    }
    let wrong = |_| Failure::unexpected(i, " in @, expected timestamp").fatal();
    let (rest, number) = signed_number(i).map_err(wrong)?;
    let ms = number.value * 1000.0;
    if !ms.is_finite() || (i64::MAX / 2) as f64 <= ms.abs() {
        let message = format!(
            "timestamp out of bounds for @ modifier: {}",
            crate::promql::number::general(number.value)
        );
        return Err(Failure::at(lex::blank(i), message).fatal());
    }
    Ok((rest, At::Time(ms.round() as i64)))
}
