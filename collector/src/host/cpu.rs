//! `/proc/stat` and `/proc/loadavg`; fields as in proc(5).

use std::io;
use std::path::Path;

use super::{Reading, text};

/// Columns of a `cpu` line, in order. `guest` times are part of `user` and `nice` and left out,
/// as in node_exporter's `node_cpu_seconds_total`.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

pub(super) fn read(proc: &Path, reading: &mut Reading) -> io::Result<()> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    for line in text(proc, "stat")?.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let number = |word: Option<&str>| word.and_then(|w| w.parse::<f64>().ok());
        match name.strip_prefix("cpu") {
            Some(cpu) if !cpu.is_empty() => {
                for (mode, value) in MODES.iter().zip(words) {
                    let Some(value) = number(Some(value)) else { continue };
                    let labels = [("cpu", cpu), ("mode", mode)];
                    let help = "Seconds the CPUs spent in each mode.";
                    reading.counter("node_cpu_seconds_total", help, &labels, value / ticks);
                }
            }
            Some(_) => {}
            None => system(name, number(words.next()), reading),
        }
    }
    load(proc, reading)
}

fn system(name: &str, value: Option<f64>, reading: &mut Reading) {
    let Some(value) = value else { return };
    match name {
        "btime" => reading.gauge("node_boot_time_seconds", "Time of the last boot.", &[], value),
        "ctxt" => {
            let help = "Context switches.";
            reading.counter("node_context_switches_total", help, &[], value);
        }
        "intr" => reading.counter("node_intr_total", "Interrupts serviced.", &[], value),
        "processes" => reading.counter("node_forks_total", "Processes started.", &[], value),
        "procs_running" => {
            let help = "Processes that can run.";
            reading.gauge("node_procs_running", help, &[], value);
        }
        "procs_blocked" => {
            let help = "Processes that wait for I/O.";
            reading.gauge("node_procs_blocked", help, &[], value);
        }
        _ => {}
    }
}

fn load(proc: &Path, reading: &mut Reading) -> io::Result<()> {
    let load = text(proc, "loadavg")?;
    let names = [
        ("node_load1", "Load average of 1 minute."),
        ("node_load5", "Load average of 5 minutes."),
        ("node_load15", "Load average of 15 minutes."),
    ];
    for ((name, help), word) in names.into_iter().zip(load.split_ascii_whitespace()) {
        if let Ok(value) = word.parse() {
            reading.gauge(name, help, &[], value);
        }
    }
    Ok(())
}
