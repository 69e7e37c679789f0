//! One configuration file for every role.
//!
//! [`FileConfig`] mirrors the file, section by section; [`Config`] is what is left once it has been
//! checked, and the only one the rest of the binary sees. The same file may be given to any role:
//! sections of other roles are checked as well and otherwise left alone.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use collector::CollectorSection;
use indexer::IndexerSection;
use query::QuerySection;
use queue::QueueSection;
use runtime::config::{self, ConfigError, Outline, Problem, Validate};
use runtime::http::HttpSection;
use runtime::telemetry::LogSection;
use segment::store::StoreSection;
use serde::{Deserialize, Serialize};

/// A configuration file as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileConfig {
    /// Folder for everything the process keeps on this machine.
    pub(crate) data_dir: PathBuf,
    pub(crate) http: HttpSection,
    pub(crate) log: LogSection,
    pub(crate) queue: QueueSection,
    pub(crate) store: StoreSection,
    pub(crate) collector: CollectorSection,
    pub(crate) indexer: IndexerSection,
    pub(crate) query: QuerySection,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("millrace-data"),
            http: HttpSection::default(),
            log: LogSection::default(),
            queue: QueueSection::default(),
            store: StoreSection::default(),
            collector: CollectorSection::default(),
            indexer: IndexerSection::default(),
            query: QuerySection::default(),
        }
    }
}

impl Validate for FileConfig {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.data_dir.as_os_str().is_empty() {
            problems.push(Problem::new(prefix, "data_dir", "is empty, name a folder"));
        }
        let sections: [(&str, &dyn Validate); 7] = [
            ("http", &self.http),
            ("log", &self.log),
            ("queue", &self.queue),
            ("store", &self.store),
            ("collector", &self.collector),
            ("indexer", &self.indexer),
            ("query", &self.query),
        ];
        for (name, section) in sections {
            problems.extend(section.problems(&config::join(prefix, name)));
        }
        problems
    }
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listen: Option<String>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) file: FileConfig,
    /// Everything that holds, as YAML, secrets hidden.
    pub(crate) effective: Arc<str>,
    /// Unknown keys that were left out on request.
    pub(crate) ignored_keys: Vec<String>,
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`Invalid`] with everything that is wrong, or why the file cannot be read.
    pub(crate) fn read(
        path: &Path,
        ignore_unknown: bool,
        overrides: &Overrides,
    ) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let raw = fs::read_to_string(path)
            .with_context(|| format!("read configuration file `{name}`"))?;
        let lookup = |variable: &str| std::env::var(variable).ok();
        let text = config::expand_environment(&raw, &name, lookup).map_err(Invalid::one)?;
        let (file, ignored_keys) = if ignore_unknown {
            config::parse_ignoring_unknown(&text, &name).map_err(Invalid::one)?
        } else {
            (config::parse(&text, &name).map_err(Invalid::one)?, Vec::new())
        };
        let outline = Outline::of(&text);
        Self::checked(file, overrides, &name, &outline, ignored_keys)
    }

    /// Returns the configuration of a process without a file.
    ///
    /// # Errors
    /// [`Invalid`] when `overrides` make no sense.
    pub(crate) fn without_file(overrides: &Overrides) -> anyhow::Result<Self> {
        let outline = Outline::default();
        let file = FileConfig::default();
        Self::checked(file, overrides, "command line", &outline, Vec::new())
    }

    /// Replaces the file's content after it was derived from, keeping what is shown in step.
    ///
    /// # Errors
    /// When it cannot be shown.
    pub(crate) fn with_file(self, file: FileConfig) -> anyhow::Result<Self> {
        let effective = render(&file)?;
        Ok(Self { file, effective, ..self })
    }

    fn checked(
        mut file: FileConfig,
        overrides: &Overrides,
        name: &str,
        outline: &Outline,
        ignored_keys: Vec<String>,
    ) -> anyhow::Result<Self> {
        if let Some(data_dir) = &overrides.data_dir {
            file.data_dir.clone_from(data_dir);
        }
        if let Some(listen) = &overrides.listen {
            file.http.listen.clone_from(listen);
        }
        let problems = file.problems("");
        if !problems.is_empty() {
            let located =
                problems.into_iter().map(|problem| problem.locate(name, outline)).collect();
            return Err(Invalid(located).into());
        }
        let effective = render(&file)?;
        Ok(Self { file, effective, ignored_keys })
    }
}

fn render(file: &FileConfig) -> anyhow::Result<Arc<str>> {
    let text = config::render_redacted(file)
        .map_err(|reason| anyhow::anyhow!("show configuration: {reason}"))?;
    Ok(Arc::from(text))
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug)]
pub(crate) struct Invalid(Vec<ConfigError>);

impl Invalid {
    fn one(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if 0 < index {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests;
