//! Asking other processes.
//!
//! Always holds: a request ends within its deadline, and no more than `response_bytes_max` of its
//! answer are ever in memory. Plain HTTP only: inside a cluster TLS is the mesh's.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// What a client allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Time for a whole request, connecting and reading the answer included.
    pub deadline: Duration,
    /// Time for connecting.
    pub connect_timeout: Duration,
    /// Most bytes of an answer's body.
    pub response_bytes_max: usize,
    /// Idle connections kept for each host.
    pub idle_connections_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            response_bytes_max: 64 << 20,
            idle_connections_max: 8,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The caller's mistake; asking again will not help.
    #[error("`{url}` is no URL we can ask: {reason}")]
    BadUrl { url: String, reason: String },
    /// Nobody listens there, or the name is unknown.
    #[error("connect to `{url}`: {reason}")]
    Connect { url: String, reason: String },
    /// No whole answer within the deadline.
    #[error("no answer from `{url}` within {deadline:?}")]
    Deadline { url: String, deadline: Duration },
    /// The answer is larger than we are willing to hold.
    #[error("answer of `{url}` is larger than {bytes_max} bytes")]
    TooLarge { url: String, bytes_max: usize },
    /// The connection broke while asking.
    #[error("ask `{url}`: {reason}")]
    Broken { url: String, reason: String },
}

impl ClientError {
    /// Tells whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Deadline { .. } | Self::Broken { .. } => true,
            Self::BadUrl { .. } | Self::TooLarge { .. } => false,
        }
    }
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// Returns a header as text, or "" when it is absent or no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Returns the body as text, invalid bytes replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request with all its parts.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: Vec<(&'a str, String)>,
    pub body: Bytes,
    /// Instead of the client's own.
    pub deadline: Option<Duration>,
}

impl<'a> Outgoing<'a> {
    pub fn get(url: &'a str) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: Bytes::new(), deadline: None }
    }

    pub fn post(url: &'a str, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            url,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.into(),
            deadline: None,
        }
    }

    pub fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// Asks over pooled connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    hyper: HyperClient<HttpConnector, Full<Bytes>>,
    options: ClientOptions,
}

impl Client {
    pub fn new(options: ClientOptions) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(options.connect_timeout));
        connector.set_nodelay(true);
        let hyper = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(options.idle_connections_max)
            .build(connector);
        Self { hyper, options }
    }

    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// # Errors
    /// See [`ClientError`]; an answer of any status is no error.
    pub async fn get(&self, url: &str) -> Result<Response, ClientError> {
        self.send(Outgoing::get(url)).await
    }

    /// # Errors
    /// See [`ClientError`]; an answer of any status is no error.
    pub async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response, ClientError> {
        self.send(Outgoing::post(url, content_type, body)).await
    }

    /// # Errors
    /// See [`ClientError`]; an answer of any status is no error.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response, ClientError> {
        let url = outgoing.url.to_owned();
        let deadline = outgoing.deadline.unwrap_or(self.options.deadline);
        let request = request(outgoing)?;
        match tokio::time::timeout(deadline, self.exchange(&url, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Deadline { url, deadline }),
        }
    }

    async fn exchange(
        &self,
        url: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response, ClientError> {
        let response = self.hyper.request(request).await.map_err(|error| {
            let url = url.to_owned();
            let reason = chain(&error);
            if error.is_connect() {
                ClientError::Connect { url, reason }
            } else {
                ClientError::Broken { url, reason }
            }
        })?;
        let (head, body) = response.into_parts();
        let bytes_max = self.options.response_bytes_max;
        let body = Limited::new(body, bytes_max)
            .collect()
            .await
            .map_err(|error| {
                let url = url.to_owned();
                if error.is::<LengthLimitError>() {
                    return ClientError::TooLarge { url, bytes_max };
                }
                let reason = chain(&*error);
                ClientError::Broken { url, reason }
            })?
            .to_bytes();
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new(ClientOptions::default())
    }
}

fn request(outgoing: Outgoing<'_>) -> Result<Request<Full<Bytes>>, ClientError> {
    let bad = |reason: String| ClientError::BadUrl { url: outgoing.url.to_owned(), reason };
    let uri: Uri = outgoing
        .url
        .parse()
        .map_err(|error: axum::http::uri::InvalidUri| bad(error.to_string()))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some(other) => return Err(bad(format!("scheme `{other}` is not supported, use http"))),
        None => return Err(bad("it has no scheme, write http://host:port".to_owned())),
    }
    let mut request = Request::new(Full::new(outgoing.body.clone()));
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for (name, value) in &outgoing.headers {
        let name: HeaderName =
            name.parse().map_err(|_| bad(format!("`{name}` is no header name")))?;
        let value =
            HeaderValue::from_str(value).map_err(|_| bad(format!("value of header `{name}`")))?;
        headers.insert(name, value);
    }
    Ok(request)
}

const USER_AGENT: &str = concat!("millrace/", env!("CARGO_PKG_VERSION"));

/// Joins an error and its causes: hyper says `client error (Connect)` and leaves the reason below.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let part = next.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = next.source();
    }
    text
}
