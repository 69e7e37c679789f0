//! The `store` section of the configuration.

use std::path::{Path, PathBuf};

use runtime::config::{Problem, Secret, Validate};
use serde::{Deserialize, Serialize};

/// Where segments and the catalog are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StoreSection {
    /// A folder on this machine's disk.
    Local(LocalSection),
    /// Amazon S3 or anything that speaks it with atomic conditional puts.
    S3(S3Section),
    /// Google Cloud Storage.
    Gcs(GcsSection),
    /// Azure Blob Storage.
    Azure(AzureSection),
    /// This process's memory; gone with it. For tests and trials.
    Memory,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalSection {
    /// Relative paths are below `data_dir`.
    pub path: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Section {
    pub bucket: String,
    /// Put before every object name, without slashes at its ends.
    #[serde(default)]
    pub prefix: String,
    /// Base URL of an S3-compatible server; AWS by region when absent.
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    /// Both or neither; without them `AWS_*` variables, web identity or instance metadata.
    #[serde(default)]
    pub access_key_id: Option<String>,
    #[serde(default)]
    pub secret_access_key: Option<Secret>,
    /// `endpoint/bucket/name` instead of `bucket.endpoint/name`.
    #[serde(default = "enabled")]
    pub path_style: bool,
    #[serde(default)]
    pub retry: RetrySection,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcsSection {
    pub bucket: String,
    #[serde(default)]
    pub prefix: String,
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Key file; without it `GOOGLE_*` variables or instance metadata.
    #[serde(default)]
    pub service_account_path: Option<PathBuf>,
    #[serde(default)]
    pub retry: RetrySection,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureSection {
    pub account: String,
    pub container: String,
    #[serde(default)]
    pub prefix: String,
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Without it `AZURE_*` variables or managed identity.
    #[serde(default)]
    pub access_key: Option<Secret>,
    #[serde(default)]
    pub retry: RetrySection,
}

/// How long a request to a remote store may take, its retries included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// Further attempts after the first. Callers have their own loops above this one, so more
    /// only delays the moment they learn that the store is away.
    pub retries_max: usize,
    /// No attempt starts later than this after the first.
    pub timeout_secs: u64,
    pub connect_timeout_secs: u64,
    /// For one attempt, its body included: a 200 MB upload needs 60 Mbit/s to fit in 30 s.
    pub request_timeout_secs: u64,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self::Local(LocalSection::default())
    }
}

impl Default for LocalSection {
    fn default() -> Self {
        Self { path: PathBuf::from("store") }
    }
}

impl Default for RetrySection {
    fn default() -> Self {
        Self { retries_max: 3, timeout_secs: 20, connect_timeout_secs: 5, request_timeout_secs: 30 }
    }
}

impl StoreSection {
    /// What the store is, for errors and logs: bucket and endpoint, or folder.
    pub fn target(&self, data_dir: &Path) -> String {
        let bucket = |kind: &str, name: &str, prefix: &str, endpoint: &Option<String>| {
            let slash = if prefix.is_empty() { "" } else { "/" };
            let at = endpoint.as_ref().map_or(String::new(), |url| format!(" at {url}"));
            format!("{kind} `{name}{slash}{prefix}`{at}")
        };
        match self {
            Self::Local(local) => format!("folder `{}`", data_dir.join(&local.path).display()),
            Self::S3(s3) => bucket("S3 bucket", &s3.bucket, &s3.prefix, &s3.endpoint),
            Self::Gcs(gcs) => bucket("GCS bucket", &gcs.bucket, &gcs.prefix, &gcs.endpoint),
            Self::Azure(azure) => {
                let name = format!("{}/{}", azure.account, azure.container);
                bucket("Azure container", &name, &azure.prefix, &azure.endpoint)
            }
            Self::Memory => "memory".to_owned(),
        }
    }
}

impl Validate for StoreSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut found = Problems { prefix, list: Vec::new() };
        match self {
            Self::Local(local) => {
                if local.path.as_os_str().is_empty() {
                    found.add("path", "must not be empty");
                }
            }
            Self::Memory => {}
            Self::S3(s3) => {
                found.required("bucket", &s3.bucket);
                found.bucket_common(&s3.prefix, s3.endpoint.as_deref(), &s3.retry);
                if s3.access_key_id.is_some() != s3.secret_access_key.is_some() {
                    found
                        .add("access_key_id", "needs `secret_access_key`, and the other way round");
                }
            }
            Self::Gcs(gcs) => {
                found.required("bucket", &gcs.bucket);
                found.bucket_common(&gcs.prefix, gcs.endpoint.as_deref(), &gcs.retry);
            }
            Self::Azure(azure) => {
                found.required("account", &azure.account);
                found.required("container", &azure.container);
                found.bucket_common(&azure.prefix, azure.endpoint.as_deref(), &azure.retry);
            }
        }
        found.list
    }
}

struct Problems<'a> {
    prefix: &'a str,
    list: Vec<Problem>,
}

impl Problems<'_> {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.list.push(Problem::new(self.prefix, key, message));
    }

    fn required(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            self.add(key, "must not be empty");
        }
    }

    fn bucket_common(&mut self, prefix: &str, endpoint: Option<&str>, retry: &RetrySection) {
        if object_store::path::Path::parse(prefix).is_err() || prefix.ends_with('/') {
            self.add("prefix", format!("`{prefix}` is not a path like `a/b`"));
        }
        if let Some(url) = endpoint
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            self.add("endpoint", format!("`{url}` must start with `https://` or `http://`"));
        }
        for (key, secs) in [
            ("retry.timeout_secs", retry.timeout_secs),
            ("retry.connect_timeout_secs", retry.connect_timeout_secs),
            ("retry.request_timeout_secs", retry.request_timeout_secs),
        ] {
            if !(1..=600).contains(&secs) {
                self.add(key, format!("must be 1 to 600 seconds, is {secs}"));
            }
        }
        if 10 < retry.retries_max {
            self.add("retry.retries_max", format!("must be 0 to 10, is {}", retry.retries_max));
        }
    }
}

fn enabled() -> bool {
    true
}
