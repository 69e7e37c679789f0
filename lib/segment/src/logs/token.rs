//! Cutting a line into tokens: the one definition that writer and reader share. Writers cut by
//! [`super::classes`], which is faster.
//!
//! A **token** is a maximal run of ASCII letters, ASCII digits and bytes of 0x80 and above, so a
//! token never starts or ends inside a UTF-8 character. Every other byte separates. A **variable**
//! is a token with an ASCII digit in it; a **fragment** is a maximal digit-free run inside a
//! variable.
//!
//! What always holds: the rule looks at bytes only, never at a locale or a Unicode table, and
//! never changes within a format version, for what was pruned by it was written by it.

/// What a byte is to the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteClass {
    Separator,
    Letter,
    Digit,
}

const CLASSES: [ByteClass; 256] = {
    let mut classes = [ByteClass::Separator; 256];
    let mut byte = 0;
    while byte < 256 {
        let ascii = byte as u8;
        if ascii.is_ascii_digit() {
            classes[byte] = ByteClass::Digit;
        } else if ascii.is_ascii_alphabetic() || 0x80 <= byte {
            classes[byte] = ByteClass::Letter;
        }
        byte += 1;
    }
    classes
};

/// What `byte` is.
#[inline]
pub(crate) fn class(byte: u8) -> ByteClass {
    CLASSES[byte as usize]
}

/// A token of a text: its bytes and whether it is a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) variable: bool,
}

/// Walks `text` once: `separators` gets each run of separators, `token` each token, in order.
#[inline]
pub(crate) fn walk<'a>(text: &'a [u8], mut visit: impl FnMut(Piece<'a>)) {
    let mut at = 0;
    while at < text.len() {
        let start = at;
        while at < text.len() && class(text[at]) == ByteClass::Separator {
            at += 1;
        }
        if start < at {
            visit(Piece::Separators(&text[start..at]));
        }
        let start = at;
        let mut variable = false;
        while at < text.len() {
            match class(text[at]) {
                ByteClass::Separator => break,
                ByteClass::Letter => {}
                ByteClass::Digit => variable = true,
            }
            at += 1;
        }
        if start < at {
            visit(Piece::Token(Token { bytes: &text[start..at], variable }));
        }
    }
}

/// A stretch of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Separators(&'a [u8]),
    Token(Token<'a>),
}

/// The fragments of a variable, in order.
pub(crate) fn fragments(variable: &[u8]) -> impl Iterator<Item = &[u8]> {
    variable.split(u8::is_ascii_digit).filter(|fragment| !fragment.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelled(text: &str) -> String {
        let mut out = String::new();
        walk(text.as_bytes(), |piece| {
            let (open, bytes) = match piece {
                Piece::Separators(bytes) => ('s', bytes),
                Piece::Token(token) if token.variable => ('v', token.bytes),
                Piece::Token(token) => ('w', token.bytes),
            };
            out.push_str(&format!("{open}[{}]", String::from_utf8_lossy(bytes)));
        });
        out
    }

    #[test]
    fn cuts_where_the_format_says() {
        for (text, expected) in [
            ("", ""),
            ("a", "w[a]"),
            ("GET /x1 200", "w[GET]s[ /]v[x1]s[ ]v[200]"),
            ("10.0.0.1:80", "v[10]s[.]v[0]s[.]v[0]s[.]v[1]s[:]v[80]"),
            ("größe=7µs", "w[größe]s[=]v[7µs]"),
            ("a_b\0c", "w[a]s[_]w[b]s[\0]w[c]"),
            ("日本語 ٣", "w[日本語]s[ ]w[٣]"),
        ] {
            assert_eq!(spelled(text), expected, "{text:?}");
        }
    }

    #[test]
    fn fragments_are_what_lies_between_digits() {
        let found: Vec<&[u8]> = fragments(b"4bf92f3577b34da").collect();
        assert_eq!(found, [&b"bf"[..], b"f", b"b", b"da"]);
        assert_eq!(fragments(b"123").count(), 0);
    }

    proptest! {
        #[test]
        fn pieces_are_the_whole_text_and_whole_characters(text in any::<String>()) {
            let mut whole = Vec::new();
            walk(text.as_bytes(), |piece| {
                let bytes = match piece {
                    Piece::Separators(bytes) => bytes,
                    Piece::Token(token) => {
                        assert_eq!(token.variable, token.bytes.iter().any(u8::is_ascii_digit));
                        for fragment in fragments(token.bytes) {
                            assert!(std::str::from_utf8(fragment).is_ok());
                        }
                        token.bytes
                    }
                };
                assert!(!bytes.is_empty() && std::str::from_utf8(bytes).is_ok());
                whole.extend_from_slice(bytes);
            });
            prop_assert_eq!(whole, text.as_bytes());
        }
    }
}
