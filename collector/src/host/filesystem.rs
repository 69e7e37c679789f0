//! Mounted filesystems of `/proc/1/mounts` (or our own), sized by statvfs(3).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::{HostSection, Reading, text};

/// Filesystems without a disk of their own.
const VIRTUAL: [&str; 26] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.lxcfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

pub(super) fn read(proc: &Path, section: &HostSection, reading: &mut Reading) -> io::Result<()> {
    let mounts = text(proc, "1/mounts").or_else(|_| text(proc, "self/mounts"))?;
    let mut seen = BTreeSet::new();
    for line in mounts.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(device), Some(mount), Some(kind)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        // The root may be an overlay, in a container: it is what the user sees as the disk.
        let hidden = VIRTUAL.contains(&kind) && mount != "/";
        if hidden || !seen.insert(mount.to_owned()) {
            continue;
        }
        let mount = unescape(mount);
        let read_only = words.next().is_some_and(|options| options.split(',').any(|o| o == "ro"));
        let labels = [("device", device), ("fstype", kind), ("mountpoint", mount.as_str())];
        push(&section.root, &mount, read_only, &labels, reading);
    }
    Ok(())
}

fn push(root: &Path, mount: &str, read_only: bool, labels: &[(&str, &str)], reading: &mut Reading) {
    // A mount that went away or is not ours to see says nothing; the others do.
    let Ok(stat) = rustix::fs::statvfs(root.join(mount.trim_start_matches('/'))) else { return };
    let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
    let gauges = [
        ("node_filesystem_size_bytes", "Size in bytes.", bytes(stat.f_blocks)),
        ("node_filesystem_free_bytes", "Free bytes.", bytes(stat.f_bfree)),
        ("node_filesystem_avail_bytes", "Bytes free for all users.", bytes(stat.f_bavail)),
        ("node_filesystem_files", "File nodes.", stat.f_files as f64),
        ("node_filesystem_files_free", "Free file nodes.", stat.f_ffree as f64),
        ("node_filesystem_readonly", "Whether it is read-only.", f64::from(u8::from(read_only))),
    ];
    for (name, help, value) in gauges {
        reading.gauge(name, help, labels, value);
    }
}

/// Spaces and the like are written as three octal digits.
fn unescape(mount: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(mount.to_owned(), |text, (code, plain)| text.replace(code, plain))
}
