//! What is committed is what people wrote: nothing fetched, built or measured by accident.

use std::process::Command;

use crate::repository;

/// Most bytes of one file; the largest there is, `Cargo.lock`, has half of it.
const FILE_BYTES_MAX: u64 = 256 << 10;

#[test]
fn no_committed_file_is_large() {
    let root = repository();
    let listed = Command::new("git").arg("ls-files").arg("-z").current_dir(&root).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&str> = names.split_terminator('\0').collect();
    assert!(files.contains(&"Cargo.lock"), "git lists other files than the repository's");
    for name in files {
        // One that was deleted and is still listed has no size.
        let bytes = std::fs::metadata(root.join(name)).map_or(0, |file| file.len());
        assert!(bytes <= FILE_BYTES_MAX, "{name} has {bytes} bytes: was it meant to be committed?");
    }
}
