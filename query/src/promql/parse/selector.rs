//! Series selectors: `name{label="value", …}`, names and labels quoted or not.

use record::{MatchOp, Matcher};

use super::lex::{self, sees, symbol};
use super::{Failure, Grammar, Parsed};
use crate::promql::ast::{Expr, Kind, Selector, When};

/// The label that holds a series' metric name.
const NAME: &str = "__name__";

/// One part between the commas of the braces.
enum Item {
    Name(String),
    Matcher(Matcher),
}

impl Selector {
    /// The matchers with the name among them.
    pub fn all_matchers(&self) -> Vec<Matcher> {
        let name = self.name.as_ref().and_then(|name| {
            // Only a regular expression can be refused.
            Matcher::new(NAME, MatchOp::Eq, name.as_str()).ok()
        });
        name.into_iter().chain(self.matchers.iter().cloned()).collect()
    }
}

impl Grammar<'_> {
    /// A selector and nothing else; it may select everything.
    pub(super) fn selector_alone<'a>(&self, i: &'a str) -> Parsed<'a, Expr> {
        let start = lex::blank(i);
        let (rest, selector) = if start.starts_with('{') {
            self.any_selector(start, None)?
        } else {
            let (rest, name) = lex::word(start)
                .map_err(|_| Failure::unexpected(start, ", expected a series selector").fatal())?;
            self.any_selector(rest, Some(name))?
        };
        let kind = Kind::Selector(selector);
        Ok((rest, Expr { kind, span: self.span(start, rest) }))
    }

    /// The braces, if any, after `name`.
    pub(super) fn selector<'a>(&self, i: &'a str, name: Option<&str>) -> Parsed<'a, Kind> {
        let start = lex::blank(i);
        let (rest, selector) = self.any_selector(i, name)?;
        if selector.name.is_none() && selector.matchers.iter().all(Matcher::matches_empty) {
            let message = "vector selector must contain at least one non-empty matcher";
            return Err(Failure::at(start, message).fatal());
        }
        Ok((rest, Kind::Selector(selector)))
    }

    /// A selector that may select everything, as the second argument of `info`.
    pub(super) fn any_selector<'a>(&self, i: &'a str, name: Option<&str>) -> Parsed<'a, Selector> {
        let mut selector = Selector {
            name: name.map(str::to_owned),
            matchers: Vec::new(),
            when: When::default(),
            extension: None,
        };
        if !sees(i, "{") {
            return Ok((i, selector));
        }
        let (mut rest, _) = symbol("{")(i)?;
        loop {
            if let Ok((after, _)) = symbol("}")(rest) {
                return Ok((after, selector));
            }
            let (after, item) = self.item(rest)?;
            match item {
                Item::Name(name) => self.set_name(rest, &mut selector, name)?,
                Item::Matcher(matcher) => {
                    if let (Some(name), NAME) = (&selector.name, matcher.name()) {
                        return Err(twice(rest, name, matcher.value()));
                    }
                    selector.matchers.push(matcher);
                }
            }
            rest = match symbol(",")(after) {
                Ok((after, _)) => after,
                Err(_) if sees(after, "}") => after,
                Err(_) => return Err(unexpected(after, "\",\" or \"}\"")),
            };
        }
    }

    fn set_name(
        &self,
        i: &str,
        selector: &mut Selector,
        name: String,
    ) -> Result<(), nom::Err<Failure>> {
        let named = selector.matchers.iter().find(|matcher| matcher.name() == NAME);
        if let Some(first) = selector.name.as_deref().or(named.map(Matcher::value)) {
            return Err(twice(i, first, &name));
        }
        selector.name = Some(name);
        Ok(())
    }

    fn item<'a>(&self, i: &'a str) -> Parsed<'a, Item> {
        let start = lex::blank(i);
        let (rest, name, quoted) = match lex::string(start) {
            Ok((rest, name)) => (rest, name, true),
            Err(error @ nom::Err::Failure(_)) => return Err(error),
            Err(_) => match lex::label(start) {
                Ok((rest, name)) => (rest, name.to_owned(), false),
                Err(_) => return Err(unexpected(start, "identifier or \"}\"")),
            },
        };
        if name.is_empty() {
            return Err(Failure::at(start, "label and metric names must not be empty").fatal());
        }
        let Some((rest, op)) = match_op(rest) else {
            if quoted {
                return Ok((rest, Item::Name(name)));
            }
            return Err(unexpected(rest, "label matching operator"));
        };
        let (rest, value) = match lex::string(rest) {
            Ok(parsed) => parsed,
            Err(error @ nom::Err::Failure(_)) => return Err(error),
            Err(_) => return Err(unexpected(rest, "string")),
        };
        match Matcher::new(name, op, value) {
            Ok(matcher) => Ok((rest, Item::Matcher(matcher))),
            Err(error) => Err(Failure::at(start, error.to_string()).fatal()),
        }
    }
}

fn match_op(i: &str) -> Option<(&str, MatchOp)> {
    let start = lex::blank(i);
    // `==` is no matcher: without this, `=` would be taken and the rest misread.
    if start.starts_with("==") {
        return None;
    }
    [("=~", MatchOp::Re), ("!~", MatchOp::Nre), ("!=", MatchOp::Ne), ("=", MatchOp::Eq)]
        .into_iter()
        .find_map(|(text, op)| Some((start.strip_prefix(text)?, op)))
}

fn twice(i: &str, first: &str, second: &str) -> nom::Err<Failure> {
    let message = format!("metric name must not be set twice: {first:?} or {second:?}");
    Failure::at(lex::blank(i), message).fatal()
}

fn unexpected(i: &str, expected: &str) -> nom::Err<Failure> {
    Failure::unexpected(i, &format!(" in label matching, expected {expected}")).fatal()
}
