//! The protobuf form, `logproto.PushRequest`. Field numbers: `specs/loki-api.md` 8.1.
//!
//! Fields are taken where they lie, without making messages of them first: an empty stream has
//! two bytes on the wire and some fifty as a message, so a request could become many times its
//! size before anything was counted.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use record::Labels;

use super::PushError;
use super::intake::{Intake, OpenStream, SentLabels};

/// `logproto.PushRequest`
const STREAMS: u32 = 1;

/// `logproto.StreamAdapter`
const LABELS: u32 = 1;
const ENTRIES: u32 = 2;

/// `logproto.EntryAdapter`
const TIMESTAMP: u32 = 1;
const LINE: u32 = 2;
const METADATA: u32 = 3;

/// `google.protobuf.Timestamp`
const SECONDS: u32 = 1;
const NANOS: u32 = 2;

/// `logproto.LabelPairAdapter`
const NAME: u32 = 1;
const VALUE: u32 = 2;

/// Gives every stream and entry of a request to `intake`.
pub(super) fn decode(body: &[u8], intake: &mut Intake<'_>) -> Result<(), PushError> {
    let mut number = 0;
    let mut fields = Fields { rest: body, place: Place::Request };
    while let Some((tag, value)) = fields.next()? {
        if tag == STREAMS {
            intake.count_stream()?;
            stream(value.bytes(), Place::Stream(number), intake)?;
            number += 1;
        }
    }
    Ok(())
}

fn stream(message: &[u8], place: Place, intake: &mut Intake<'_>) -> Result<(), PushError> {
    let mut text: &[u8] = b"";
    let mut fields = Fields { rest: message, place };
    while let Some((tag, value)) = fields.next()? {
        if tag == LABELS {
            text = value.bytes();
        }
    }
    let mut open = intake.open(labels(text, place, intake.labels_kept())?);
    let mut number = 0;
    let mut fields = Fields { rest: message, place };
    while let Some((tag, value)) = fields.next()? {
        if tag == ENTRIES {
            entry(value.bytes(), place.entry(number), &mut open, intake)?;
            number += 1;
        }
    }
    intake.close(open);
    Ok(())
}

fn labels(text: &[u8], place: Place, kept_max: usize) -> Result<SentLabels, PushError> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let at = error.valid_up_to();
        place.malformed(format_args!("labels are not UTF-8 at byte {at}"))
    })?;
    let count = count_labels(text);
    if kept_max < count {
        return Ok(SentLabels::TooMany(count));
    }
    let labels = Labels::parse(text).map_err(|error| {
        let shown: String = text.chars().take(200).collect();
        place.malformed(format_args!("labels `{shown}`: {error}"))
    })?;
    Ok(SentLabels::Read(labels))
}

/// Counts the labels of `{a="b", c="d"}` without reading them: the `=` outside of quotes.
fn count_labels(text: &str) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'=' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

fn entry(
    message: &[u8],
    place: Place,
    open: &mut OpenStream,
    intake: &mut Intake<'_>,
) -> Result<(), PushError> {
    let (mut time_ns, mut line): (i64, &[u8]) = (0, b"");
    let mut fields = Fields { rest: message, place };
    let kept_max = intake.pairs_kept();
    let (mut pairs, mut count) = (Vec::new(), 0_usize);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            TIMESTAMP => time_ns = timestamp(value.bytes(), place)?,
            LINE => line = value.bytes(),
            METADATA => {
                count += 1;
                if count <= kept_max {
                    pairs.push(pair(value.bytes(), place)?);
                }
            }
            _ => {}
        }
    }
    let text = String::from_utf8_lossy;
    let attributes: Vec<_> = pairs.iter().map(|(name, value)| (text(name), text(value))).collect();
    intake.entry(open, time_ns, line, &attributes, count)
}

/// Saturates: such a time is rejected by its age later, entry by entry.
fn timestamp(message: &[u8], place: Place) -> Result<i64, PushError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut fields = Fields { rest: message, place };
    while let Some((tag, value)) = fields.next()? {
        match tag {
            SECONDS => seconds = value.number(),
            NANOS => nanos = value.number(),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

fn pair(message: &[u8], place: Place) -> Result<(&[u8], &[u8]), PushError> {
    let (mut name, mut text): (&[u8], &[u8]) = (b"", b"");
    let mut fields = Fields { rest: message, place };
    while let Some((tag, value)) = fields.next()? {
        match tag {
            NAME => name = value.bytes(),
            VALUE => text = value.bytes(),
            _ => {}
        }
    }
    Ok((name, text))
}

/// Where in a request something is, for errors; counted from 0.
#[derive(Clone, Copy, Debug)]
enum Place {
    Request,
    Stream(usize),
    Entry { stream: usize, entry: usize },
}

impl Place {
    fn entry(self, entry: usize) -> Self {
        match self {
            Self::Stream(stream) | Self::Entry { stream, .. } => Self::Entry { stream, entry },
            Self::Request => self,
        }
    }

    fn malformed(self, what: std::fmt::Arguments<'_>) -> PushError {
        let place = match self {
            Self::Request => "the request".to_owned(),
            Self::Stream(stream) => format!("stream {stream}"),
            Self::Entry { stream, entry } => format!("entry {entry} of stream {stream}"),
        };
        PushError::Malformed(format!(
            "push request is no protobuf in {place}: {what}; \
             send a logproto.PushRequest as one snappy block"
        ))
    }
}

/// The fields of a message, in order.
struct Fields<'a> {
    rest: &'a [u8],
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
    /// Of a kind that none of our fields has.
    Other,
}

impl<'a> Value<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) | Self::Other => b"",
        }
    }

    /// Negative numbers have all 64 bits on the wire.
    fn number(self) -> i64 {
        match self {
            Self::Number(number) => number.cast_signed(),
            Self::Bytes(_) | Self::Other => 0,
        }
    }
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, PushError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let place = self.place;
        let malformed = |error| place.malformed(format_args!("{error}"));
        let (tag, kind) = decode_key(&mut self.rest).map_err(malformed)?;
        let value = match kind {
            WireType::Varint => Value::Number(decode_varint(&mut self.rest).map_err(malformed)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.rest).map_err(malformed)?;
                let (rest, left) = (self.rest, self.rest.len());
                let split = usize::try_from(length).ok();
                let split = split.and_then(|length| rest.split_at_checked(length));
                let Some((bytes, after)) = split else {
                    return Err(place.malformed(format_args!(
                        "field {tag} has {length} bytes, but {left} are left"
                    )));
                };
                self.rest = after;
                Value::Bytes(bytes)
            }
            _ => {
                let context = DecodeContext::default();
                skip_field(kind, tag, &mut self.rest, context).map_err(malformed)?;
                Value::Other
            }
        };
        Ok(Some((tag, value)))
    }
}
