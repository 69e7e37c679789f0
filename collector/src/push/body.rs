//! From the bytes of a request to its streams: content type, compression, caps.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use runtime::body::{BodyError, inflate_capped};

use super::intake::Intake;
use super::{PushError, json, proto};

/// How a request is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// JSON, possibly compressed.
    Json { compression: String },
    /// A snappy block of protobuf.
    SnappyProto,
}

impl Encoding {
    /// Decided by `Content-Type` and `Content-Encoding`: JSON where it says so, protobuf for any
    /// other valid media type, as Loki does.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, PushError> {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        let content_type = text(header::CONTENT_TYPE);
        let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let valid = media_type.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
        if !valid {
            return Err(PushError::Malformed(format!(
                "Content-Type `{content_type}` is no media type, \
                 send application/json or application/x-protobuf"
            )));
        }
        let compression = text(header::CONTENT_ENCODING).to_ascii_lowercase();
        let unsupported =
            || PushError::Malformed(format!("Content-Encoding \"{compression}\" not supported"));
        if media_type == "application/json" {
            return match compression.as_str() {
                // Loki accepts the word `snappy` for JSON and decodes nothing.
                "" | "identity" | "snappy" => Ok(Self::Json { compression: String::new() }),
                "gzip" | "deflate" => Ok(Self::Json { compression }),
                _ => Err(unsupported()),
            };
        }
        match compression.as_str() {
            "" | "snappy" => Ok(Self::SnappyProto),
            _ => Err(unsupported()),
        }
    }

    pub(super) fn decode(
        &self,
        received: &[u8],
        decoded_bytes_max: usize,
        intake: &mut Intake<'_>,
    ) -> Result<(), PushError> {
        match self {
            Self::Json { compression } if compression.is_empty() => json::decode(received, intake),
            Self::Json { compression } => {
                json::decode(&inflate(compression, received, decoded_bytes_max)?, intake)
            }
            Self::SnappyProto => proto::decode(&unsnap(received, decoded_bytes_max)?, intake),
        }
    }
}

/// The body, if it is not over the cap.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, PushError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(PushError::TooLarge(format!(
            "request body too large, the limit `collector.push.body_bytes_max` is {bytes_max}; \
             send it in several requests"
        ))),
        Err(error) => Err(PushError::Malformed(format!("request body ended early: {error}"))),
    }
}

fn inflate(compression: &str, received: &[u8], bytes_max: usize) -> Result<Vec<u8>, PushError> {
    inflate_capped(compression, received, bytes_max).map_err(|error| match error {
        BodyError::TooLarge { .. } => too_large(bytes_max),
        other => PushError::Malformed(format!("{other}, as `Content-Encoding` says it is")),
    })
}

fn unsnap(received: &[u8], bytes_max: usize) -> Result<Vec<u8>, PushError> {
    let malformed = |error| {
        PushError::Malformed(format!(
            "snappy block is damaged: {error}; \
             send a logproto.PushRequest as one snappy block"
        ))
    };
    // The declared length is checked before anything is allocated for it.
    if bytes_max < snap::raw::decompress_len(received).map_err(malformed)? {
        return Err(too_large(bytes_max));
    }
    snap::raw::Decoder::new().decompress_vec(received).map_err(malformed)
}

fn too_large(bytes_max: usize) -> PushError {
    PushError::TooLarge(format!(
        "decompressed request too large, the limit `collector.push.decoded_bytes_max` is \
         {bytes_max}; send it in several requests"
    ))
}
