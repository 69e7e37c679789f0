//! The CRI log line: `TIME SP STREAM SP TAGS SP CONTENT` (C-201).
//!
//! A byte scan over at most some 60 bytes of prefix; the content is never looked at.

use std::borrow::Cow;

use record::rfc3339;

use super::{Piece, Stream};

/// Longest TIME we look for a space in: RFC 3339 with nine digits and an offset has 35 bytes.
const TIME_BYTES_MAX: usize = 40;

/// Reads one line without its line feed; `None` when it is no CRI line.
///
/// A line that ends right after the tags is an empty record.
pub fn parse(line: &[u8]) -> Option<Piece<'_>> {
    let (time, rest) = word(line, TIME_BYTES_MAX)?;
    let time = rfc3339::parse(time)?;
    let (stream, rest) = word(rest, "stdout".len() + 1)?;
    let stream = Stream::from_name(stream)?;
    let (tags, content) = match memchr::memchr(b' ', rest) {
        Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
        None => (rest, &[][..]),
    };
    // Further tags after a colon are allowed and mean nothing to us.
    let complete = match tags {
        [b'F'] | [b'F', b':', ..] => true,
        [b'P'] | [b'P', b':', ..] => false,
        _ => return None,
    };
    Some(Piece { time, stream, content: Cow::Borrowed(content), complete })
}

/// Splits off the word before the first space, which must come within `bytes_max`.
fn word(text: &[u8], bytes_max: usize) -> Option<(&[u8], &[u8])> {
    let window = text.get(..bytes_max).unwrap_or(text);
    let at = memchr::memchr(b' ', window)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, expected: Option<(Stream, bool, &str)>) {
        let found = parse(line.as_bytes()).map(|piece| {
            (piece.stream, piece.complete, String::from_utf8(piece.content.into_owned()).unwrap())
        });
        let expected = expected.map(|(stream, full, text)| (stream, full, text.to_owned()));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn c_201_reads_the_grammar() {
        let time = "2016-10-06T00:17:09.669794202Z";
        check(&format!("{time} stdout F hello world"), Some((Stream::Stdout, true, "hello world")));
        check(
            &format!("{time} stderr P  two spaces"),
            Some((Stream::Stderr, false, " two spaces")),
        );
        check(&format!("{time} stdout F "), Some((Stream::Stdout, true, "")));
        check(&format!("{time} stdout F"), Some((Stream::Stdout, true, "")));
        check(&format!("{time} stdout P:x:y text"), Some((Stream::Stdout, false, "text")));
        check("2016-10-06T02:17:09+02:00 stdout F x", Some((Stream::Stdout, true, "x")));
    }

    #[test]
    fn c_208_refuses_what_is_no_cri_line() {
        let time = "2016-10-06T00:17:09.669794202Z";
        for line in [
            String::new(),
            time.to_owned(),
            format!("{time} stdout"),
            format!("{time} stdlog F x"),
            format!("{time} stdout X x"),
            format!("{time} stdout FP x"),
            format!("{time}  stdout F x"),
            "yesterday stdout F x".to_owned(),
        ] {
            check(&line, None);
        }
    }

    /// The grammar read the slow way, by splitting strings.
    fn oracle(line: &[u8]) -> Option<(i64, Stream, bool, Vec<u8>)> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = rfc3339::parse(parts.next()?)?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let tags = String::from_utf8(parts.next()?.to_vec()).ok()?;
        let complete = match tags.split(':').next()? {
            "F" => true,
            "P" => false,
            _ => return None,
        };
        Some((time, stream, complete, parts.next().unwrap_or_default().to_vec()))
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle_on_lines_that_are_nearly_right(
            time in "(2024-0[0-3]-[0-3][0-9]T[0-2][0-9]:00:00(\\.[0-9]{0,10})?(Z|[+-]0[0-9]:[0-7]0)|[a-z]{0,4})",
            gap in " {0,2}",
            stream in "(stdout|stderr|std)",
            tags in "(F|P|F:a|P:|X|)",
            tail in "( [ -~]{0,20})?",
        ) {
            let line = format!("{time}{gap}{stream} {tags}{tail}");
            let found = parse(line.as_bytes())
                .map(|p| (p.time, p.stream, p.complete, p.content.into_owned()));
            prop_assert_eq!(found, oracle(line.as_bytes()));
        }

        #[test]
        fn never_panics_on_any_bytes(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _piece = parse(&line);
        }
    }
}
