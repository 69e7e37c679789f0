//! Request parameters: those of the URL and those of a form body, as one list.

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, Uri, header};

/// Parameters in the order given, the URL's first. A name may stand several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query string, and the body where it is a form.
    ///
    /// # Errors
    /// When either is not valid form encoding.
    pub fn read(uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Self, String> {
        let mut params = parse(uri)?;
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            let form = std::str::from_utf8(body).map_err(|error| error.to_string())?;
            let as_uri: Uri =
                format!("/?{form}").parse().map_err(|_| "the form is not valid".to_owned())?;
            params.extend(parse(&as_uri)?);
        }
        Ok(Self(params))
    }

    /// The first value of a name; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
        found.find(|value| !value.is_empty()).map(String::as_str)
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn parse(uri: &Uri) -> Result<Vec<(String, String)>, String> {
    Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|Query(pairs)| pairs)
        .map_err(|error| error.to_string())
}
