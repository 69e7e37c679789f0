//! What begins with a name: metrics, function calls, aggregations.

use super::lex::{self, keyword, sees, symbol};
use super::{Failure, Grammar, Parsed};
use crate::promql::ast::{Aggregate, AggregateOp, Call, Expr, Grouping, Kind};
use crate::promql::functions::{Function, Id};

impl Grammar<'_> {
    pub(super) fn named<'a>(&self, i: &'a str) -> Parsed<'a, Kind> {
        let start = lex::blank(i);
        let (rest, name) = lex::word(start).map_err(|_| Failure::unexpected(start, "").fatal())?;
        if let Some(op) = lex::aggregate_op(name)
            && (sees(rest, "(") || grouping_word(rest).is_some())
        {
            return self.aggregate(start, rest, op);
        }
        if sees(rest, "(") && !name.contains(':') {
            return self.call(start, rest, name);
        }
        if lex::is_reserved(name) {
            return Err(Failure::unexpected(start, "").fatal());
        }
        self.selector(rest, Some(name))
    }

    fn call<'a>(&self, start: &str, i: &'a str, name: &str) -> Parsed<'a, Kind> {
        let Some(function) = Function::find(name) else {
            let message = format!("unknown function with name {name:?}");
            return Err(Failure::at(start, message).fatal());
        };
        if function.experimental && !self.features.experimental_functions {
            let message = format!("function {name:?} is not enabled");
            return Err(Failure::at(start, message).fatal());
        }
        let (rest, args) = self.args(i, |index, rest| {
            if function.id == Id::Info && index == 1 {
                return self.info_selector(rest);
            }
            self.expr(rest, 0)
        })?;
        Ok((rest, Kind::Call(Call { function, args })))
    }

    /// The labels `info` adds: braces that need not select by themselves.
    fn info_selector<'a>(&self, i: &'a str) -> Parsed<'a, Expr> {
        let start = lex::blank(i);
        if !start.starts_with('{') {
            let message = "expected label selectors as the second argument to \"info\" function";
            return Err(Failure::at(start, message).fatal());
        }
        let (rest, selector) = self.any_selector(start, None)?;
        Ok((rest, Expr { kind: Kind::Selector(selector), span: self.span(start, rest) }))
    }

    fn aggregate<'a>(&self, start: &str, i: &'a str, op: AggregateOp) -> Parsed<'a, Kind> {
        if op.is_experimental() && !self.features.experimental_functions {
            let message = format!(
                "{}() is experimental and must be enabled with \
                 --enable-feature=promql-experimental-functions",
                op.name()
            );
            return Err(Failure::at(start, message).fatal());
        }
        let (rest, before) = self.grouping(i)?;
        if !sees(rest, "(") {
            return Err(Failure::unexpected(rest, " in aggregation").fatal());
        }
        let (rest, args) = self.args(rest, |_, rest| self.expr(rest, 0))?;
        let (rest, grouping) = match before {
            Some(grouping) => (rest, Some(grouping)),
            None => self.grouping(rest)?,
        };
        let (param, expr) = operands(start, op, args)?;
        let grouping = grouping.unwrap_or_default();
        Ok((rest, Kind::Aggregate(Aggregate { op, grouping, param, expr })))
    }

    fn grouping<'a>(&self, i: &'a str) -> Parsed<'a, Option<Grouping>> {
        let Some((rest, without)) = grouping_word(i) else { return Ok((i, None)) };
        if !sees(rest, "(") {
            let message = " in grouping opts, expected \"(\"";
            return Err(Failure::unexpected(rest, message).fatal());
        }
        let (rest, labels) = self.label_list(rest)?;
        Ok((rest, Some(Grouping { without, labels })))
    }

    /// `(a, b)`: no trailing comma.
    fn args<'a>(
        &self,
        i: &'a str,
        arg: impl Fn(usize, &'a str) -> Parsed<'a, Expr>,
    ) -> Parsed<'a, Vec<Expr>> {
        let (mut rest, _) = symbol("(")(i)?;
        let mut args = Vec::new();
        if let Ok((after, _)) = symbol(")")(rest) {
            return Ok((after, args));
        }
        loop {
            let (after, value) = arg(args.len(), rest)?;
            args.push(value);
            if let Ok((after, _)) = symbol(")")(after) {
                return Ok((after, args));
            }
            if lex::blank(after).is_empty() {
                return Err(Failure::at("", "unclosed left parenthesis").fatal());
            }
            let comma = symbol(",")(after);
            (rest, _) =
                comma.map_err(|_| Failure::unexpected(after, " in function call").fatal())?;
        }
    }
}

type Operands = (Option<Box<Expr>>, Box<Expr>);

fn operands(start: &str, op: AggregateOp, args: Vec<Expr>) -> Result<Operands, nom::Err<Failure>> {
    let expected = if op.has_param() { 2 } else { 1 };
    let given = args.len();
    let mut args = args.into_iter();
    let fail = |message: String| Err(Failure::at(start, message).fatal());
    if given == 0 {
        return fail("no arguments for aggregate expression provided".to_owned());
    }
    if given != expected {
        return fail(format!(
            "wrong number of arguments for aggregate expression provided, expected {expected}, \
             got {given}"
        ));
    }
    match (args.next(), args.next()) {
        (Some(param), Some(expr)) => Ok((Some(Box::new(param)), Box::new(expr))),
        (Some(expr), None) => Ok((None, Box::new(expr))),
        (None, _) => fail("no arguments for aggregate expression provided".to_owned()),
    }
}

fn grouping_word(i: &str) -> Option<(&str, bool)> {
    let by = keyword("by")(i).map(|(rest, _)| (rest, false));
    by.or_else(|_| keyword("without")(i).map(|(rest, _)| (rest, true))).ok()
}
