//! `/proc/diskstats`; columns as in the kernel's `Documentation/admin-guide/iostats.rst`.

use std::io;
use std::path::Path;

use super::{Reading, text};

/// The kernel counts sectors of this size whatever the device's.
const SECTOR_BYTES: f64 = 512.0;

pub(super) fn read(proc: &Path, reading: &mut Reading) -> io::Result<()> {
    for line in text(proc, "diskstats")?.lines() {
        let mut words = line.split_ascii_whitespace().skip(2);
        let Some(device) = words.next() else { continue };
        // Devices that only mirror others or memory.
        if ["ram", "loop", "zram"].iter().any(|prefix| device.starts_with(prefix)) {
            continue;
        }
        let fields: Vec<f64> = words.map(|w| w.parse().unwrap_or(0.0)).collect();
        push(device, &fields, reading);
    }
    Ok(())
}

fn push(device: &str, fields: &[f64], reading: &mut Reading) {
    /// Column, name, help, factor.
    const COUNTERS: [(usize, &str, &str, f64); 9] = [
        (0, "node_disk_reads_completed_total", "Reads completed.", 1.0),
        (2, "node_disk_read_bytes_total", "Bytes read.", SECTOR_BYTES),
        (3, "node_disk_read_time_seconds_total", "Seconds spent by all reads.", 1e-3),
        (4, "node_disk_writes_completed_total", "Writes completed.", 1.0),
        (6, "node_disk_written_bytes_total", "Bytes written.", SECTOR_BYTES),
        (7, "node_disk_write_time_seconds_total", "Seconds spent by all writes.", 1e-3),
        (9, "node_disk_io_time_seconds_total", "Seconds spent doing I/O.", 1e-3),
        (10, "node_disk_io_time_weighted_seconds_total", "Weighted seconds of I/O.", 1e-3),
        (1, "node_disk_reads_merged_total", "Reads merged.", 1.0),
    ];
    let labels = [("device", device)];
    for (column, name, help, factor) in COUNTERS {
        if let Some(value) = fields.get(column) {
            reading.counter(name, help, &labels, value * factor);
        }
    }
    if let Some(value) = fields.get(8) {
        reading.gauge("node_disk_io_now", "I/O operations under way.", &labels, *value);
    }
}
