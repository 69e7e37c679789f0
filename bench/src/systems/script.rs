//! Runs the set-up scripts of `.ci/`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Runs `.ci/<script> <command> <folder>` and returns what it printed.
pub(crate) fn run(script: &str, command: &str, folder: &Path) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci").join(script);
    // Standard error goes to ours: a first fetch says what it waits for.
    let output = Command::new(&path)
        .arg(command)
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", path.display()))?;
    ensure!(output.status.success(), "`.ci/{script} {command}` failed with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
