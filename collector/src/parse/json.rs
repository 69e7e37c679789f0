//! Docker's `json-file` line (C-207): one object with `log`, `stream`, `time`.
//!
//! The record is complete when `log` ends in a line feed; docker cuts longer lines at 16 KiB.

use std::borrow::Cow;

use record::rfc3339;
use serde::Deserialize;

use super::{Piece, Stream};

#[derive(Deserialize)]
struct DockerLine<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads one line without its line feed; `None` when it is no docker line.
///
/// Bytes that are not UTF-8 are replaced: JSON has no other way to carry them.
pub fn parse(line: &[u8]) -> Option<Piece<'_>> {
    match String::from_utf8_lossy(line) {
        Cow::Borrowed(text) => piece(text),
        Cow::Owned(text) => piece(&text).map(|found| Piece {
            content: Cow::Owned(found.content.into_owned()),
            time: found.time,
            stream: found.stream,
            complete: found.complete,
        }),
    }
}

fn piece(text: &str) -> Option<Piece<'_>> {
    let line: DockerLine<'_> = serde_json::from_str(text).ok()?;
    let time = rfc3339::parse(line.time.as_bytes())?;
    let stream = Stream::from_name(line.stream.as_bytes())?;
    let complete = line.log.ends_with('\n');
    let content = match line.log {
        Cow::Borrowed(log) => Cow::Borrowed(log.as_bytes()),
        Cow::Owned(log) => {
            let mut bytes = log.into_bytes();
            if complete {
                bytes.pop();
            }
            Cow::Owned(bytes)
        }
    };
    Some(Piece { time, stream, content, complete })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8], expected: Option<(Stream, bool, &str)>) {
        let found = parse(line);
        let found = found.as_ref().map(|piece| {
            (piece.stream, piece.complete, String::from_utf8_lossy(&piece.content).into_owned())
        });
        let expected = expected.map(|(stream, full, text)| (stream, full, text.to_owned()));
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(line));
    }

    #[test]
    fn c_207_reads_docker_lines() {
        let time = r#""time":"2024-01-01T00:00:00.5Z""#;
        let line =
            |log: &str, rest: &str| format!(r#"{{"log":"{log}","stream":"stdout",{time}{rest}}}"#);
        check(line(r"hi\n", "").as_bytes(), Some((Stream::Stdout, true, "hi")));
        check(line(r"a\nb\u0000\n", "").as_bytes(), Some((Stream::Stdout, true, "a\nb\0")));
        check(line("first half", "").as_bytes(), Some((Stream::Stdout, false, "first half")));
        check(line(r"\n", r#","attrs":{"tag":"x"}"#).as_bytes(), Some((Stream::Stdout, true, "")));
        check(line("", "").as_bytes(), Some((Stream::Stdout, false, "")));
        let mut broken = line(r"caf!\n", "").into_bytes();
        for byte in &mut broken {
            if *byte == b'!' {
                *byte = 0xe9;
            }
        }
        check(&broken, Some((Stream::Stdout, true, "caf\u{fffd}")));
    }

    #[test]
    fn c_208_refuses_what_is_no_docker_line() {
        for line in [
            "{",
            "{}",
            r#"{"log":"x\n","stream":"stdout"}"#,
            r#"{"log":"x\n","stream":"tty","time":"2024-01-01T00:00:00Z"}"#,
            r#"{"log":"x\n","stream":"stdout","time":"now"}"#,
            r#"{"log":"\ud800\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}"#,
            r#"{"log":7,"stream":"stdout","time":"2024-01-01T00:00:00Z"}"#,
        ] {
            check(line.as_bytes(), None);
        }
    }
}
