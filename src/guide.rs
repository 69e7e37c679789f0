//! What a person who started Millrace sees: what it reads, where it answers, what to try.

use std::io::{self, Write};
use std::path::Path;

use crate::config::{Config, FileConfig};

/// Where client commands look by themselves.
const DEFAULT_URL: &str = "http://127.0.0.1:3100";

/// Prints the guide. A closed standard output is no reason not to run.
pub(crate) fn print(config: &Config, url: &str) -> anyhow::Result<()> {
    let program = std::env::args().next().unwrap_or_else(|| "millrace".to_owned());
    let text = guide(&config.file, url, &program);
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn guide(file: &FileConfig, url: &str, program: &str) -> String {
    let at = if url == DEFAULT_URL { String::new() } else { format!(" --addr {url}") };
    let reads = inputs(file).join("\n           ");
    let data_dir = file.data_dir.display();
    format!(
        "Millrace {version} is running. Ctrl-C stops it and loses nothing.\n\
         \n\
         \x20 reads    {reads}\n\
         \x20 keeps    {data_dir}\n\
         \x20 answers  {url}\n\
         \n\
         Try, in another terminal:\n\
         \x20 {program} query '{{job=~\".+\"}} |= \"error\"' --since 1h{at}\n\
         \x20 {program} tail '{{job=\"millrace\"}}'{at}\n\
         \x20 curl -s '{url}/api/v1/query?query=node_load1'\n\
         In Grafana, {url} is both a Loki and a Prometheus data source.\n\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// Says what is read, one line each.
fn inputs(file: &FileConfig) -> Vec<String> {
    let tail = &file.collector.tail;
    let mut inputs = Vec::new();
    if !tail.files.is_empty() {
        inputs.push(tail.files.join(", "));
    }
    if is_folder(&tail.pods) {
        inputs.push(format!("{} (Kubernetes pods)", tail.pods.display()));
    }
    if !tail.own_log.as_os_str().is_empty() {
        inputs.push(format!("{} (its own log)", tail.own_log.display()));
    }
    if file.collector.host.enabled {
        inputs.push("this machine's CPU, memory, disks, filesystems and network".to_owned());
    }
    if file.collector.scrape.own {
        inputs.push("its own /metrics".to_owned());
    }
    for target in &file.collector.scrape.targets {
        inputs.push(target.url.clone());
    }
    if file.collector.push.enabled {
        inputs.push("what is pushed to /loki/api/v1/push".to_owned());
    }
    inputs
}

fn is_folder(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_can_be_copied_line_by_line() {
        let text = guide(&FileConfig::default(), "http://127.0.0.1:7", "target/millrace");
        let tries: Vec<&str> =
            text.lines().filter(|line| line.contains("target/millrace")).collect();
        assert_eq!(
            tries,
            [
                "  target/millrace query '{job=~\".+\"} |= \"error\"' --since 1h --addr http://127.0.0.1:7",
                "  target/millrace tail '{job=\"millrace\"}' --addr http://127.0.0.1:7",
            ]
        );
        assert!(text.contains("  answers  http://127.0.0.1:7\n"), "{text}");
        let default = guide(&FileConfig::default(), DEFAULT_URL, "millrace");
        assert!(!default.contains("--addr"), "{default}");
    }
}
