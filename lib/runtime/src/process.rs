//! What this process costs, as the kernel counts it.

use std::fs;

/// Bytes per page as reported in `/proc`.
fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// Returns the bytes of this process that are in memory, or `None` where `/proc` is absent.
pub fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(page_bytes())
}

/// Returns the highest [`resident_bytes`] so far, or `None` where `/proc` is absent.
pub fn resident_bytes_peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns the CPU seconds this process has used, user and system, or `None` without `/proc`.
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = cpu_ticks(&stat)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Returns how many file descriptors are open, or `None` where `/proc` is absent.
pub fn open_files() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    Some(entries.count() as u64)
}

/// Reads utime and stime, fields 14 and 15 of `/proc/self/stat`.
///
/// Field 2, the name, may hold spaces and parentheses, so counting starts behind its last `)`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 900 1 2";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let resident = resident_bytes().expect("/proc is there");
        assert!(1_000_000 < resident, "{resident}");
        assert!(resident <= resident_bytes_peak().expect("/proc is there") + (1 << 20));
        assert!(0.0 <= cpu_seconds().expect("/proc is there"));
        assert!(0 < open_files().expect("/proc is there"));
    }
}
