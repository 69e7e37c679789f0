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
        if std::env::var_os("MILLRACE_TEST_S3_ENDPOINT").is_some() {
            return Self::from(None, |name| {
                std::env::var(name).with_context(|| format!("{name} is not set"))
            });
        }
        let mut printed = script::run("s3", "start", folder)?;
        Self::from(Some(folder.to_owned()), |name| printed.take(name))
    }

    fn from(
        folder: Option<PathBuf>,
        mut variable: impl FnMut(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            folder,
            endpoint: variable("MILLRACE_TEST_S3_ENDPOINT")?,
            access_key: variable("MILLRACE_TEST_S3_ACCESS_KEY")?,
            secret_key: variable("MILLRACE_TEST_S3_SECRET_KEY")?,
            bucket: variable("MILLRACE_TEST_S3_BUCKET")?,
        })
    }
}

impl S3 {
    /// Stops the server; `false` where it is the user's own and goes on.
    ///
    /// # Errors
    /// When the script fails.
    pub fn stop(&self) -> anyhow::Result<bool> {
        let Some(folder) = &self.folder else { return Ok(false) };
        script::run("s3", "stop", folder)?;
        Ok(true)
    }

    /// Starts a stopped server on the same data and address.
    ///
    /// # Errors
    /// When the script fails.
    pub fn start_again(&self) -> anyhow::Result<()> {
        if let Some(folder) = &self.folder {
            script::run("s3", "start", folder)?;
        }
        Ok(())
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            drop(script::run("s3", "stop", folder));
        }
    }
}
