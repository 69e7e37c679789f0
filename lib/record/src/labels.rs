//! A label set: the identity of a stream or a series.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

/// A label set, sorted by name, without doubled names or empty values. Cloning is cheap.
///
/// An absent label and an empty one mean the same in Loki and Prometheus, so empty ones are
/// dropped on the way in. The text form is `{a="b", c="d"}`; the JSON form an object.
///
/// Its hash is computed once: every row of a batch looks its stream up.
#[derive(Clone)]
pub struct Labels {
    hash: u64,
    pairs: Arc<[Pair]>,
}

type Pair = (Box<str>, Box<str>);

/// Why text is not a label set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// Not of the form `{name="value", ...}`.
    #[error("label set is malformed at byte {at}: expected {expected}")]
    Syntax {
        /// Byte position in the text.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// Not a JSON object of strings.
    #[error("label set is not a JSON object of strings: {0}")]
    Json(String),
}

impl Labels {
    /// About what the set takes in memory, where nothing else holds on to it: allocators round up
    /// and keep a word for themselves.
    pub fn memory_bytes(&self) -> usize {
        let block = |bytes: usize| (bytes + 8).next_multiple_of(16).max(32);
        let texts: usize = self.iter().map(|(n, v)| block(n.len()) + block(v.len())).sum();
        size_of::<Self>() + block(16 + size_of_val(&*self.pairs)) + texts
    }

    /// Sorts and checks pairs; of a doubled name the last value wins, empty values are dropped.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut owned: Vec<(Box<str>, Box<str>)> =
            pairs.into_iter().map(|(n, v)| (n.as_ref().into(), v.as_ref().into())).collect();
        owned.sort_by(|a, b| a.0.cmp(&b.0));
        owned.reverse();
        // Stable sort then reverse: the last given of equal names comes first, and is kept.
        owned.dedup_by(|later, first| later.0 == first.0);
        owned.retain(|(_, value)| !value.is_empty());
        owned.reverse();
        Self::sorted(owned.into())
    }

    fn sorted(pairs: Arc<[Pair]>) -> Self {
        let mut hasher = Xxh3::new();
        for (name, value) in pairs.iter() {
            hasher.update(name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(value.as_bytes());
            hasher.update(&[0xff]);
        }
        Self { hash: hasher.digest(), pairs }
    }

    /// The value of `name`, or `None` where the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.pairs.binary_search_by(|(n, _)| n.as_ref().cmp(name)).ok()?;
        Some(&self.pairs[at].1)
    }

    /// Name and value pairs in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// A hash that never changes between versions: it chooses the partition.
    pub fn hash64(&self) -> u64 {
        self.hash
    }

    /// This set with `name` set to `value` (removed where `value` is empty).
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self::from_pairs(self.iter().chain([(name, value)]))
    }

    /// This set without `name`.
    pub fn without(&self, name: &str) -> Self {
        Self::sorted(self.pairs.iter().filter(|(n, _)| n.as_ref() != name).cloned().collect())
    }

    /// The canonical JSON object, names in order.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a map of strings is always valid JSON")
    }

    /// Reads a JSON object of strings.
    ///
    /// # Errors
    /// When the text is not a JSON object whose values are strings.
    pub fn from_json(text: &str) -> Result<Self, LabelsError> {
        serde_json::from_str(text).map_err(|error| LabelsError::Json(error.to_string()))
    }

    /// Reads `{a="b", c="d"}`, the form of `Display` and of Loki's protobuf push.
    ///
    /// # Errors
    /// When the text does not have that form; the error says where.
    pub fn parse(text: &str) -> Result<Self, LabelsError> {
        LabelText { text, at: 0 }.label_set()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::sorted(Arc::default())
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (Arc::ptr_eq(&self.pairs, &other.pairs) || self.pairs == other.pairs)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pairs.cmp(&other.pairs)
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Labels").field(&self.pairs).finish()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i != 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                    c => write!(f, "{c}")?,
                }
            }
            f.write_str("\"")?;
        }
        f.write_str("}")
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self::from_pairs(pairs))
    }
}

/// A cursor over the text form.
struct LabelText<'a> {
    text: &'a str,
    at: usize,
}

impl LabelText<'_> {
    fn label_set(mut self) -> Result<Labels, LabelsError> {
        let mut pairs = Vec::new();
        self.expect(b'{', "`{`")?;
        loop {
            self.skip_spaces();
            if self.peek() == Some(b'}') {
                break;
            }
            if !pairs.is_empty() {
                self.expect(b',', "`,` or `}`")?;
                self.skip_spaces();
                if self.peek() == Some(b'}') {
                    break;
                }
            }
            let name = self.name()?;
            self.skip_spaces();
            self.expect(b'=', "`=`")?;
            self.skip_spaces();
            pairs.push((name, self.quoted()?));
        }
        self.at += 1;
        self.skip_spaces();
        if self.at != self.text.len() {
            return Err(self.wrong("the end"));
        }
        Ok(Labels::from_pairs(pairs))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wrong(&self, expected: &'static str) -> LabelsError {
        LabelsError::Syntax { at: self.at, expected }
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), LabelsError> {
        self.skip_spaces();
        if self.peek() != Some(byte) {
            return Err(self.wrong(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn name(&mut self) -> Result<String, LabelsError> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b"_:.".contains(&b)) {
            self.at += 1;
        }
        match self.text.get(start..self.at) {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => Err(self.wrong("a label name")),
        }
    }

    /// A double-quoted string with Go's escapes.
    fn quoted(&mut self) -> Result<String, LabelsError> {
        self.expect(b'"', "`\"`")?;
        let mut bytes = Vec::new();
        loop {
            let byte = self.peek().ok_or_else(|| self.wrong("a closing `\"`"))?;
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => self.escape(&mut bytes)?,
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).map_err(|_| self.wrong("UTF-8 in the value"))
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), LabelsError> {
        let kind = self.peek().ok_or_else(|| self.wrong("an escape"))?;
        self.at += 1;
        let simple = match kind {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'\\' | b'"' | b'\'' => kind,
            b'x' => {
                out.push(u8::try_from(self.digits(2, 16)?).unwrap_or(0));
                return Ok(());
            }
            b'u' | b'U' => {
                let code = self.digits(if kind == b'u' { 4 } else { 8 }, 16)?;
                let c = char::from_u32(code).ok_or_else(|| self.wrong("a valid code point"))?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            b'0'..=b'7' => {
                self.at -= 1;
                let code = self.digits(3, 8)?;
                out.push(u8::try_from(code).map_err(|_| self.wrong("an octal byte"))?);
                return Ok(());
            }
            _ => return Err(self.wrong("a known escape")),
        };
        out.push(simple);
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Result<u32, LabelsError> {
        let digits = self.text.get(self.at..self.at + count);
        let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = digits.and_then(|d| u32::from_str_radix(d, radix).ok());
        let value = value.ok_or_else(|| self.wrong("digits of an escape"))?;
        self.at += count;
        Ok(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sorts_drops_empty_values_and_keeps_the_last_of_a_name() {
        let labels = Labels::from_pairs([("b", "1"), ("a", "x"), ("b", "2"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"{a="x", b="2"}"#);
        assert_eq!(labels.get("b"), Some("2"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(Labels::from_pairs([("a", "x"), ("a", "")]), Labels::default());
    }

    #[test]
    fn a_set_weighs_its_texts_and_what_holds_them() {
        let short = Labels::from_pairs((0..10).map(|n| (n.to_string(), "v"))).memory_bytes();
        assert!((900..1_200).contains(&short), "{short}: 20 small texts, and their addresses");
        let long = Labels::from_pairs((0..10).map(|n| (n.to_string(), "v".repeat(1_000))));
        assert!((9_700..10_100).contains(&(long.memory_bytes() - short)));
    }

    #[test]
    fn parse_says_where_it_went_wrong() {
        let cases = [
            ("", 0, "`{`"),
            ("{a", 2, "`=`"),
            (r#"{a="b"#, 5, "a closing `\"`"),
            (r#"{a="b" c="d"}"#, 7, "`,` or `}`"),
            (r#"{a="b"} x"#, 8, "the end"),
            (r#"{="b"}"#, 1, "a label name"),
        ];
        for (text, at, expected) in cases {
            assert_eq!(Labels::parse(text), Err(LabelsError::Syntax { at, expected }), "{text}");
        }
        assert_eq!(Labels::parse(r#" { a = "b" , } "#), Ok(Labels::from_pairs([("a", "b")])));
    }

    #[test]
    fn hash_is_frozen() {
        assert_eq!(Labels::from_pairs([("app", "a"), ("pod", "p-1")]).hash64(), HASH_OF_APP_A);
    }
    /// Changing this moves every stream to another partition.
    const HASH_OF_APP_A: u64 = 8_414_268_054_860_074_081;

    proptest! {
        #[test]
        fn text_and_json_round_trip(pairs in prop::collection::vec(("[a-z_][a-z0-9_]{0,6}", any::<String>()), 0..6)) {
            let labels = Labels::from_pairs(pairs);
            prop_assert_eq!(Labels::parse(&labels.to_string()), Ok(labels.clone()));
            prop_assert_eq!(Labels::from_json(&labels.to_json()), Ok(labels));
        }

        #[test]
        fn parse_never_panics(text in any::<String>()) {
            drop(Labels::parse(&text));
        }
    }
}
