//! Where the process's own log lines go.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::log_file::LogFile;
use crate::config::{Problem, Validate, at_least};

/// How the process logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, `trace`, or per module: `info,query=debug`.
    pub level: String,
    /// How lines look, on standard error and in the file.
    pub format: LogFormat,
    /// A file that gets every line as well; none when absent.
    pub file: Option<PathBuf>,
    /// The file is renamed to `<file>.1`, replacing the last one, once it is this large: the log
    /// takes at most twice this.
    pub file_bytes_max: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line of text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
            file: None,
            file_bytes_max: 16 << 20,
        }
    }
}

/// Smallest useful log file: less would rotate away what explains a crash.
const FILE_BYTES_MIN: u64 = 64 << 10;

impl Validate for LogSection {
    fn problems(&self, prefix: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = EnvFilter::from_str(&self.level) {
            let message = format!("`{}` is no log level: {error}", self.level);
            problems.push(Problem::new(prefix, "level", message));
        }
        at_least(&mut problems, prefix, "file_bytes_max", self.file_bytes_max, FILE_BYTES_MIN);
        problems
    }
}

/// Why logging was not set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("`{level}` is no log level")]
    Level { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("open log file `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Sends the process's log lines to standard error and, if configured, to a file.
///
/// Harmless when logging is set up already: the first one stays.
///
/// # Errors
/// When the level makes no sense or the file cannot be opened.
pub fn logging(section: &LogSection) -> Result<(), LoggingError> {
    let filter = EnvFilter::from_str(&section.level)
        .map_err(|source| LoggingError::Level { level: section.level.clone(), source })?;
    let mut layers = vec![layer(section.format, io::stderr, true)];
    if let Some(path) = &section.file {
        let file = LogFile::open(path, section.file_bytes_max)
            .map_err(|source| LoggingError::File { path: path.clone(), source })?;
        layers.push(layer(section.format, file, false));
    }
    // Set up already means a test or an embedding process did it; theirs is as good.
    drop(tracing_subscriber::registry().with(layers).with(filter).try_init());
    Ok(())
}

fn layer<W>(format: LogFormat, writer: W, colour: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let colour = colour && std::io::IsTerminal::is_terminal(&io::stderr());
    match format {
        LogFormat::Text => fmt::layer().with_ansi(colour).with_writer(writer).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_ansi(false).with_writer(writer).boxed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_may_be_set_per_module_but_not_be_nonsense() {
        let mut section =
            LogSection { level: "info,query=debug".to_owned(), ..LogSection::default() };
        assert_eq!(section.problems("log"), []);
        section.level = "info,query=loud".to_owned();
        section.file_bytes_max = 10;
        let keys: Vec<String> =
            section.problems("log").into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["log.level", "log.file_bytes_max"]);
    }
}
