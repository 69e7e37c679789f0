#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;
use std::fs;

use super::*;

fn values(batch: &SampleBatch) -> BTreeMap<String, f64> {
    let series = |i: usize| batch.series()[batch.series_index()[i] as usize].to_string();
    (0..batch.len()).map(|i| (series(i), batch.values()[i])).collect()
}

#[test]
fn names_and_units_are_those_of_node_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let proc = folder.path();
    fs::create_dir_all(proc.join("net")).unwrap();
    fs::create_dir_all(proc.join("self")).unwrap();
    let stat = "cpu  9 9 9 9\ncpu0 100 20 300 4000 50 0 7 0 0 0\nbtime 1700000000\nctxt 42\n";
    fs::write(proc.join("stat"), stat).unwrap();
    fs::write(proc.join("loadavg"), "0.50 1.25 2.00 1/100 4242\n").unwrap();
    fs::write(proc.join("meminfo"), "MemTotal: 1000 kB\nActive(anon): 5 kB\nHugePages_Total: 3\n")
        .unwrap();
    fs::write(
        proc.join("diskstats"),
        " 253 0 vda 10 1 200 30 40 2 500 60 7 80 90\n   7 0 loop0 1 1 1 1\n",
    )
    .unwrap();
    fs::write(
        proc.join("net/dev"),
        "Inter-| Receive\n face |bytes\n eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n",
    )
    .unwrap();
    fs::write(
        proc.join("self/mounts"),
        "/dev/vda / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n",
    )
    .unwrap();
    let section = HostSection { proc: proc.to_owned(), ..HostSection::default() };
    let base = Labels::from_pairs([("job", "node")]);
    let read = values(&super::read(&section, &base, 1_700_000_000_500_000_000));
    let value = |name: &str| *read.get(name).unwrap_or_else(|| panic!("{name} in {read:#?}"));

    let cpu = |mode| {
        format!(r#"{{__name__="node_cpu_seconds_total", cpu="0", job="node", mode="{mode}"}}"#)
    };
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    assert_eq!(value(&cpu("user")), 100.0 / ticks);
    assert_eq!(value(&cpu("idle")), 4000.0 / ticks);
    assert_eq!(value(r#"{__name__="node_load5", job="node"}"#), 1.25);
    assert_eq!(value(r#"{__name__="node_memory_MemTotal_bytes", job="node"}"#), 1_024_000.0);
    assert_eq!(value(r#"{__name__="node_memory_Active_anon_bytes", job="node"}"#), 5120.0);
    assert_eq!(value(r#"{__name__="node_memory_HugePages_Total", job="node"}"#), 3.0);
    let disk = |name| format!(r#"{{__name__="{name}", device="vda", job="node"}}"#);
    assert_eq!(value(&disk("node_disk_read_bytes_total")), 200.0 * 512.0);
    assert_eq!(value(&disk("node_disk_written_bytes_total")), 500.0 * 512.0);
    assert_eq!(value(&disk("node_disk_io_time_seconds_total")), 0.08);
    let network = |name| format!(r#"{{__name__="{name}", device="eth0", job="node"}}"#);
    assert_eq!(value(&network("node_network_receive_bytes_total")), 1.0);
    assert_eq!(value(&network("node_network_transmit_drop_total")), 8.0);
    assert_eq!(value(r#"{__name__="node_time_seconds", job="node"}"#), 1_700_000_000.5);
    let sizes = read.keys().filter(|k| k.contains("node_filesystem_size_bytes")).count();
    assert_eq!(sizes, 1, "virtual filesystems are left out");
    assert!(!read.keys().any(|k| k.contains("loop0")));
}

#[test]
fn a_missing_proc_leaves_the_rest() {
    let section = HostSection { proc: "/nonexistent".into(), ..HostSection::default() };
    let read = values(&super::read(&section, &Labels::default(), 0));
    assert_eq!(read.len(), 1, "{read:?}");
}
