//! Inflating bodies without letting a small one become a large one.
//!
//! Always holds: no more than `max_bytes` are ever produced, whatever the input claims.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Bytes read from a decoder at a time.
const STEP_BYTES: usize = 64 * 1024;

/// Largest zstd window accepted, as a power of two: 16 MiB.
///
/// A frame of a few bytes can ask the decoder for its whole window at once; levels up to 19 need
/// 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// Why a body was not inflated.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Larger than allowed: answer 413.
    #[error("body is larger than {max_bytes} bytes once inflated")]
    TooLarge { max_bytes: usize },
    /// Not what its encoding says: answer 400.
    #[error("body is not valid {encoding}")]
    Corrupt { encoding: &'static str, source: io::Error },
    /// An encoding we do not read: answer 415.
    #[error("content encoding `{encoding}` is not supported; send gzip, deflate, zstd or identity")]
    UnknownEncoding { encoding: String },
}

/// Inflates `body`, which came with `Content-Encoding: {encoding}` (empty means identity).
///
/// # Errors
/// See [`BodyError`].
pub fn inflate_capped(encoding: &str, body: &[u8], max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => {
            if max_bytes < body.len() {
                return Err(BodyError::TooLarge { max_bytes });
            }
            Ok(body.to_vec())
        }
        "gzip" | "x-gzip" => read_capped("gzip", MultiGzDecoder::new(body), max_bytes),
        "deflate" if starts_as_zlib(body) => {
            read_capped("deflate", ZlibDecoder::new(body), max_bytes)
        }
        "deflate" => read_capped("deflate", DeflateDecoder::new(body), max_bytes),
        "zstd" => {
            let corrupt = |source| BodyError::Corrupt { encoding: "zstd", source };
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            read_capped("zstd", decoder, max_bytes)
        }
        other => Err(BodyError::UnknownEncoding { encoding: other.to_owned() }),
    }
}

/// Tells zlib, which the standard asks for, from the bare deflate some clients send.
fn starts_as_zlib(body: &[u8]) -> bool {
    match body {
        [first, second, ..] => {
            first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
        }
        _ => false,
    }
}

fn read_capped(
    encoding: &'static str,
    mut decoder: impl Read,
    max_bytes: usize,
) -> Result<Vec<u8>, BodyError> {
    let mut inflated = Vec::new();
    let mut step = vec![0; STEP_BYTES];
    loop {
        let read =
            decoder.read(&mut step).map_err(|source| BodyError::Corrupt { encoding, source })?;
        if read == 0 {
            return Ok(inflated);
        }
        if max_bytes < inflated.len() + read {
            return Err(BodyError::TooLarge { max_bytes });
        }
        inflated.extend(step.iter().take(read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).expect("memory");
        encoder.finish().expect("memory")
    }

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        zstd::encode_all(body, 1).expect("memory")
    }

    proptest! {
        #[test]
        fn every_encoding_comes_back(body in proptest::collection::vec(any::<u8>(), 0..5_000)) {
            let max = body.len();
            prop_assert_eq!(&inflate_capped("", &body, max).expect("fits"), &body);
            prop_assert_eq!(&inflate_capped("GZIP", &gzip(&body), max).expect("fits"), &body);
            prop_assert_eq!(&inflate_capped("deflate", &zlib(&body), max).expect("fits"), &body);
            prop_assert_eq!(&inflate_capped("zstd", &zstd(&body), max).expect("fits"), &body);
            if 0 < max {
                let refused = inflate_capped("gzip", &gzip(&body), max - 1);
                prop_assert!(matches!(refused, Err(BodyError::TooLarge { .. })), "too large");
            }
        }

        #[test]
        fn no_input_panics(body in proptest::collection::vec(any::<u8>(), 0..500)) {
            for encoding in ["gzip", "deflate", "zstd", "identity"] {
                drop(inflate_capped(encoding, &body, 1_000));
            }
        }
    }

    #[test]
    fn bare_deflate_is_read_too() {
        let body = b"level=info msg=started".repeat(10);
        let inflated = inflate_capped("deflate", &deflate(&body), 1_000).expect("fits");
        assert_eq!(inflated, body);
    }

    #[test]
    fn a_bomb_is_refused_after_its_cap() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 1 << 20);
        let refused = inflate_capped("gzip", &bomb, 1 << 20).expect_err("too large");
        assert_eq!(refused.to_string(), "body is larger than 1048576 bytes once inflated");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let corrupt = inflate_capped("gzip", b"not gzip", 100).expect_err("corrupt");
        assert_eq!(corrupt.to_string(), "body is not valid gzip");
        let unknown = inflate_capped("br", b"", 100).expect_err("unknown");
        assert_eq!(
            unknown.to_string(),
            "content encoding `br` is not supported; send gzip, deflate, zstd or identity"
        );
    }
}
