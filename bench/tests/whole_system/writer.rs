//! Writes the corpus as pod logs and remembers every line.

use std::collections::BTreeMap;
use std::path::Path;

use bench::corpus::Corpus;
use bench::oracle::{StreamKey, Written};
use bench::podlog::{Output, PodLog};
use fastrand::Rng;

/// Small enough that a million lines rotate every pod's file several times.
const ROTATE_BYTES: u64 = 4 << 20;

/// One pod for each source of the corpus.
pub(crate) struct Writer {
    corpus: Corpus,
    pods: Vec<PodLog>,
    next_line: Vec<usize>,
    rng: Rng,
    pub(crate) written: Written,
    pub(crate) start_ns: i64,
}

impl Writer {
    pub(crate) fn new(root: &Path, start_ns: i64, seed: u64) -> Self {
        let corpus = Corpus::load().unwrap();
        let mut rng = Rng::with_seed(seed);
        let mut pods = Vec::new();
        for source in &corpus.sources {
            let pod = format!("{}-0", source.name);
            let log = PodLog::create(root, &source.name, &pod, start_ns, ROTATE_BYTES, rng.fork());
            pods.push(log.unwrap());
        }
        let next_line = vec![0; pods.len()];
        Self {
            corpus,
            pods,
            next_line,
            rng,
            written: Written { streams: BTreeMap::new() },
            start_ns,
        }
    }

    /// Writes `lines` more lines over all pods, three in four to stdout.
    pub(crate) fn write(&mut self, lines: usize) {
        for _ in 0..lines {
            let at = self.rng.usize(..self.pods.len());
            let source = &self.corpus.sources[at];
            let line = source.line(self.next_line[at], &mut self.rng);
            self.next_line[at] += 1;
            let output = if self.rng.u8(..4) == 0 { Output::Stderr } else { Output::Stdout };
            let time = self.pods[at].write(output, &line).unwrap();
            let key = StreamKey {
                namespace: source.name.clone(),
                pod: format!("{}-0", source.name),
                output,
            };
            self.written.streams.entry(key).or_default().push((time, line));
        }
    }

    /// Completes records whose last piece is still owed.
    pub(crate) fn finish(&mut self) {
        for pod in &mut self.pods {
            pod.finish().unwrap();
        }
    }

    /// A range of time that holds every line: a million lines advance a pod by about 90 s.
    pub(crate) fn range(&self) -> (i64, i64) {
        let last = self.written.streams.values().filter_map(|e| e.last()).map(|(t, _)| *t).max();
        (self.start_ns, last.unwrap_or(self.start_ns) + 1)
    }
}
