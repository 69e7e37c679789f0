//! LogQL: text to tree and back.
//!
//! The whole language is parsed, also what `exec` cannot carry out yet, so that an unsupported
//! stage is refused by its name instead of as a syntax error. Always holds: a tree that comes out
//! of [`parse()`] is valid by the rules that need no data (a selector that selects something,
//! parameters where they belong), and printing it gives text that parses to the same tree.
//! Bounds: text under 128 KiB, nesting and operator counts that keep every
//! recursion over a tree shallow.

pub mod ast;
mod duration;
mod error;
mod lex;
mod parse;
mod print;
mod stages;
#[cfg(test)]
mod tests;
mod tokens;

pub use duration::{format_duration, parse_go_duration, parse_prometheus_duration};
pub use error::ParseError;
pub use lex::parse_bytes;
pub(crate) use parse::{check_selector, stage_name};
pub use parse::{parse, parse_matchers};
