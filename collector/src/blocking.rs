//! Work that may block, or takes long, away from the reactor.

/// Runs `work` where blocking is allowed; a panic in it goes on here.
///
/// Dropping this call does not stop the work.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is going away; so is this task.
        Err(_) => std::future::pending().await,
    }
}
