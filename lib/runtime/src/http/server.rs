//! The accept loop.
//!
//! Connections beyond `connections_max` wait in the kernel's backlog: back-pressure, not refusal.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::limit::RequestBodyLimitLayer;
use tracing::{debug, error, warn};

use crate::clock::{Clock, SystemClock};
use crate::config::{Problem, Validate, at_least};
use crate::shutdown::panic_text;

/// Pause after `accept` failed, typically for want of file descriptors: gives some back time to
/// close instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of one connection's read buffer, which also bounds a request's head.
const CONNECTION_BUFFER_BYTES_MAX: usize = 64 << 10;

/// Where and how a process answers HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: String,
    /// Most bytes of a request body as sent. More answers 413.
    pub body_bytes_max: usize,
    /// Most connections at once; more wait. Each may take 64 KiB of buffer.
    pub connections_max: usize,
    /// Time a client has to send a request's head; also how long an idle connection is kept.
    pub header_timeout_secs: u64,
    /// Time a handler has to begin its answer. More answers 504.
    pub request_timeout_secs: u64,
    /// Time open requests have to finish on shutdown.
    pub drain_timeout_secs: u64,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3100".to_owned(),
            body_bytes_max: 16 << 20,
            connections_max: 1024,
            header_timeout_secs: 60,
            request_timeout_secs: 300,
            drain_timeout_secs: 10,
        }
    }
}

impl Validate for HttpSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let port = self.listen.rsplit_once(':').map(|(_, port)| port);
        if port.is_none_or(|port| port.parse::<u16>().is_err()) {
            let message = format!("`{}` is no address, write host:port", self.listen);
            problems.push(Problem::new(prefix, "listen", message));
        }
        at_least(&mut problems, prefix, "body_bytes_max", self.body_bytes_max, 1024);
        at_least(&mut problems, prefix, "connections_max", self.connections_max, 1);
        at_least(&mut problems, prefix, "header_timeout_secs", self.header_timeout_secs, 1);
        at_least(&mut problems, prefix, "request_timeout_secs", self.request_timeout_secs, 1);
        problems
    }
}

/// Why the server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Typically the port is taken: name another one.
    #[error("listen on `{address}`")]
    Bind { address: String, source: io::Error },
}

/// Opens the listening socket.
///
/// # Errors
/// When the address makes no sense or is taken.
pub async fn bind(address: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind { address: address.to_owned(), source })
}

/// Answers requests on `listener` with `router` until `token` is cancelled, then drains.
///
/// # Errors
/// None at present; the signature leaves room.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpSection,
    token: CancellationToken,
) -> Result<(), ServeError> {
    let slots = Arc::new(Semaphore::new(limits.connections_max.max(1)));
    let server = Arc::new(Server {
        router: layered(router, &limits),
        request_timeout: Duration::from_secs(limits.request_timeout_secs),
        header_timeout: Duration::from_secs(limits.header_timeout_secs),
    });
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = token.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let connection = Arc::clone(&server).connection(stream, &graceful);
                connections.spawn(async move {
                    let _open = Open::count(slot);
                    if let Err(error) = connection.await {
                        debug!(%peer, %error, "connection ended early");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drain = Duration::from_secs(limits.drain_timeout_secs);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        warn!(connections = connections.len(), "requests cut off by shutdown");
    }
    connections.shutdown().await;
    Ok(())
}

/// Waits for a free slot first, so that a connection is not accepted only to wait.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, slot))
}

fn layered(router: Router, limits: &HttpSection) -> Router {
    router
        .layer(from_fn(measure))
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .layer(RequestBodyLimitLayer::new(limits.body_bytes_max))
}

/// Counts and times requests by route, never by path: paths have no bound.
async fn measure(request: Request, next: Next) -> Response {
    let clock = SystemClock::new();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = method_name(request.method());
    let response = next.run(request).await;
    metrics::histogram!("millrace_http_request_seconds", "route" => route.clone())
        .record(clock.elapsed().as_secs_f64());
    let status = response.status().as_u16().to_string();
    metrics::counter!(
        "millrace_http_requests_total",
        "route" => route, "method" => method, "status" => status
    )
    .increment(1);
    response
}

/// Returns the method, or `OTHER`: a client may invent as many as it likes.
fn method_name(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

struct Server {
    router: Router,
    request_timeout: Duration,
    header_timeout: Duration,
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

impl Server {
    /// Returns the future that answers one connection's requests.
    fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        graceful: &GracefulShutdown,
    ) -> impl Future<Output = Result<(), ConnectionError>> + Send + 'static {
        let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(CONNECTION_BUFFER_BYTES_MAX);
        let service = service_fn(move |request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        graceful.watch(connection)
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Response {
        let path = request.uri().path().to_owned();
        let handled = self.router.clone().oneshot(request.map(Body::new));
        let guarded = AssertUnwindSafe(handled).catch_unwind();
        match tokio::time::timeout(self.request_timeout, guarded).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => {
                error!(path, panic = panic_text(&*panic), "request handler panicked");
                let text = "internal error, see the log";
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
            Err(_) => {
                let text = "request timed out";
                (StatusCode::GATEWAY_TIMEOUT, text).into_response()
            }
        }
    }
}

/// An open connection, counted while it lives.
struct Open {
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn count(slot: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("millrace_http_connections").increment(1.0);
        Self { _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("millrace_http_connections").decrement(1.0);
    }
}
