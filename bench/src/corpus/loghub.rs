//! Real log lines in any number: the twelve files of loghub with their digits varied.
//!
//! Where that folder is missing, a small corpus of our own stands in, so that every test runs
//! everywhere. The same seed gives the same lines.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use fastrand::Rng;

/// Environment variable that names the folder of log files.
pub const FOLDER_VARIABLE: &str = "MILLRACE_LOGHUB";

/// One kind of log.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name of the program, lower case, fit for a namespace.
    pub name: String,
    /// Lines without line ends.
    pub lines: Vec<String>,
}

/// The sources of the corpus, in order of their names.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// At least one, each with at least one line.
    pub sources: Vec<Source>,
    /// Where the lines come from, for reports.
    pub origin: String,
}

impl Corpus {
    /// The log files of `MILLRACE_LOGHUB`, else of `../shared/data/loghub` beside the
    /// repository, else the built-in lines.
    ///
    /// # Errors
    /// When a folder is there but cannot be read.
    pub fn load() -> anyhow::Result<Self> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/loghub");
        let folder = std::env::var_os(FOLDER_VARIABLE).map_or(beside, PathBuf::from);
        if !folder.is_dir() {
            return Ok(Self { sources: built_in(), origin: "built in".to_owned() });
        }
        let mut sources = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {folder:?}"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "log") {
                continue;
            }
            let bytes = std::fs::read(&path).with_context(|| format!("read {path:?}"))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
            let text = String::from_utf8_lossy(&bytes);
            sources.push(Source { name, lines: text.lines().map(str::to_owned).collect() });
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        ensure!(!sources.is_empty(), "no .log files in {folder:?}");
        Ok(Self { sources, origin: "loghub".to_owned() })
    }
}

impl Source {
    /// Line number `n` of an endless log: the lines in turn, their digits varied from the
    /// second round on.
    pub fn line(&self, n: usize, rng: &mut Rng) -> String {
        let line = &self.lines[n % self.lines.len()];
        if n < self.lines.len() {
            return line.clone();
        }
        line.chars().map(|c| if c.is_ascii_digit() { rng.digit(10) } else { c }).collect()
    }
}

fn built_in() -> Vec<Source> {
    let shapes: [(&str, &[&str]); 12] = [
        ("android", &["1702 D PowerManagerService: release lock 0x3f2a91, flags 1, tag view:wake"]),
        (
            "apache",
            &["[error] [client 10.3.0.7] directory index forbidden by rule: /var/www/html/"],
        ),
        ("bgl", &["R02-M1-N0 RAS KERNEL INFO 63543 double hummer alignment exceptions"]),
        ("hadoop", &["INFO [main] org.example.MRAppMaster: Executing with tokens: 1445087491445"]),
        (
            "hdfs",
            &["INFO dfs.DataNode: Receiving block blk_-1608999687919862906 src: /10.2.9.1:54106"],
        ),
        ("healthapp", &["step_counter|30002312|calculateAltitude total=240 altitude=12.5"]),
        ("linux", &["combo sshd(pam_unix)[19939]: authentication failure; rhost=218.188.2.4"]),
        (
            "openssh",
            &["sshd[24200]: Failed password for invalid user admin from 52.80.34.196 port 36060"],
        ),
        (
            "openstack",
            &[
                "nova.api GET /v2/54fadb41/servers/detail HTTP/1.1 status: 200 len: 1893 time: 0.2477",
            ],
        ),
        (
            "proxifier",
            &["chrome.exe - proxy.example:5070 close, 1190 bytes sent, 1671 bytes received"],
        ),
        (
            "windows",
            &["CBS Loaded servicing stack v6.1.7601.23505 with core: cbscore.dll, Übersicht"],
        ),
        (
            "zookeeper",
            &["WARN [QuorumPeer@762] - Connection broken for id 188978561024, my id = 1"],
        ),
    ];
    let source = |(name, lines): (&str, &[&str])| {
        let common = [
            "level=error msg=\"request failed\" trace_id=4bf92f3577b34da6a3ce929d0e0e4736 status=502",
            "{\"level\":\"info\",\"msg\":\"request\",\"path\":\"/api/v1/items\",\"ms\":17}",
            "",
        ];
        let lines = lines.iter().chain(&common).map(|l| (*l).to_owned()).collect();
        Source { name: name.to_owned(), lines }
    };
    shapes.into_iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_lines() {
        let corpus = Corpus::load().unwrap();
        assert_eq!(corpus.sources.len(), 12);
        let source = &corpus.sources[3];
        let n = source.lines.len() * 2 + 1;
        let line = |seed| source.line(n, &mut Rng::with_seed(seed));
        assert_eq!(line(1), line(1));
        assert_eq!(line(1).len(), source.lines[1].len());
    }
}
