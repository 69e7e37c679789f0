//! `/proc/net/dev`: receive columns, then transmit columns.

use std::io;
use std::path::Path;

use super::{Reading, text};

const RECEIVE: [(&str, usize); 4] = [("bytes", 0), ("packets", 1), ("errs", 2), ("drop", 3)];
const TRANSMIT: [(&str, usize); 4] = [("bytes", 8), ("packets", 9), ("errs", 10), ("drop", 11)];

pub(super) fn read(proc: &Path, reading: &mut Reading) -> io::Result<()> {
    // The host's interfaces, where its first process can be seen; else this process's.
    let table = text(proc, "1/net/dev").or_else(|_| text(proc, "net/dev"))?;
    for line in table.lines() {
        let Some((device, rest)) = line.split_once(':') else { continue };
        let fields: Vec<f64> =
            rest.split_ascii_whitespace().map(|w| w.parse().unwrap_or(0.0)).collect();
        let labels = [("device", device.trim())];
        for (direction, columns) in [("receive", RECEIVE), ("transmit", TRANSMIT)] {
            for (what, column) in columns {
                let Some(value) = fields.get(column) else { continue };
                let name = format!("node_network_{direction}_{what}_total");
                let help = format!("Network device statistic {direction}_{what}.");
                reading.counter(&name, &help, &labels, *value);
            }
        }
    }
    Ok(())
}
