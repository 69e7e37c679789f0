//! A real Apache Kafka broker with data of its own.

use std::path::{Path, PathBuf};

use super::script;

/// A broker; stopped when dropped, unless it is the user's own.
#[derive(Debug)]
pub struct Kafka {
    folder: Option<PathBuf>,
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
}

impl Kafka {
    /// The brokers of `KAFKA_BOOTSTRAP_SERVERS`, or a new one with its data in `folder`.
    ///
    /// # Errors
    /// When the broker cannot be fetched or started.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let variable = "KAFKA_BOOTSTRAP_SERVERS";
        if let Ok(bootstrap_servers) = std::env::var(variable) {
            return Ok(Self { folder: None, bootstrap_servers });
        }
        let bootstrap_servers = script::run("kafka", "start", folder)?.take(variable)?;
        Ok(Self { folder: Some(folder.to_owned()), bootstrap_servers })
    }

    /// Stops the broker; `false` where it is the user's own and goes on.
    ///
    /// # Errors
    /// When the script fails.
    pub fn stop(&self) -> anyhow::Result<bool> {
        let Some(folder) = &self.folder else { return Ok(false) };
        script::run("kafka", "stop", folder)?;
        Ok(true)
    }

    /// Starts a stopped broker on the same data and address.
    ///
    /// # Errors
    /// When the script fails.
    pub fn start_again(&self) -> anyhow::Result<()> {
        if let Some(folder) = &self.folder {
            script::run("kafka", "start", folder)?;
        }
        Ok(())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // Nothing can be done about a failure here; the folder goes with the test.
            drop(script::run("kafka", "stop", folder));
        }
    }
}
