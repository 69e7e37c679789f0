//! A message is a line, and its time is the message's.

use std::borrow::Cow;

use super::Poison;
use super::foreign::{Attributes, Entry, Repair, Rows, TOPIC_LABEL};

pub(super) fn decode(payload: &[u8], rows: &mut Rows<'_>) -> Result<(), Poison> {
    let text = String::from_utf8_lossy(payload);
    if let Cow::Owned(_) = text {
        rows.repaired(Repair::Utf8);
    }
    keep(&text, rows)
}

/// Keeps a whole text as one row. A line feed at its end only ends the line.
pub(super) fn keep(text: &str, rows: &mut Rows<'_>) -> Result<(), Poison> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let topic = rows.topic().to_owned();
    let stream = rows.stream(vec![(TOPIC_LABEL.to_owned(), topic)]);
    let attributes = Attributes::default();
    rows.push(&stream, Entry { time_ns: None, line: line.into(), attributes })
}
