//! From a record's bytes to the text that is stored.
//!
//! What always holds: the text is UTF-8, at most `bytes_max` long, and equals the bytes unless
//! the result says that it was cut or that bytes were replaced.

use std::borrow::Cow;

/// A record's text and what had to be done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    pub text: Cow<'a, str>,
    /// Whether the end of the record is missing.
    pub truncated: bool,
    /// Whether bytes that are not UTF-8 became U+FFFD.
    pub replaced: bool,
}

/// Makes text of the first bytes of a record whose full length is `original_bytes`.
pub fn of(bytes: &[u8], original_bytes: u64, bytes_max: usize) -> Text<'_> {
    let cut = bytes_max < bytes.len() || (bytes.len() as u64) < original_bytes;
    let head = if cut { cut_at_character(bytes, bytes_max) } else { bytes };
    if let Ok(text) = std::str::from_utf8(head) {
        return Text { text: Cow::Borrowed(text), truncated: cut, replaced: false };
    }
    let mut text = String::from_utf8_lossy(head).into_owned();
    // Each replaced byte grows to three, so the cap has to be applied once more.
    let grown = bytes_max < text.len();
    if grown {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    Text { text: Cow::Owned(text), truncated: cut || grown, replaced: true }
}

/// Returns at most `bytes_max` bytes, without an unfinished character at the end.
fn cut_at_character(bytes: &[u8], bytes_max: usize) -> &[u8] {
    let head = bytes.get(..bytes_max).unwrap_or(bytes);
    // A character has at most four bytes, so its first byte is among the last three or it is
    // complete.
    for back in 1..=3.min(head.len()) {
        let at = head.len() - back;
        let Some(byte) = head.get(at) else { break };
        let length = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        return if back < length { head.get(..at).unwrap_or(head) } else { head };
    }
    head
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn c_205_cuts_only_between_characters() {
        let text = "aé€😀";
        for max in 0..=text.len() {
            let cut = of(text.as_bytes(), text.len() as u64, max);
            assert!(!cut.replaced, "{max}");
            assert!(text.starts_with(cut.text.as_ref()));
            assert!(max < cut.text.len() + 4, "{max}");
            assert_eq!(cut.truncated, max < text.len());
        }
    }

    #[test]
    fn a_head_that_arrives_already_cut_loses_its_broken_character() {
        let bytes = "ab€".as_bytes();
        let cut = of(bytes.get(..4).unwrap_or_default(), 5, 100);
        assert_eq!(cut, Text { text: "ab".into(), truncated: true, replaced: false });
    }

    proptest! {
        #[test]
        fn any_bytes_give_text_within_the_cap(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            max in 0_usize..80,
        ) {
            let text = of(&bytes, bytes.len() as u64, max);
            prop_assert!(text.text.len() <= max);
            if !text.truncated {
                prop_assert_eq!(text.text, String::from_utf8_lossy(&bytes));
            }
        }
    }
}
