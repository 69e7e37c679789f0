//! Reading a stream selector, `{namespace="dev", app=~"web.*"}`, as LogQL spells it.

use record::{MatchOp, Matcher};

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("`{0}` is no selector, write it like `{{namespace=\"dev\", app=~\"web.*\"}}`")]
    Syntax(String),
    #[error("{0}")]
    Matcher(String),
}

/// Reads a selector; `{}` has no matcher and selects every stream.
///
/// # Errors
/// When it is not one, or one of its regular expressions is not valid RE2.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, SelectorError> {
    let wrong = || SelectorError::Syntax(text.to_owned());
    let inside = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let mut rest = inside.ok_or_else(wrong)?.trim();
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let (name, behind) = name(rest).ok_or_else(wrong)?;
        let (op, behind) = operator(behind.trim_start()).ok_or_else(wrong)?;
        let (value, behind) = quoted(behind.trim_start()).ok_or_else(wrong)?;
        let matcher = Matcher::new(name, op, value);
        matchers.push(matcher.map_err(|error| SelectorError::Matcher(error.to_string()))?);
        rest = behind.trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => {}
            None => return Err(wrong()),
        }
    }
    Ok(matchers)
}

fn name(text: &str) -> Option<(&str, &str)> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let end = text.find(|letter| !legal(letter)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let first = name.chars().next()?;
    (!first.is_ascii_digit()).then_some((name, rest))
}

fn operator(text: &str) -> Option<(MatchOp, &str)> {
    // The longer spellings first.
    let operators =
        [("=~", MatchOp::Re), ("!~", MatchOp::Nre), ("!=", MatchOp::Ne), ("=", MatchOp::Eq)];
    operators.into_iter().find_map(|(spelt, op)| Some((op, text.strip_prefix(spelt)?)))
}

/// A string in double quotes with backslash escapes, or in backticks as it stands.
fn quoted(text: &str) -> Option<(String, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, rest) = raw.split_once('`')?;
        return Some((value.to_owned(), rest));
    }
    let mut letters = text.strip_prefix('"')?.chars();
    let mut value = String::new();
    loop {
        match letters.next()? {
            '"' => return Some((value, letters.as_str())),
            '\\' => value.push(match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            letter => value.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn selectors_are_read_as_logql_spells_them() {
        for (text, expected) in [
            ("{}", ""),
            (r#"{a="b"}"#, r#"a="b""#),
            (r#" { a = "b" , c=~`d.*`, } "#, r#"a="b" c=~"d.*""#),
            (r#"{a!="x\"y\\",b!~"z|"}"#, r#"a!="x\"y\\" b!~"z|""#),
            (r#"{a="é}"}"#, r#"a="é}""#),
        ] {
            let matchers = parse_selector(text).unwrap();
            let shown: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
            assert_eq!(shown.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "a=\"b\"",
            "{a}",
            "{a=b}",
            "{a=\"b\" c=\"d\"}",
            "{1a=\"b\"}",
            "{a=\"b}",
            "{a=~\"(\"}",
        ] {
            assert!(parse_selector(text).is_err(), "{text}");
        }
    }
}
