//! What the HTTP layer promises to those who ask and those who answer.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "a test joins each task itself")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use runtime::admin::{self, AdminState, Readiness};
use runtime::http::{
    Client, ClientError, ClientOptions, HttpSection, Outgoing, ServeError, bind, serve,
};
use runtime::telemetry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Running {
    address: String,
    token: CancellationToken,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn start(router: Router, limits: HttpSection) -> Self {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let token = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, limits, token.clone()));
        Self { address, token, server }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn stop(self) {
        self.token.cancel();
        self.server.await.unwrap().unwrap();
    }
}

fn echo() -> Router {
    Router::new()
        .route("/echo", post(async |body: Bytes| body))
        .route("/hello", get(async || "hello"))
        .route("/large", get(async || vec![b'x'; 100_000]))
        .route("/hang", get(std::future::pending::<&'static str>))
        .route("/panic", get(async || -> &'static str { panic!("odd request") }))
}

#[tokio::test]
async fn a_body_comes_back_and_a_large_one_is_refused() {
    let limits = HttpSection { body_bytes_max: 2_000, ..HttpSection::default() };
    let running = Running::start(echo(), limits).await;
    let client = Client::default();
    let url = running.url("/echo");
    let answer = client.post(&url, "text/plain", vec![b'a'; 2_000]).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 2_000));
    let answer = client.post(&url, "text/plain", vec![b'a'; 2_001]).await.unwrap();
    assert_eq!(answer.status.as_u16(), 413);
    running.stop().await;
}

#[tokio::test]
async fn a_large_body_of_unknown_length_is_refused_too() {
    let limits = HttpSection { body_bytes_max: 2_000, ..HttpSection::default() };
    let running = Running::start(echo(), limits).await;
    let mut stream = TcpStream::connect(&running.address).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("3e8\r\n{}\r\n", "a".repeat(1_000));
    for _ in 0..3 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 413");
    running.stop().await;
}

#[tokio::test]
async fn a_panic_answers_500_and_the_server_goes_on() {
    let running = Running::start(echo(), HttpSection::default()).await;
    let client = Client::default();
    let answer = client.get(&running.url("/panic")).await.unwrap();
    assert_eq!(answer.status.as_u16(), 500);
    let answer = client.get(&running.url("/hello")).await.unwrap();
    assert_eq!(answer.text(), "hello");
    running.stop().await;
}

#[tokio::test]
async fn a_handler_that_hangs_answers_504() {
    let limits = HttpSection { request_timeout_secs: 1, ..HttpSection::default() };
    let running = Running::start(echo(), limits).await;
    let answer = Client::default().get(&running.url("/hang")).await.unwrap();
    assert_eq!(answer.status.as_u16(), 504);
    running.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_their_turn() {
    let limits = HttpSection { connections_max: 1, ..HttpSection::default() };
    let running = Running::start(echo(), limits).await;
    let first = TcpStream::connect(&running.address).await.unwrap();
    let url = running.url("/hello");
    let client = Client::default();
    let early = client.send(Outgoing::get(&url).deadline(Duration::from_millis(200))).await;
    assert!(matches!(early, Err(ClientError::Deadline { .. })), "{early:?}");
    drop(first);
    assert_eq!(client.get(&url).await.unwrap().text(), "hello");
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_dropped() {
    let limits = HttpSection { header_timeout_secs: 1, ..HttpSection::default() };
    let running = Running::start(echo(), limits).await;
    let mut slow = TcpStream::connect(&running.address).await.unwrap();
    slow.write_all(b"GET /hello HTTP/1.1\r\n").await.unwrap();
    let mut idle = TcpStream::connect(&running.address).await.unwrap();
    let mut rest = Vec::new();
    let dropped = async {
        slow.read_to_end(&mut rest).await.ok();
        idle.read_to_end(&mut rest).await.ok();
    };
    tokio::time::timeout(Duration::from_secs(20), dropped).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn stopping_lets_open_requests_finish() {
    let entered = Arc::new(Notify::new());
    let release = Arc::new(Notify::new());
    let router = {
        let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
        Router::new().route(
            "/slow",
            get(async move || {
                entered.notify_one();
                release.notified().await;
                "done"
            }),
        )
    };
    let running = Running::start(router, HttpSection::default()).await;
    let url = running.url("/slow");
    let asking = tokio::spawn(async move { Client::default().get(&url).await });
    entered.notified().await;
    running.token.cancel();
    // Refused once the listener is gone.
    while TcpStream::connect(&running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.notify_one();
    assert_eq!(asking.await.unwrap().unwrap().text(), "done");
    running.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let limits = HttpSection { drain_timeout_secs: 0, ..HttpSection::default() };
    let running = Running::start(echo(), limits).await;
    let url = running.url("/hang");
    let asking = tokio::spawn(async move { Client::default().get(&url).await });
    let mut idle = TcpStream::connect(&running.address).await.unwrap();
    running.stop().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.ok();
    assert!(asking.await.unwrap().is_err());
}

#[tokio::test]
async fn the_client_says_what_went_wrong() {
    let running = Running::start(echo(), HttpSection::default()).await;
    let client = Client::new(ClientOptions {
        deadline: Duration::from_millis(300),
        response_bytes_max: 50_000,
        ..ClientOptions::default()
    });
    let slow = client.get(&running.url("/hang")).await.unwrap_err();
    assert!(matches!(slow, ClientError::Deadline { .. }) && slow.retryable());
    let large = client.get(&running.url("/large")).await.unwrap_err();
    assert_eq!(
        large.to_string(),
        format!("answer of `{}` is larger than 50000 bytes", running.url("/large"))
    );
    assert!(!large.retryable());
    for url in ["no url", "host:80/x", "https://x/", "/path"] {
        let bad = client.get(url).await.unwrap_err();
        assert!(matches!(bad, ClientError::BadUrl { .. }), "{url}: {bad}");
    }
    let url = running.url("/hello");
    running.stop().await;
    let refused = Client::default().get(&url).await.unwrap_err();
    assert!(matches!(refused, ClientError::Connect { .. }), "{refused}");
    assert!(refused.to_string().contains("refused"), "{refused}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = bind(&address).await.unwrap_err();
    assert_eq!(error.to_string(), format!("listen on `{address}`"));
}

#[tokio::test]
async fn operators_see_readiness_metrics_and_configuration() {
    let ready = Readiness::new();
    let queue = ready.part("queue", "not connected");
    let state =
        AdminState { ready, metrics: telemetry::install(&[]), config: Arc::from("data_dir: x\n") };
    let running = Running::start(admin::router(state), HttpSection::default()).await;
    let client = Client::default();
    let get = async |path: &str| client.get(&running.url(path)).await.unwrap();
    let answer = get("/ready").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, "queue: not connected\n"));
    queue.ready();
    let answer = get("/ready").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "ready\n"));
    assert_eq!(get("/health").await.status.as_u16(), 200);
    assert_eq!(get("/config").await.text(), "data_dir: x\n");
    assert_eq!(get("/nowhere").await.status.as_u16(), 404);
    let metrics = get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = metrics.text();
    let counted = "millrace_http_requests_total{route=\"/ready\",method=\"GET\",status=\"503\"} 1";
    assert!(text.contains(counted), "{text}");
    assert!(text.contains("route=\"unmatched\""), "{text}");
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    running.stop().await;
}
