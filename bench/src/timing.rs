//! Runs of one query, summed up.

use serde::Serialize;

/// What runs of one query took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timing {
    /// How many.
    pub runs: usize,
    /// Median from request to whole answer.
    pub p50_ms: f64,
    /// The time one in twenty took longer than.
    pub p95_ms: f64,
    /// CPU of the answering process, mean of the runs; 0 where it is unknown.
    pub cpu_ms: f64,
    /// By the answering process's own count, mean of the runs; 0 where it is unknown.
    pub bytes_read: u64,
    /// Megabytes of the corpus for each CPU second.
    pub raw_mb_per_cpu_s: f64,
}

impl Timing {
    /// Sums up runs over a corpus of `raw_bytes`; CPU and bytes are those of all runs.
    pub fn of(mut times_ms: Vec<f64>, cpu_ms: f64, bytes_read: u64, raw_bytes: u64) -> Self {
        times_ms.sort_by(f64::total_cmp);
        let runs = times_ms.len();
        let at = |share: f64| {
            let place = (runs as f64 * share).ceil() as usize;
            times_ms.get(place.saturating_sub(1)).copied().unwrap_or_default()
        };
        let cpu_ms = cpu_ms / runs.max(1) as f64;
        Self {
            runs,
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            cpu_ms,
            bytes_read: bytes_read / runs.max(1) as u64,
            raw_mb_per_cpu_s: if 0.0 < cpu_ms { raw_bytes as f64 / 1e3 / cpu_ms } else { 0.0 },
        }
    }

    /// For a table: median, 95th percentile, CPU, and kilobytes read.
    pub fn cells(&self) -> String {
        let Self { p50_ms, p95_ms, cpu_ms, bytes_read, .. } = self;
        format!("{p50_ms:.1} {p95_ms:.1} {cpu_ms:.1}, {}", bytes_read / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let timing = Timing::of((1..=20).rev().map(f64::from).collect(), 40.0, 2_000, 1_000_000);
        assert_eq!((timing.p50_ms, timing.p95_ms, timing.runs), (10.0, 19.0, 20));
        assert_eq!((timing.cpu_ms, timing.bytes_read), (2.0, 100));
        assert_eq!(timing.raw_mb_per_cpu_s, 500.0);
        let one = Timing::of(vec![3.0], 0.0, 0, 1);
        assert_eq!((one.p50_ms, one.p95_ms), (3.0, 3.0));
    }
}
