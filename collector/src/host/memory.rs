//! `/proc/meminfo`: `Name: value kB`, in bytes as `node_memory_<Name>_bytes`.

use std::io;
use std::path::Path;

use super::{Reading, text};

pub(super) fn read(proc: &Path, reading: &mut Reading) -> io::Result<()> {
    for line in text(proc, "meminfo")?.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_ascii_whitespace();
        let Some(value) = words.next().and_then(|w| w.parse::<f64>().ok()) else { continue };
        // `Active(anon)` becomes `Active_anon`, as node_exporter writes it.
        let name = name.replace('(', "_").replace(')', "");
        let help = format!("Memory information field {name}.");
        match words.next() {
            Some("kB") => {
                let name = format!("node_memory_{name}_bytes");
                reading.gauge(&name, &help, &[], value * 1024.0);
            }
            _ => reading.gauge(&format!("node_memory_{name}"), &help, &[], value),
        }
    }
    Ok(())
}
