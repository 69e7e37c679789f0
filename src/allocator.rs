//! The allocator of the whole process, C libraries included: jemalloc, which keeps less of what was
//! freed than glibc's and asks the system less often (docs/decisions/0006).

/// Its options are compiled in by `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc;
    use std::time::Duration;

    /// More than everything else a test process holds.
    const HELD_BYTES: u64 = 256 << 20;

    /// Small enough to come from the thread's own arena, as the pieces of a segment do.
    const PIECE_BYTES: usize = 64 << 10;

    const LOOK_EVERY: Duration = Duration::from_millis(100);

    /// A minute: options say three seconds, and a busy machine takes longer.
    const LOOKS_MAX: usize = 600;

    /// Memory of this process that is in RAM and not of a file.
    fn anonymous_bytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    #[test]
    fn what_a_thread_freed_goes_back_to_the_system_while_it_waits() {
        let (freed, was_freed) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::sync_channel::<()>(1);
        let thread = std::thread::spawn(move || {
            let pieces = HELD_BYTES as usize / PIECE_BYTES;
            let held: Vec<Vec<u8>> = (0..pieces).map(|_| vec![1; PIECE_BYTES]).collect();
            let most = anonymous_bytes();
            drop(held);
            freed.send(most).unwrap();
            // Waits as a thread of a pool does, without another allocation.
            ended.recv().unwrap();
        });
        let most = was_freed.recv().unwrap();
        assert!(HELD_BYTES <= most, "{most} bytes in memory");
        let given_back = (0..LOOKS_MAX).any(|_| {
            std::thread::sleep(LOOK_EVERY);
            anonymous_bytes() <= most - HELD_BYTES / 2
        });
        assert!(given_back, "{} of {most} bytes kept", anonymous_bytes());
        end.send(()).unwrap();
        thread.join().unwrap();
    }
}
