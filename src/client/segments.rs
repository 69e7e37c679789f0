//! `millrace segments`: what is published, what it is made of, whether it is sound.
//!
//! Works on the store that a configuration file names, beside or without running processes. Nothing
//! is written but by `sweep --delete`.

use std::sync::Arc;

use anyhow::bail;
use segment::{SegmentId, SegmentMeta, inspect};
use serde_json::{Value, json};

use super::print::Printer;
use super::published::Published;
use super::time::rfc3339_millis;
use crate::cli::{ListForm, SegmentsArgs, SegmentsCommand, SegmentsFilter};

const NANOS_PER_MILLI: i64 = 1_000_000;

impl Published {
    /// The segments that pass the filter, by kind, tenant and time.
    fn segments(&self, filter: &SegmentsFilter) -> Vec<Arc<SegmentMeta>> {
        let state = self.catalog.state();
        let wanted = |meta: &&Arc<SegmentMeta>| {
            filter.kind.as_deref().is_none_or(|kind| meta.kind.as_str() == kind)
                && filter.tenant.as_deref().is_none_or(|tenant| meta.tenant.as_str() == tenant)
        };
        let mut found: Vec<_> = state.segments.values().filter(wanted).map(Arc::clone).collect();
        found.sort_by(|a, b| {
            (a.kind, &a.tenant, a.time_min_ns, a.id).cmp(&(b.kind, &b.tenant, b.time_min_ns, b.id))
        });
        found
    }

    fn named(&self, id: &str) -> anyhow::Result<Arc<SegmentMeta>> {
        let parsed: SegmentId = id.parse()?;
        match self.catalog.state().segments.get(&parsed) {
            Some(meta) => Ok(Arc::clone(meta)),
            None => {
                bail!("segment `{id}` is not in the catalog; `millrace segments ls` lists them")
            }
        }
    }
}

/// Runs one of the commands.
pub(crate) async fn run(args: SegmentsArgs) -> anyhow::Result<()> {
    let published = Published::open(&args.store, "millrace segments").await?;
    let printer = Printer::new(crate::cli::Output::Raw);
    match args.command {
        SegmentsCommand::Ls { filter, output } => list(&published, &filter, output, &printer),
        SegmentsCommand::Inspect { id, output } => {
            let meta = published.named(&id)?;
            let found = inspect::inspect(&published.store, &meta).await?;
            show(&meta, &found, output, &printer)
        }
        SegmentsCommand::Verify { ids, filter } => {
            verify(&published, &ids, &filter, &printer).await
        }
        SegmentsCommand::Sweep { delete } => sweep(&published, delete, &printer).await,
    }
}

fn list(
    published: &Published,
    filter: &SegmentsFilter,
    output: ListForm,
    printer: &Printer,
) -> anyhow::Result<()> {
    let segments = published.segments(filter);
    if output == ListForm::Json {
        for meta in &segments {
            printer.line(&as_json(meta)?.to_string())?;
        }
        return Ok(());
    }
    let heading =
        ["ID", "KIND", "TENANT", "CLASS", "LEVEL", "FROM", "TO", "ROWS", "RAW", "STORED", "RATIO"];
    let rows = segments.iter().map(|meta| {
        vec![
            meta.id.to_string(),
            meta.kind.to_string(),
            meta.tenant.to_string(),
            meta.class.clone(),
            meta.level.to_string(),
            time(meta.time_min_ns),
            time(meta.time_max_ns),
            meta.rows.to_string(),
            meta.raw_bytes.to_string(),
            meta.bytes.to_string(),
            format!("{:.1}", ratio(meta.raw_bytes, meta.bytes)),
        ]
    });
    let table: Vec<Vec<String>> =
        std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect();
    print_table(&table, printer)?;
    let rows: u64 = segments.iter().map(|meta| meta.rows).sum();
    let raw: u64 = segments.iter().map(|meta| meta.raw_bytes).sum();
    let stored: u64 = segments.iter().map(|meta| meta.bytes).sum();
    printer.note(&format!(
        "{} segments, {rows} rows, {raw} raw bytes, {stored} stored, ratio {:.1}, catalog version {}",
        segments.len(),
        ratio(raw, stored),
        published.catalog.state().version,
    ));
    Ok(())
}

fn as_json(meta: &SegmentMeta) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(meta)?;
    value["ratio"] = json!(ratio(meta.raw_bytes, meta.bytes));
    Ok(value)
}

fn show(
    meta: &SegmentMeta,
    found: &inspect::Inspection,
    output: ListForm,
    printer: &Printer,
) -> anyhow::Result<()> {
    if output == ListForm::Json {
        let mut value = as_json(meta)?;
        value["format"] = json!(found.format);
        for (name, parts) in [("sections", &found.sections), ("columns", &found.columns)] {
            value[name] = parts.iter().map(|(part, bytes)| (part.clone(), json!(bytes))).collect();
        }
        value["counts"] =
            found.counts.iter().map(|(what, count)| ((*what).to_owned(), json!(count))).collect();
        return printer.line(&value.to_string());
    }
    printer.line(&format!("{} {}, format {}, {}", meta.kind, meta.id, found.format, meta.path))?;
    printer.line(&format!("{} to {}", time(meta.time_min_ns), time(meta.time_max_ns)))?;
    for (what, count) in &found.counts {
        printer.line(&format!("{what} {count}"))?;
    }
    for range in &meta.ranges {
        let (topic, partition) = (&range.topic, range.partition);
        printer.line(&format!("offsets {topic}/{partition} {}..{}", range.from, range.to))?;
    }
    for (title, parts) in [("SECTION", &found.sections), ("COLUMN", &found.columns)] {
        if parts.is_empty() {
            continue;
        }
        let row = |name: &str, bytes: String, share: String| vec![name.to_owned(), bytes, share];
        let mut table = vec![row(title, "BYTES".to_owned(), "SHARE".to_owned())];
        for (name, bytes) in parts {
            let share = format!("{:.1}%", 100.0 * ratio(*bytes, meta.bytes));
            table.push(row(name, bytes.to_string(), share));
        }
        print_table(&table, printer)?;
    }
    Ok(())
}

async fn verify(
    published: &Published,
    ids: &[String],
    filter: &SegmentsFilter,
    printer: &Printer,
) -> anyhow::Result<()> {
    let segments = match ids {
        [] => published.segments(filter),
        ids => ids.iter().map(|id| published.named(id)).collect::<Result<_, _>>()?,
    };
    let (mut sound, mut rows, mut bytes, mut failed) = (0, 0, 0, 0);
    for meta in &segments {
        match inspect::verify(&published.store, meta).await {
            Ok(verified) => {
                sound += 1;
                rows += verified.rows;
                bytes += verified.bytes;
            }
            Err(error) => {
                failed += 1;
                printer.line(&format!("{} {:#}", meta.id, anyhow::Error::from(error)))?;
            }
        }
    }
    printer.line(&format!("{sound} segments are sound: {rows} rows, {bytes} bytes"))?;
    if 0 < failed {
        bail!("{failed} of {} segments are not sound", segments.len());
    }
    Ok(())
}

async fn sweep(published: &Published, delete: bool, printer: &Printer) -> anyhow::Result<()> {
    use indexer::sweep::{Mode, sweep};
    let mode = if delete { Mode::Delete } else { Mode::DryRun };
    let Published { store, catalog, clock, grace } = published;
    let swept = sweep(store, catalog, clock, *grace, mode).await?;
    for (path, bytes) in &swept.orphans {
        printer.line(&format!("{path} {bytes}"))?;
    }
    let bytes: u64 = swept.orphans.iter().map(|(_, bytes)| bytes).sum();
    let done = if delete { "deleted" } else { "would be deleted" };
    printer.note(&format!(
        "{} of {} objects {done}, {bytes} bytes; {} are kept, {} are no segments, {} failed",
        swept.orphans.len(),
        swept.objects,
        swept.kept,
        swept.unknown,
        swept.failed,
    ));
    Ok(())
}

/// Prints columns as wide as they need to be: text to the left, numbers as they come.
fn print_table(table: &[Vec<String>], printer: &Printer) -> anyhow::Result<()> {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in table {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        printer.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

fn time(unix_ns: i64) -> String {
    rfc3339_millis(unix_ns.div_euclid(NANOS_PER_MILLI).saturating_mul(NANOS_PER_MILLI))
}
