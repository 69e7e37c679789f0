//! `millrace export`: what it writes, as DuckDB reads it; and what it refuses to write.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use object_store::ObjectStoreExt;
use record::{Labels, LogBatchBuilder, TenantId, TimestampNanos};
use runtime::clock::SystemClock;
use segment::catalog::{Catalog, CatalogOptions, Op, PREFIX};
use segment::logs::{BuildOptions, LogSegmentBuilder};
use segment::meta::BuiltSegment;
use segment::store::{self, StoreSection};
use segment::{SegmentId, SegmentKind, SegmentMeta};
use tempfile::TempDir;

use crate::support::{Site, eventually, millrace, text};

type Pairs = BTreeMap<String, String>;

/// A row as it was written, or as DuckDB read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    labels: Pairs,
    unix_nanos: i64,
    line: String,
    attributes: Pairs,
}

impl Row {
    fn new(unix_nanos: i64, app: &str, line: &str) -> Self {
        Self {
            labels: pairs([("app", app), ("größe", "tab\tquote\" 'x'")]),
            unix_nanos,
            line: line.to_owned(),
            attributes: Pairs::new(),
        }
    }
}

fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Pairs {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// 2023-11-14T22:13:20Z.
const START: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// A data folder with published segments, and room for exported files.
struct Shelf {
    folder: TempDir,
}

impl Shelf {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> String {
        self.path("data").display().to_string()
    }

    /// Publishes one segment; returns its entry in the catalog.
    fn publish(&self, tenant: &TenantId, rows: &[Row]) -> SegmentMeta {
        let meta = built(rows).meta(SegmentId::generate(0), tenant.clone(), Vec::new(), 0);
        let bytes = built(rows).bytes;
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let store =
                store::open(&StoreSection::default(), &self.path("data")).expect("a folder");
            store.put(&meta.location(), bytes.into()).await.expect("it is stored");
            let options = CatalogOptions::new(SystemClock::shared(), "test");
            let catalog = Catalog::open(Arc::clone(&store), PREFIX, options).await.expect("opens");
            let add = Op::AddSegments { segments: vec![meta.clone()] };
            catalog.commit(vec![add]).await.expect("it is published");
        });
        meta
    }

    fn object(&self, meta: &SegmentMeta) -> PathBuf {
        self.path("data").join("store").join(&meta.path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = millrace(&["export", "--data-dir", &self.data()]);
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    fn export(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// Exports into `out.parquet` and reads that.
    fn rows(&self, arguments: &[&str]) -> Vec<Row> {
        let done = self.export(&[&["--out", "out.parquet", "--force"], arguments].concat());
        assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
        read(&self.path("out.parquet")).expect("a Parquet file")
    }

    /// Exports in vain; returns what was said.
    fn refused(&self, arguments: &[&str]) -> String {
        let done = self.export(arguments);
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {}", text(&done.stdout));
        assert_eq!(text(&done.stdout), "", "{arguments:?}");
        text(&done.stderr)
    }

    /// Files in the folder, those of the store left aside.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let names = entries.map(|entry| entry.expect("a file").file_name());
        let mut names: Vec<String> =
            names.map(|name| name.to_string_lossy().into_owned()).filter(|n| n != "data").collect();
        names.sort();
        names
    }
}

fn built(rows: &[Row]) -> BuiltSegment {
    let mut batch = LogBatchBuilder::new();
    for Row { labels, unix_nanos, line, attributes } in rows {
        // Of attributes with one name the first counts.
        let doubled = attributes.keys().map(|name| (name.as_str(), "not the first"));
        let attributes = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let attributes: Vec<(&str, &str)> = attributes.chain(doubled).collect();
        let stream = Labels::from_pairs(labels);
        batch.push(TimestampNanos(*unix_nanos), &stream, line, &attributes, None);
    }
    let mut builder = LogSegmentBuilder::new(BuildOptions::fresh());
    builder.push_batch(&batch.finish(), None).expect("it fits");
    let built = builder.finish().expect("there are rows");
    BuiltSegment {
        kind: SegmentKind::Logs,
        bytes: built.bytes,
        rows: built.rows,
        raw_bytes: built.raw_bytes,
        time_min_ns: built.time_min,
        time_max_ns: built.time_max,
        footer_bytes: built.footer_bytes,
    }
}

/// Reads a Parquet file with DuckDB; an error is what DuckDB says.
fn read(file: &Path) -> Result<Vec<Row>, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fetched = Command::new(repository.join(".ci/duckdb")).arg("fetch").output();
    let fetched = fetched.expect("bash is there");
    assert!(fetched.status.success(), "{}", text(&fetched.stderr));
    let script = repository.join("bench/tests/binary/support/parquet.py");
    let done = Command::new(text(&fetched.stdout).trim()).arg(script).arg(file).output();
    let done = done.expect("python starts");
    if !done.status.success() {
        return Err(text(&done.stderr));
    }
    let said = text(&done.stdout);
    let mut lines = said.lines();
    let columns: Pairs = serde_json::from_str(lines.next().expect("types")).expect("an object");
    let map = "MAP(VARCHAR, VARCHAR)";
    let types =
        [("time", "TIMESTAMPTZ_NS"), ("line", "VARCHAR"), ("labels", map), ("attributes", map)];
    assert_eq!(columns, pairs(types));
    let row = |line: &str| {
        let (unix_nanos, line, labels, attributes) = serde_json::from_str(line).expect("a row");
        Row { labels, unix_nanos, line, attributes }
    };
    Ok(lines.map(row).collect())
}

/// Rows with everything that could go wrong on the way.
fn awkward() -> Vec<Row> {
    let long = "länger und länger \u{1f980} ".repeat(20_000);
    let lines = [
        "",
        " ",
        "\ttabs\tand  spaces ",
        r#"{"json": "with \"quotes\" and \\ backslashes", 'and': `ticks`}"#,
        "naïve Größe 日本語 \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} e\u{301} \u{feff}",
        "was not UTF-8: \u{fffd}\u{fffd}(",
        "carriage\rreturn and\nnewline\u{0}and nul",
        "\u{1b}[31mred\u{1b}[0m",
        "NULL",
        &long,
    ];
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in (0..).zip(lines) {
        let mut row = Row::new(START + number * 7_001, "awkward", line);
        row.attributes = pairs([
            ("trace_id", ""),
            ("tab\tname", "\"größe\"\n"),
            ("line", line.get(..1).unwrap_or_default()),
        ]);
        rows.push(row.clone());
        row.attributes.clear();
        rows.push(row);
    }
    rows
}

fn numbered(from: i64, count: i64, app: &str) -> Vec<Row> {
    let row = |number: i64| {
        let line =
            format!("request {number} took {} ms from 10.0.0.{}", number % 977, number % 250);
        let mut row = Row::new(START + number * SECOND, app, &line);
        row.attributes = pairs([("user", &*format!("u{}", number % 13))]);
        row
    };
    (from..from + count).map(row).collect()
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

#[test]
fn duckdb_reads_every_row_as_it_was_written() {
    let shelf = Shelf::new();
    let tenant = TenantId::default();
    // Published out of order; the second and third overlap in time.
    let newest = [numbered(30_000, 500, "web"), numbered(30_100, 500, "api")].concat();
    let middle = [numbered(10_000, 10_000, "api"), numbered(10_000, 10_000, "web")].concat();
    let oldest = [awkward(), numbered(0, 15_000, "api")].concat();
    for rows in [&newest, &oldest, &middle] {
        shelf.publish(&tenant, rows);
    }
    let done = shelf.export(&["--from", "0", "--out", "all.parquet"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let file = shelf.path("all.parquet");
    let (rows, bytes) = (36_020, fs::metadata(&file).expect("a file").len());
    assert_eq!(text(&done.stdout), format!("{rows} rows, {bytes} bytes, all.parquet\n"));
    assert_eq!(text(&done.stderr), "", "no progress where there is no terminal");
    assert_eq!(shelf.files(), ["all.parquet"]);

    // From old to new, and by stream and time in each.
    let mut expected = Vec::new();
    for mut rows in [oldest, middle, newest] {
        rows.sort_by(|a, b| (&a.labels, a.unix_nanos).cmp(&(&b.labels, b.unix_nanos)));
        expected.extend(rows);
    }
    let found = read(&file).expect("a Parquet file");
    assert_eq!(found.len(), rows);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

#[test]
fn selector_and_times_choose_rows_and_nothing_else_does() {
    let shelf = Shelf::new();
    let tenant = TenantId::default();
    let rows = [numbered(0, 100, "api"), numbered(0, 100, "web")].concat();
    shelf.publish(&tenant, &rows);
    let later = numbered(50, 100, "api");
    shelf.publish(&tenant, &later);
    let all: Vec<Row> = rows.into_iter().chain(later).collect();
    let those = |wanted: &dyn Fn(&Row) -> bool| {
        sorted(all.iter().filter(|row| wanted(row)).cloned().collect())
    };

    let found = shelf.rows(&["{app=~\"a.+\"}", "--from", "0"]);
    assert_eq!(sorted(found), those(&|row| row.labels["app"] == "api"));
    let found = shelf.rows(&["{app!=\"api\"}", "--from", "0"]);
    assert_eq!(sorted(found), those(&|row| row.labels["app"] == "web"));
    assert_eq!(sorted(shelf.rows(&["{}", "--from", "0"])), those(&|_| true));
    let found = shelf.rows(&["--from", "2023-11-14T22:13:30Z", "--to", "1700000070"]);
    let (from, to) = (START + 10 * SECOND, START + 70 * SECOND);
    assert_eq!(sorted(found), those(&|row| from <= row.unix_nanos && row.unix_nanos < to));
    let found = shelf.rows(&["{app=\"web\"}", "--since", "1m", "--to", "1700000100"]);
    let from = START + 40 * SECOND;
    assert_eq!(sorted(found), those(&|row| row.labels["app"] == "web" && from <= row.unix_nanos));
}

#[test]
fn lines_that_went_through_the_pipeline_are_exported_as_it_keeps_them() {
    let site = Site::new();
    let lines: [&[u8]; 9] = [
        b"plain",
        b"",
        b"\xff\xfe not UTF-8 \xc3( \xe2\x82",
        b"  spaces and\ttabs  ",
        b"\"quotes\" 'and' `ticks` \\n",
        "Größe 日本語 \u{1f980}".as_bytes(),
        b"nul \0 inside",
        &b"0123456789abcdef".repeat(4_096),
        b"last",
    ];
    fs::write(site.path("logs").join("raw.log"), [&lines.join(&b'\n')[..], b"\n"].concat())
        .expect("temporary folder");
    let server = site.start();
    let selector = "{filename=~\".+/raw.log\"}";
    eventually("lines are there", || server.query(selector).len(), |count| lines.len() <= *count);
    server.stop("TERM");

    let (config, out) = (site.path("millrace.yaml"), site.path("raw.parquet"));
    let done = millrace(&["export", selector, "--out"])
        .arg(&out)
        .arg("--config")
        .arg(&config)
        .output()
        .expect("the binary starts");
    assert!(done.status.success(), "{}", text(&done.stderr));
    let found = read(&out).expect("a Parquet file");
    let mut found_lines: Vec<&str> = found.iter().map(|row| row.line.as_str()).collect();
    let mut expected: Vec<String> = lines.iter().map(|line| text(line)).collect();
    expected.sort();
    found_lines.sort_unstable();
    assert_eq!(found_lines, expected);
    assert!(found.iter().all(|row| row.labels["filename"].ends_with("/raw.log")), "{found:?}");
}

#[test]
fn what_cannot_be_exported_is_said_and_nothing_is_left() {
    let shelf = Shelf::new();
    let empty = shelf.refused(&["--out", "out.parquet"]);
    assert!(empty.starts_with("error: no published row from 20"), "{empty}");
    assert!(empty.contains("millrace segments ls"), "{empty}");
    let rows = numbered(0, 10, "api");
    shelf.publish(&TenantId::default(), &rows);

    for (arguments, expected) in [
        (&["--since", "1h"][..], "no published row from 20"),
        (
            &["{app=\"none\"}", "--from", "1700000000", "--to", "1700000060"],
            "no published row from 2023-11-14T22:13:20.000Z to 2023-11-14T22:14:20.000Z matches \
             `{app=\"none\"}`",
        ),
        (
            &["--from", "1700000060", "--to", "1700000000"],
            "not after its start 2023-11-14T22:14:20",
        ),
        (&["--from", "monday"], "could not read `--from`"),
        (&["{app="], "read the stream selector `{app=`: parse error"),
        (&["{app=\"api\"} |= \"x\""], "only label matchers are supported"),
        (&["--tenant", "a/b"], "read `--tenant`"),
        (&["--config", "none.yaml"], "read configuration file `none.yaml`"),
    ] {
        let said = shelf.refused(&[arguments, &["--out", "out.parquet"]].concat());
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let said = shelf.refused(&["--from", "0", "--out", "none/out.parquet"]);
    assert!(said.contains("create `none/out.parquet.incomplete`: No such file"), "{said}");
    let said = shelf.refused(&["--from", "0", "--out", "data", "--force"]);
    assert!(said.contains("`data` is there and no regular file"), "{said}");
    let usage = shelf.export(&["--from", "0"]);
    assert_eq!(usage.status.code(), Some(2));
    assert_eq!(shelf.files(), [""; 0]);

    fs::write(shelf.path("out.parquet"), "mine").expect("a file");
    let said = shelf.refused(&["--from", "0", "--out", "out.parquet"]);
    assert_eq!(said, "error: file `out.parquet` exists; --force replaces it\n");
    shelf.refused(&["--since", "1h", "--out", "out.parquet", "--force"]);
    assert_eq!(fs::read(shelf.path("out.parquet")).expect("a file"), b"mine");
    assert_eq!(shelf.rows(&["--from", "0"]), rows);
    assert_eq!(shelf.files(), ["out.parquet"]);
}

#[test]
fn a_file_has_the_rows_of_one_tenant() {
    let shelf = Shelf::new();
    let (acme, zeta) =
        (TenantId::new("acme").expect("valid"), TenantId::new("zeta").expect("valid"));
    let (of_acme, of_zeta) = (numbered(0, 10, "api"), numbered(5, 10, "web"));
    shelf.publish(&acme, &of_acme);
    assert_eq!(shelf.rows(&["--from", "0"]), of_acme, "there is but one");
    shelf.publish(&zeta, &of_zeta);
    let said = shelf.refused(&["--from", "0", "--out", "two.parquet"]);
    assert!(
        said.contains("several tenants have rows, choose one with --tenant: acme, zeta"),
        "{said}"
    );
    assert_eq!(shelf.rows(&["--from", "0", "--tenant", "zeta"]), of_zeta);
    let said = shelf.refused(&["--from", "0", "--tenant", "fake", "--out", "none.parquet"]);
    assert!(said.contains("no published row"), "{said}");
    assert_eq!(shelf.files(), ["out.parquet"]);
}

#[test]
fn segments_that_cannot_be_read_are_named_and_counted() {
    let shelf = Shelf::new();
    let tenant = TenantId::default();
    let [first, lost, damaged, last] = [0, 100, 200, 300]
        .map(|from| numbered(from, 100, "api"))
        .map(|rows| (shelf.publish(&tenant, &rows), rows));
    fs::remove_file(shelf.object(&lost.0)).expect("an object");
    let object = shelf.object(&damaged.0);
    let mut bytes = fs::read(&object).expect("an object");
    // The columns come first.
    for byte in bytes.iter_mut().take(1_000) {
        *byte ^= 0x55;
    }
    fs::write(&object, bytes).expect("an object");

    let named = |said: &str, meta: &SegmentMeta| said.contains(&format!("{} ", meta.id));
    for unfinished in ["out.parquet.incomplete", "out.parquet.1.incomplete"] {
        let said = shelf.refused(&["--from", "0", "--out", "out.parquet"]);
        assert!(named(&said, &lost.0) && named(&said, &damaged.0), "{said}");
        assert!(!named(&said, &first.0) && !named(&said, &last.0), "{said}");
        assert!(said.contains("is damaged") && said.contains("not found"), "{said}");
        let summary = format!(
            "error: 2 of 4 segments could not be read, so `out.parquet` was not written; the 200 \
             rows that could are in `{unfinished}`\n"
        );
        assert!(said.ends_with(&summary), "{said}");
        let found = read(&shelf.path(unfinished)).expect("a Parquet file");
        assert_eq!(found, [&first.1[..], &last.1].concat());
    }
    assert_eq!(shelf.files(), ["out.parquet.1.incomplete", "out.parquet.incomplete"]);
    let said =
        shelf.refused(&["--from", "1700000150", "--to", "1700000160", "--out", "out.parquet"]);
    let summary = "1 of 1 segments could not be read, so `out.parquet` was not written\n";
    assert!(named(&said, &lost.0) && said.ends_with(summary), "{said}");
    assert_eq!(shelf.files(), ["out.parquet.1.incomplete", "out.parquet.incomplete"]);
    // What need not be read does not matter.
    assert_eq!(shelf.rows(&["--from", "0", "--to", "1700000100"]), first.1);
}

#[test]
fn an_interrupted_export_leaves_nothing_that_looks_whole() {
    let shelf = Shelf::new();
    let tenant = TenantId::default();
    shelf.publish(&tenant, &numbered(0, 100, "api"));
    // A pipe nobody writes to stands for a store that hangs.
    let hanging = shelf.object(&shelf.publish(&tenant, &numbered(200, 100, "api")));
    fs::remove_file(&hanging).expect("an object");
    assert!(Command::new("mkfifo").arg(&hanging).status().expect("mkfifo is there").success());
    let start = || {
        let mut command = shelf.command(&["--from", "0", "--out", "out.parquet"]);
        let child = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        eventually("it has begun", || shelf.files(), |files| !files.is_empty());
        child
    };
    let end = |child: Child, signal: &str| {
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("kill is there").success());
        child.wait_with_output().expect("a child")
    };

    for signal in ["-INT", "-TERM"] {
        let done = end(start(), signal);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert_eq!(said, "error: interrupted, `out.parquet` was not written\n");
        assert_eq!(shelf.files(), [""; 0]);
    }

    let done = end(start(), "-KILL");
    assert!(!done.status.success());
    assert_eq!(shelf.files(), ["out.parquet.incomplete"]);
    let refused = read(&shelf.path("out.parquet.incomplete")).expect_err("no Parquet file");
    assert!(refused.contains("out.parquet.incomplete"), "{refused}");
}
