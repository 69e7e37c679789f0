//! Runs the set-up scripts of `.ci/`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Runs `.ci/<script> <command> --dir <folder>` and returns the variables it printed.
pub(crate) fn run(script: &str, command: &str, folder: &Path) -> anyhow::Result<Variables> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci").join(script);
    // Standard error goes to ours: a first fetch says what it waits for.
    let output = Command::new(&path)
        .arg(command)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", path.display()))?;
    ensure!(output.status.success(), "`.ci/{script} {command}` failed with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(Variables(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

/// The `NAME=value` lines of a script.
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    pub(crate) fn take(&mut self, name: &str) -> anyhow::Result<String> {
        let value = self.0.remove(name).with_context(|| format!("the script printed no {name}"))?;
        Ok(value.trim_matches(['\'', '"']).to_owned())
    }
}
