//! Servers of the tests that start at the same time do not take each other's ports.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::repository;

/// Ports each of the processes below asks for: so many that chance would give some twice.
const PORTS: usize = 150;

#[test]
fn no_port_is_given_twice() {
    let cache = tempfile::tempdir().unwrap();
    let script =
        format!("tool=test; . .ci/servers.sh; for _ in $(seq {PORTS}); do free_port; done");
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let mut bash = Command::new("bash");
            bash.args(["-c", &script]).env("MILLRACE_TEST_CACHE", cache.path());
            bash.current_dir(repository()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut given = BTreeSet::new();
    for process in asking {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        for port in String::from_utf8(output.stdout).unwrap().lines() {
            assert!(given.insert(port.parse::<u16>().unwrap()), "{port} was given twice");
        }
    }
    assert_eq!(given.len(), 3 * PORTS);
}
