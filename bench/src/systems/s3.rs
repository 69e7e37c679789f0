//! A real S3 server with data of its own.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::script;

/// A server and how to log in; stopped when dropped, unless it is the user's own.
#[derive(Debug)]
pub struct S3 {
    folder: Option<PathBuf>,
    /// Base URL.
    pub endpoint: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// A bucket that exists.
    pub bucket: String,
}

impl S3 {
    /// The server of `MILLRACE_TEST_S3_ENDPOINT` (with `_ACCESS_KEY`, `_SECRET_KEY`,
    /// `_BUCKET`), or a new one with its data in `folder`.
    ///
    /// # Errors
    /// When the server cannot be fetched or started, or a variable is missing.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        if let Ok(endpoint) = std::env::var("MILLRACE_TEST_S3_ENDPOINT") {
            let variable = |name: &str| {
                let name = format!("MILLRACE_TEST_S3_{name}");
                std::env::var(&name).with_context(|| format!("{name} is not set"))
            };
            return Ok(Self {
                folder: None,
                endpoint,
                access_key: variable("ACCESS_KEY")?,
                secret_key: variable("SECRET_KEY")?,
                bucket: variable("BUCKET")?,
            });
        }
        Ok(Self {
            endpoint: script::run("s3", "start", folder)?,
            folder: Some(folder.to_owned()),
            access_key: "millrace".to_owned(),
            secret_key: "millrace-secret".to_owned(),
            bucket: "millrace".to_owned(),
        })
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            drop(script::run("s3", "kill", folder));
        }
    }
}
