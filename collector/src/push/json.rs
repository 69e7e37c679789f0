//! The JSON form: `{"streams":[{"stream":{…},"values":[["<ns>","<line>",{…}?],…]}]}`.
//!
//! Read in one pass, entry by entry; nothing is built before its limit was checked. Nesting that
//! is not expected is skipped without recursion, so its depth costs nothing.

use std::borrow::Cow;
use std::fmt;

use record::Labels;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::PushError;
use super::intake::{Intake, OpenStream, SentLabels};

/// Gives every stream and entry of a request to `intake`.
pub(super) fn decode(body: &[u8], intake: &mut Intake<'_>) -> Result<(), PushError> {
    // A limit is no fault of the text, but has to go through the parser as one.
    let mut over_limit = None;
    let mut reading = Reading { intake, over_limit: &mut over_limit };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Request(&mut reading).deserialize(&mut json).and_then(|()| json.end());
    match (over_limit, read) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(PushError::Malformed(format!(
            "push request is not as expected: {error}; \
             send {{\"streams\":[{{\"stream\":{{…}},\"values\":[[\"<ns>\",\"<line>\"]]}}]}}"
        ))),
    }
}

struct Reading<'i, 's> {
    intake: &'i mut Intake<'s>,
    over_limit: &'i mut Option<PushError>,
}

impl Reading<'_, '_> {
    /// Stops the parser when a limit is passed.
    fn within<E: Error>(&mut self, limit: Result<(), PushError>) -> Result<(), E> {
        limit.map_err(|error| {
            *self.over_limit = Some(error);
            E::custom("over a limit")
        })
    }
}

struct Request<'r, 'i, 's>(&'r mut Reading<'i, 's>);

impl<'de> DeserializeSeed<'de> for Request<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `streams`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key_seed(Text)? {
            if key.is("streams") {
                found = true;
                map.next_value_seed(Streams(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found { Ok(()) } else { Err(A::Error::missing_field("streams")) }
    }
}

struct Streams<'r, 'i, 's>(&'r mut Reading<'i, 's>);

impl<'de> DeserializeSeed<'de> for Streams<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Streams<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of streams")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut streams: A) -> Result<(), A::Error> {
        while streams.next_element_seed(Stream(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

struct Stream<'r, 'i, 's>(&'r mut Reading<'i, 's>);

impl<'de> DeserializeSeed<'de> for Stream<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Stream<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `stream` and `values`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(reading) = self;
        let counted = reading.intake.count_stream();
        reading.within::<A::Error>(counted)?;
        let (mut open, mut early, mut values) = (None, Vec::new(), false);
        while let Some(key) = map.next_key_seed(Text)? {
            if key.is("stream") && open.is_none() {
                let sent = map.next_value_seed(Pairs { kept_max: reading.intake.labels_kept() })?;
                open = Some(reading.intake.open(sent.into_labels::<A::Error>()?));
            } else if key.is("values") {
                values = true;
                let to = match &mut open {
                    Some(open) => To::Rows(open),
                    None => To::Later(&mut early),
                };
                map.next_value_seed(Entries { reading: &mut *reading, to })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let Some(mut open) = open else { return Err(A::Error::missing_field("stream")) };
        if !values {
            return Err(A::Error::missing_field("values"));
        }
        for Early { time_ns, line, attributes, pairs } in early {
            let taken = reading.intake.entry(&mut open, time_ns, &line, &attributes, pairs);
            reading.within::<A::Error>(taken)?;
        }
        reading.intake.close(open);
        Ok(())
    }
}

/// An entry that came before the labels of its stream.
struct Early {
    time_ns: i64,
    line: Vec<u8>,
    attributes: Vec<(String, String)>,
    pairs: usize,
}

/// Where entries go.
enum To<'t> {
    Rows(&'t mut OpenStream),
    Later(&'t mut Vec<Early>),
}

struct Entries<'r, 'i, 's, 't> {
    reading: &'r mut Reading<'i, 's>,
    to: To<'t>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let kept_max = self.reading.intake.pairs_kept();
        while let Some(entry) = entries.next_element_seed(Entry { kept_max })? {
            self.take::<A::Error>(&entry)?;
        }
        Ok(())
    }
}

impl Entries<'_, '_, '_, '_> {
    fn take<E: Error>(&mut self, entry: &Sent<'_>) -> Result<(), E> {
        let (pairs, count) = (&entry.metadata.kept, entry.metadata.count);
        let attributes: Vec<(Cow<'_, str>, Cow<'_, str>)> =
            pairs.iter().map(|(name, value)| (name.lossy(), value.lossy())).collect();
        let line = &entry.line.0;
        let intake = &mut *self.reading.intake;
        let taken = match &mut self.to {
            To::Rows(open) => intake.entry(open, entry.time_ns, line, &attributes, count),
            To::Later(early) => {
                let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
                    (name.into_owned(), value.into_owned())
                };
                early.push(Early {
                    time_ns: entry.time_ns,
                    line: line.to_vec(),
                    attributes: attributes.into_iter().map(owned).collect(),
                    pairs: count,
                });
                // Each pair is a text of its own until the labels come: as dear as an entry.
                (0..=pairs.len()).try_for_each(|_| intake.count_entry())
            }
        };
        self.reading.within(taken)
    }
}

/// Time in ns and line, both strings, and structured metadata where there is some.
struct Entry {
    kept_max: usize,
}

/// An entry as it stands in the request.
struct Sent<'de> {
    time_ns: i64,
    line: Bytes<'de>,
    metadata: KeptPairs<'de>,
}

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = Sent<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Sent<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = Sent<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry [time, line] or [time, line, metadata]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Sent<'de>, A::Error> {
        let time = parts.next_element_seed(Text)?;
        let time = time.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let digits = time.lossy();
        let time_ns = digits.parse().map_err(|_| {
            let shown: String = digits.chars().take(40).collect();
            A::Error::custom(format_args!("timestamp `{shown}` is not a number of nanoseconds"))
        })?;
        let line = parts.next_element_seed(Text)?;
        let line = line.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        let metadata = parts.next_element_seed(Pairs { kept_max: self.kept_max })?;
        Ok(Sent { time_ns, line, metadata: metadata.unwrap_or_default() })
    }
}

/// An object of strings, of which the first `kept_max` are kept.
struct Pairs {
    kept_max: usize,
}

#[derive(Default)]
struct KeptPairs<'de> {
    kept: Vec<(Bytes<'de>, Bytes<'de>)>,
    count: usize,
}

impl KeptPairs<'_> {
    fn into_labels<E: Error>(self) -> Result<SentLabels, E> {
        if self.kept.len() < self.count {
            return Ok(SentLabels::TooMany(self.count));
        }
        let mut pairs = Vec::with_capacity(self.kept.len());
        for (name, value) in &self.kept {
            pairs.push((name.text::<E>()?, value.text::<E>()?));
        }
        Ok(SentLabels::Read(Labels::from_pairs(pairs)))
    }
}

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = KeptPairs<'de>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<KeptPairs<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = KeptPairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeptPairs<'de>, A::Error> {
        let mut pairs = KeptPairs::default();
        while let Some(name) = map.next_key_seed(Text)? {
            let value = map.next_value_seed(Text)?;
            pairs.count += 1;
            if pairs.count <= self.kept_max {
                pairs.kept.push((name, value));
            }
        }
        Ok(pairs)
    }
}

/// A string, whose bytes need not be UTF-8.
struct Text;

struct Bytes<'de>(Cow<'de, [u8]>);

impl Bytes<'_> {
    fn is(&self, text: &str) -> bool {
        *self.0 == *text.as_bytes()
    }

    fn text<E: Error>(&self) -> Result<&str, E> {
        std::str::from_utf8(&self.0).map_err(|_| E::custom("a label of the stream is not UTF-8"))
    }

    fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Bytes<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bytes<'de>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Bytes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Bytes<'de>, E> {
        Ok(Bytes(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes<'de>, E> {
        Ok(Bytes(Cow::Owned(bytes.to_owned())))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Bytes<'de>, E> {
        Ok(Bytes(Cow::Borrowed(text.as_bytes())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes<'de>, E> {
        Ok(Bytes(Cow::Owned(text.as_bytes().to_owned())))
    }
}
