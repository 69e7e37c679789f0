//! `millrace catalog doctor`: whether the store can hold a catalog and the catalog is sound, and
//! what to do where it is not.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use runtime::clock::{SharedClock, SystemClock};
use segment::catalog::doctor::{self, Audit};
use segment::catalog::{CatalogOptions, PREFIX};
use segment::store;

use crate::cli::DoctorArgs;
use crate::client::time::rfc3339_millis;
use crate::config::{Config, Overrides};

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Longest wait for the store's first answer.
const STORE_CHECK_DEADLINE: Duration = Duration::from_secs(20);

/// Prints what was looked at and what was found; fails when something is wrong.
pub(crate) async fn doctor(args: DoctorArgs) -> anyhow::Result<()> {
    let overrides = Overrides { data_dir: args.data_dir, ..Overrides::default() };
    let config = match &args.config {
        Some(file) => Config::read(file, args.ignore_unknown_config, &overrides)?,
        None => Config::without_file(&overrides)?,
    };
    let (section, data_dir): (_, &Path) = (&config.file.store, &config.file.data_dir);
    let clock: SharedClock = SystemClock::shared();
    let store = store::open(section, data_dir).context("open the store")?;
    store::check(&store, section, data_dir, &*clock, STORE_CHECK_DEADLINE)
        .await
        .context("ask the store")?;
    let options = CatalogOptions::new(Arc::clone(&clock), "doctor");
    let probe = doctor::probe(&store, PREFIX, &options).await;
    let audit = doctor::audit(&store, PREFIX, &options).await.context("read the catalog")?;

    let mut out = io::stdout().lock();
    writeln!(out, "store     {}", section.target(data_dir))?;
    match &probe {
        Ok(seen) => writeln!(
            out,
            "          creates objects atomically: {} races of {} writers had one winner each",
            seen.rounds, seen.writers
        )?,
        Err(error) => writeln!(out, "problem   {error}")?,
    }
    print(&audit, &mut out)?;
    let problems = audit.findings.len() + usize::from(probe.is_err());
    if problems != 0 {
        let plural = if problems == 1 { "" } else { "s" };
        bail!("{problems} problem{plural} found; see above for what to do");
    }
    writeln!(out, "ok")?;
    Ok(())
}

fn print(audit: &Audit, out: &mut impl Write) -> io::Result<()> {
    let Audit { version, commits, snapshots, segments, orphans, orphan_bytes, lost, findings } =
        audit;
    writeln!(
        out,
        "catalog   version {version}: {commits} commits and {snapshots} snapshots are sound"
    )?;
    writeln!(out, "segments  {segments} published")?;
    if *orphans != 0 {
        writeln!(
            out,
            "          {orphans} objects ({orphan_bytes} bytes) that no commit names: being \
             published just now, or left by a crash and harmless"
        )?;
    }
    for (topic, partition, lost) in lost {
        writeln!(
            out,
            "lost      {} offsets of {topic}/{partition} were gone from the queue before they were \
             read:",
            lost.offsets()
        )?;
        if lost.earlier != 0 {
            writeln!(out, "          {} before those named here", lost.earlier)?;
        }
        for range in &lost.ranges {
            let noted = rfc3339_millis(range.noted_ms.saturating_mul(NANOS_PER_MILLI));
            writeln!(
                out,
                "          {} to {}, noted {noted}",
                range.from,
                range.to.saturating_sub(1)
            )?;
        }
    }
    for finding in findings {
        writeln!(out, "problem   {finding}")?;
        writeln!(out, "  to do   {}", finding.advice())?;
    }
    Ok(())
}
