//! Parameters of a request: those of the URL, and of a form body before them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method};

use super::envelope::ApiError;

/// The parameters and headers of a request.
#[derive(Debug, Default)]
pub(super) struct Form {
    pairs: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
}

impl Form {
    /// Reads the parameters.
    ///
    /// # Errors
    /// When the body is too large or cut off, or a parameter is not UTF-8.
    pub(super) async fn read(request: Request) -> Result<Self, ApiError> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let headers = request.headers().clone();
        let mut pairs = Vec::new();
        if method == Method::POST {
            let body = Bytes::from_request(request, &()).await.map_err(|refused| {
                ApiError::bad_data(format!("error parsing form values: {}", refused.body_text()))
            })?;
            pairs.extend(decode(&body)?);
        }
        pairs.extend(decode(uri.query().unwrap_or("").as_bytes())?);
        Ok(Self { pairs, headers })
    }

    /// The first value of `name`; an empty one counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(key, _)| key == name)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    text.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            Ok((unescape(name)?, unescape(value)?))
        })
        .collect()
}

fn unescape(text: &[u8]) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(ApiError::bad_data(
                        "error parsing form values: invalid URL escape",
                    ));
                };
                u8::try_from(high * 16 + low).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8(bytes)
        .map_err(|_| ApiError::bad_data("error parsing form values: a parameter is not UTF-8"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn read(method: &str, uri: &str, body: &str) -> Result<Form, ApiError> {
        let request = Request::builder().method(method).uri(uri);
        Form::read(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    #[tokio::test]
    async fn body_comes_before_url_and_names_may_repeat() {
        let form = read("POST", "/x?query=b&match[]=2", "query=a+%7B%7D&match%5B%5D=1&empty=");
        let form = form.await.unwrap();
        assert_eq!(form.get("query"), Some("a {}"));
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.get("empty"), None);
        let form = read("GET", "/x?query=b", "query=a").await.unwrap();
        assert_eq!(form.get("query"), Some("b"), "the body of a GET is not read");
    }

    #[tokio::test]
    async fn broken_forms_are_refused() {
        // Without a layer that says otherwise, axum takes two megabytes.
        for body in ["a=%", "a=%zz", "a=%ff", &"x".repeat(3_000_000)] {
            assert!(read("POST", "/x", body).await.is_err(), "{body}");
        }
    }
}
