//! Needles: stretches of text that a line must contain, possibly loosely.
//!
//! A **needle** is a row of positions, each one character or a small class of characters that are
//! all separators, all letters or all digits. `|= "id=4f2"` is one needle of plain characters;
//! `(?i)error \d\d` gives one of classes. Because every position has one [`ByteClass`], a needle
//! can be cut into tokens like a line, and its tokens say what the line's must be:
//!
//! - a token with separators on both sides *inside the needle* is a whole token of the line;
//! - the first or last token may be the end or the start of a longer one: it is **open** there;
//! - a digit-free whole token stands in the line's pattern as it is or is a widened place; an open
//!   one may also be part of a variable's fragment; a token with a digit is a placeholder.
//!
//! What always holds: each test here passes on every line, pattern or term that *could* come from
//! a line with the needle in it. It may pass on more.

use std::fmt::Write as _;

use super::pattern::{PLACEHOLDER, TOKEN_PLACEHOLDER};
use super::token::{ByteClass, class};

/// Ranges a class may have to take part; wider ones hardly select.
const CLASS_RANGES_MAX: usize = 8;

/// One place of a needle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    class: ByteClass,
    chars: Chars,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Chars {
    One(char),
    /// Inclusive ranges.
    Any(Vec<(char, char)>),
}

/// A row of positions; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needle {
    positions: Vec<Position>,
}

/// What one token of a needle demands of the tokens of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenDemand {
    /// A digit-free token of the line is this one.
    Word(TermShape),
    /// A digit-free token, or a fragment of a variable, is shaped like this.
    WordOrFragment(TermShape),
    /// A variable is or contains this one.
    Variable {
        /// The token itself, when all its positions are plain characters.
        exact: Option<String>,
        /// Least length in bytes.
        bytes_min: usize,
        /// Whether it may be part of a longer token.
        open: bool,
        fragments: Vec<TermShape>,
    },
}

/// The shape of an index term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TermShape {
    positions: Vec<Position>,
    /// Whether the term may go on before or after the positions.
    open_left: bool,
    open_right: bool,
}

impl Position {
    pub(crate) fn one(c: char) -> Self {
        Self { class: char_class(c), chars: Chars::One(c) }
    }

    /// A class of characters, or `None` when they are not all of one [`ByteClass`] or too many
    /// ranges.
    pub(crate) fn any(ranges: &[(char, char)]) -> Option<Self> {
        if ranges.is_empty() || CLASS_RANGES_MAX < ranges.len() {
            return None;
        }
        let class = char_class(ranges[0].0);
        for &(start, end) in ranges {
            let (low, high) = (start as u32, end as u32);
            let ascii = low..high.saturating_add(1).min(0x80);
            let uniform = ascii.into_iter().all(|c| self::class(c as u8) == class);
            if !uniform || (0x80 <= high && class != ByteClass::Letter) {
                return None;
            }
        }
        if let [(start, end)] = ranges
            && start == end
        {
            return Some(Self::one(*start));
        }
        Some(Self { class, chars: Chars::Any(ranges.to_vec()) })
    }

    fn write_regex(&self, out: &mut String) {
        match &self.chars {
            Chars::One(c) => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            Chars::Any(ranges) => {
                out.push('[');
                for (start, end) in ranges {
                    let (start, end) = (*start as u32, *end as u32);
                    write!(out, r"\x{{{start:x}}}-\x{{{end:x}}}").expect("strings grow");
                }
                out.push(']');
            }
        }
    }

    fn bytes_min(&self) -> usize {
        match &self.chars {
            Chars::One(c) => c.len_utf8(),
            Chars::Any(ranges) => {
                ranges.iter().map(|(start, _)| start.len_utf8()).min().unwrap_or(1)
            }
        }
    }

    fn plain(&self) -> Option<char> {
        match self.chars {
            Chars::One(c) => Some(c),
            Chars::Any(_) => None,
        }
    }
}

fn char_class(c: char) -> ByteClass {
    if c.is_ascii() { class(c as u8) } else { ByteClass::Letter }
}

/// A stretch of a needle: separators, or a token.
struct Stretch<'a> {
    positions: &'a [Position],
    separators: bool,
    variable: bool,
    open_left: bool,
    open_right: bool,
}

impl Needle {
    /// `None` when there is no position: such a needle is in every line.
    pub(crate) fn new(positions: Vec<Position>) -> Option<Self> {
        (!positions.is_empty()).then_some(Self { positions })
    }

    #[cfg(test)]
    pub(crate) fn text(text: &str) -> Option<Self> {
        Self::new(text.chars().map(Position::one).collect())
    }

    /// An expression over pattern bytes that matches every pattern whose lines could contain the
    /// needle. With [`regex::bytes`], where the placeholder byte is part of no character.
    pub(crate) fn pattern_regex(&self) -> String {
        let mut out = String::new();
        for stretch in self.stretches() {
            let open = stretch.open_left || stretch.open_right;
            if stretch.variable {
                out.push_str(&any_placeholder());
            } else if stretch.separators {
                write_regex(stretch.positions, &mut out);
            } else {
                // A whole word is never a variable, an open one may be part of one.
                let other = if open { any_placeholder() } else { token_placeholder() };
                write_either(stretch.positions, &other, &mut out);
            }
        }
        out
    }

    /// An expression over pattern bytes that matches every pattern whose lines could contain the
    /// needle without touching a variable; `None` when none could, for it has a digit.
    pub(crate) fn static_regex(&self) -> Option<String> {
        if self.positions.iter().any(|position| position.class == ByteClass::Digit) {
            return None;
        }
        let mut out = String::new();
        for stretch in self.stretches() {
            if stretch.separators {
                write_regex(stretch.positions, &mut out);
            } else {
                write_either(stretch.positions, &token_placeholder(), &mut out);
            }
        }
        Some(out)
    }

    /// What the needle's tokens demand, all of them together.
    pub(crate) fn demands(&self) -> Vec<TokenDemand> {
        let tokens = self.stretches().into_iter().filter(|stretch| !stretch.separators);
        tokens.map(|token| token.demand()).collect()
    }

    fn stretches(&self) -> Vec<Stretch<'_>> {
        let mut stretches = Vec::new();
        let all = &self.positions;
        let mut start = 0;
        while start < all.len() {
            let separators = all[start].class == ByteClass::Separator;
            let length = all[start..]
                .iter()
                .take_while(|p| (p.class == ByteClass::Separator) == separators)
                .count();
            let positions = &all[start..start + length];
            stretches.push(Stretch {
                positions,
                separators,
                variable: positions.iter().any(|p| p.class == ByteClass::Digit),
                open_left: start == 0,
                open_right: start + length == all.len(),
            });
            start += length;
        }
        stretches
    }
}

fn token_placeholder() -> String {
    format!(r"(?-u:\x{TOKEN_PLACEHOLDER:x})")
}

fn any_placeholder() -> String {
    format!(r"(?-u:[\x{TOKEN_PLACEHOLDER:x}\x{PLACEHOLDER:x}])")
}

/// An expression for `positions`, or for what may stand in their place.
fn write_either(positions: &[Position], other: &str, out: &mut String) {
    out.push_str("(?:");
    write_regex(positions, out);
    out.push('|');
    out.push_str(other);
    out.push(')');
}

impl Stretch<'_> {
    fn demand(&self) -> TokenDemand {
        let whole = || TermShape {
            positions: self.positions.to_vec(),
            open_left: self.open_left,
            open_right: self.open_right,
        };
        let open = self.open_left || self.open_right;
        match (self.variable, open) {
            (false, false) => TokenDemand::Word(whole()),
            (false, true) => TokenDemand::WordOrFragment(whole()),
            (true, open) => TokenDemand::Variable {
                exact: self.positions.iter().map(Position::plain).collect(),
                bytes_min: self.positions.iter().map(Position::bytes_min).sum(),
                open,
                fragments: self.fragments(),
            },
        }
    }

    /// The digit-free runs of a variable; only the first and the last can be open.
    fn fragments(&self) -> Vec<TermShape> {
        let mut fragments = Vec::new();
        let mut start = 0;
        for run in self.positions.split(|p| p.class == ByteClass::Digit) {
            let end = start + run.len();
            if !run.is_empty() {
                fragments.push(TermShape {
                    positions: run.to_vec(),
                    open_left: self.open_left && start == 0,
                    open_right: self.open_right && end == self.positions.len(),
                });
            }
            start = end + 1;
        }
        fragments
    }
}

impl TermShape {
    /// The term itself, when only one has this shape.
    pub(crate) fn exact(&self) -> Option<String> {
        if self.open_left || self.open_right {
            return None;
        }
        self.positions.iter().map(Position::plain).collect()
    }

    /// An expression that finds the terms of this shape where each stands between two bytes that
    /// `boundary` matches and no term contains.
    pub(crate) fn regex(&self, boundary: &str) -> String {
        let mut out = String::from(if self.open_left { "" } else { boundary });
        write_regex(&self.positions, &mut out);
        out.push_str(if self.open_right { "" } else { boundary });
        out
    }

    /// The same as plain text, when all positions are.
    pub(crate) fn text(&self, boundary: &str) -> Option<String> {
        let plain: Option<String> = self.positions.iter().map(Position::plain).collect();
        let (left, right) = (!self.open_left, !self.open_right);
        let edge = |closed: bool| if closed { boundary } else { "" };
        plain.map(|plain| format!("{}{plain}{}", edge(left), edge(right)))
    }

    /// Whether a term of this shape may go on to its left.
    pub(crate) fn open_left(&self) -> bool {
        self.open_left
    }
}

fn write_regex(positions: &[Position], out: &mut String) {
    for position in positions {
        position.write_regex(out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::super::pattern::{pattern_of, wide_pattern_of};
    use super::super::token::{Piece, fragments, walk};
    use super::*;

    fn shape(text: &str, open_left: bool, open_right: bool) -> TermShape {
        TermShape { positions: text.chars().map(Position::one).collect(), open_left, open_right }
    }

    #[test]
    fn tokens_at_the_edges_are_open() {
        let demands = Needle::text("rror: user a1b2 x").unwrap().demands();
        assert_eq!(
            demands,
            [
                TokenDemand::WordOrFragment(shape("rror", true, false)),
                TokenDemand::Word(shape("user", false, false)),
                TokenDemand::Variable {
                    exact: Some("a1b2".to_owned()),
                    bytes_min: 4,
                    open: false,
                    fragments: vec![shape("a", false, false), shape("b", false, false)],
                },
                TokenDemand::WordOrFragment(shape("x", false, true)),
            ]
        );
        let demands = Needle::text("ab1cd").unwrap().demands();
        let fragments = vec![shape("ab", true, false), shape("cd", false, true)];
        assert_eq!(
            demands,
            [TokenDemand::Variable {
                exact: Some("ab1cd".to_owned()),
                bytes_min: 5,
                open: true,
                fragments,
            }]
        );
    }

    #[test]
    fn classes_take_part_when_they_are_of_one_kind() {
        assert!(Position::any(&[('0', '9')]).is_some());
        assert!(Position::any(&[('K', 'K'), ('k', 'k'), ('\u{212a}', '\u{212a}')]).is_some());
        assert!(Position::any(&[('0', '9'), ('a', 'f')]).is_none());
        assert!(Position::any(&[('a', '\u{ff}')]).is_none(), "`{{` lies between");
        assert!(Position::any(&[(' ', ' '), ('\u{a0}', '\u{a0}')]).is_none());
        assert!(Position::any(&[]).is_none());
    }

    proptest! {
        #[test]
        fn passes_wherever_the_needle_is(
            (before, needle, after) in ("[ab1 :é]{0,8}", "[ab1 :é]{1,4}", "[ab1 :é]{0,8}"),
            wide in any::<u32>(),
        ) {
            let line = format!("{before}{needle}{after}");
            let loose = Needle::text(&needle).unwrap();
            let regex = regex::bytes::Regex::new(&loose.pattern_regex()).unwrap();
            prop_assert!(regex.is_match(&pattern_of(&line)), "{}", regex.as_str());
            prop_assert!(regex.is_match(&wide_pattern_of(&line, wide)), "{}", regex.as_str());
            let (mut words, mut parts, mut variables) = (Vec::new(), Vec::new(), Vec::new());
            walk(line.as_bytes(), |piece| {
                if let Piece::Token(token) = piece {
                    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
                    if token.variable {
                        variables.push(text(token.bytes));
                        parts.extend(fragments(token.bytes).map(text));
                    } else {
                        words.push(text(token.bytes));
                    }
                }
            });
            let some = |terms: &[String], shape: &TermShape| {
                let regex = regex::Regex::new(&shape.regex("\n")).unwrap();
                let terms: Vec<String> = terms.iter().map(|term| format!("\n{term}\n")).collect();
                let found = terms.iter().any(|term| regex.is_match(term));
                if let Some(text) = shape.text("\n") {
                    assert_eq!(found, terms.iter().any(|term| term.contains(&text)));
                }
                if let Some(exact) = shape.exact() {
                    assert_eq!(found, terms.contains(&format!("\n{exact}\n")));
                }
                found
            };
            for demand in loose.demands() {
                match demand {
                    TokenDemand::Word(shape) => prop_assert!(some(&words, &shape)),
                    TokenDemand::WordOrFragment(shape) => {
                        prop_assert!(some(&words, &shape) || some(&parts, &shape));
                    }
                    TokenDemand::Variable { exact, bytes_min, open, fragments } => {
                        let exact = exact.unwrap();
                        prop_assert_eq!(exact.len(), bytes_min);
                        prop_assert!(
                            variables.contains(&exact)
                                || (open && variables.iter().any(|v| bytes_min < v.len()))
                        );
                        prop_assert!(fragments.iter().all(|shape| some(&parts, shape)));
                    }
                }
            }
        }
    }
}
