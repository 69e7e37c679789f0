//! Following log lines by asking again and again.
//!
//! Each round asks for a window that reaches a little behind the newest line seen, since lines of
//! other nodes arrive late, and prints what it has not printed before.
//!
//! Always holds: a line is printed once for each time it occurs, also when several rows are equal
//! in every respect. What is remembered is bounded by the window and by [`SEEN_ENTRIES_MAX`].

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use runtime::backoff::Backoff;
use runtime::clock::{Clock, SystemClock};

use super::api::Api;
use super::entries::{self, Entry};
use super::print::Printer;

/// Time between rounds.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How far behind the newest line a round reaches: lines later than this are not printed.
const OVERLAP_NANOS: i64 = 3_000_000_000;

/// How far back the first lines may be.
const HISTORY_NANOS: i64 = 3_600_000_000_000;

/// Rows asked for at once: what servers allow by default.
const PAGE_ROWS: usize = 5_000;

/// Entries remembered; beyond, the oldest are forgotten and might be printed again.
const SEEN_ENTRIES_MAX: usize = 100_000;

/// First and longest wait after a round failed.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Follow {
    api: Api,
    logql: String,
    history_lines: u32,
    clock: SystemClock,
    /// Entries printed whose time lies within the next round's window, with how often.
    seen: BTreeMap<Entry, usize>,
    newest_nanos: i64,
    /// No round asks for anything older.
    floor_nanos: i64,
}

impl Follow {
    pub(super) fn new(api: Api, logql: String, history_lines: u32) -> Self {
        let clock = SystemClock::new();
        let newest_nanos = clock.unix_nanos();
        let seen = BTreeMap::new();
        Self { api, logql, history_lines, clock, seen, newest_nanos, floor_nanos: i64::MIN }
    }

    /// Prints until the process is interrupted or the first question fails.
    pub(super) async fn run(mut self, printer: &Printer) -> anyhow::Result<()> {
        let history = self.history().await?;
        printer.entries(&history, false)?;
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        loop {
            self.clock.sleep(POLL_INTERVAL).await;
            match self.round().await {
                Ok(fresh) => {
                    printer.entries(&fresh, false)?;
                    backoff.reset();
                }
                Err(error) => {
                    printer.note(&format!("{error:#}; trying again"));
                    self.clock.sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Returns the newest lines there are, and remembers what lies around them.
    async fn history(&mut self) -> anyhow::Result<Vec<Entry>> {
        let now = self.clock.unix_nanos();
        let mut found = self.ask(now - HISTORY_NANOS, now + 1, PAGE_ROWS, "backward").await?;
        entries::sort(&mut found);
        // Rounds begin at the newest line, not at this machine's time: clocks differ.
        self.newest_nanos = found.last().map_or(now, |entry| entry.unix_nanos);
        if found.len() == PAGE_ROWS {
            // Older lines than these were left out and must not come up as new.
            self.floor_nanos = found.first().map_or(i64::MIN, |entry| entry.unix_nanos + 1);
        }
        let mut shown = self.unseen(found);
        let older = shown.len().saturating_sub(self.history_lines as usize);
        Ok(shown.split_off(older))
    }

    /// Returns what is new since the last round, oldest first.
    async fn round(&mut self) -> anyhow::Result<Vec<Entry>> {
        let mut start = self.floor_nanos.max(self.newest_nanos - OVERLAP_NANOS);
        let end = self.clock.unix_nanos().max(self.newest_nanos) + 1;
        let mut window = Vec::new();
        loop {
            let page = self.ask(start, end, PAGE_ROWS, "forward").await?;
            let full = page.len() == PAGE_ROWS;
            let Some(last) = page.iter().map(|entry| entry.unix_nanos).max() else {
                break;
            };
            // The next page begins at the last instant of this one: take it whole from there,
            // unless this page is nothing but that instant.
            let next = if full && last == start { last + 1 } else { last };
            window.extend(page.into_iter().filter(|entry| !full || entry.unix_nanos < next));
            if !full {
                break;
            }
            start = next;
        }
        let mut fresh = self.unseen(window);
        fresh.sort_by_key(|entry| entry.unix_nanos);
        Ok(fresh)
    }

    /// Returns the entries of a window that were not there before, and remembers the window.
    fn unseen(&mut self, window: Vec<Entry>) -> Vec<Entry> {
        let mut counts: BTreeMap<Entry, usize> = BTreeMap::new();
        let mut fresh = Vec::new();
        for entry in window {
            let count = counts.entry(entry.clone()).or_default();
            *count += 1;
            if self.seen.get(&entry).copied().unwrap_or(0) < *count {
                self.newest_nanos = self.newest_nanos.max(entry.unix_nanos);
                fresh.push(entry);
            }
        }
        for (entry, count) in counts {
            let known = self.seen.entry(entry).or_default();
            *known = count.max(*known);
        }
        self.forget();
        fresh
    }

    /// Drops what the next round cannot ask for.
    fn forget(&mut self) {
        let oldest = self.newest_nanos - OVERLAP_NANOS;
        self.seen.retain(|entry, _| oldest <= entry.unix_nanos);
        while SEEN_ENTRIES_MAX < self.seen.len() {
            self.seen.pop_first();
        }
    }

    async fn ask(
        &self,
        start_nanos: i64,
        end_nanos: i64,
        rows: usize,
        direction: &str,
    ) -> anyhow::Result<Vec<Entry>> {
        let parameters = [
            ("query", self.logql.clone()),
            ("start", start_nanos.to_string()),
            ("end", end_nanos.to_string()),
            ("limit", rows.to_string()),
            ("direction", direction.to_owned()),
        ];
        let answer = self.api.get("/loki/api/v1/query_range", &parameters).await?;
        if answer["data"]["resultType"] != "streams" {
            bail!("only log lines can be followed, this query gives values");
        }
        entries::read(&answer["data"]["result"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Output, ServerArgs};

    fn follow() -> Follow {
        let server =
            ServerArgs { addr: "http://127.0.0.1:1".to_owned(), tenant: None, output: Output::Raw };
        let mut follow = Follow::new(Api::new(&server), "{}".to_owned(), 0);
        follow.newest_nanos = 0;
        follow
    }

    fn entry(unix_nanos: i64, line: &str) -> Entry {
        Entry {
            unix_nanos,
            labels: BTreeMap::new(),
            metadata: BTreeMap::new(),
            line: line.to_owned(),
        }
    }

    #[test]
    fn a_line_is_printed_once_for_each_time_it_occurs() {
        let mut follow = follow();
        let first = follow.unseen(vec![entry(1, "a"), entry(1, "a"), entry(2, "b")]);
        assert_eq!(first.len(), 3);
        assert!(follow.unseen(vec![entry(1, "a"), entry(1, "a"), entry(2, "b")]).is_empty());
        let late =
            follow.unseen(vec![entry(1, "a"), entry(1, "a"), entry(1, "a"), entry(1, "late")]);
        assert_eq!(late, [entry(1, "a"), entry(1, "late")]);
    }

    #[test]
    fn what_no_round_asks_for_again_is_forgotten() {
        let mut follow = follow();
        follow.unseen(vec![entry(1, "a")]);
        follow.unseen(vec![entry(OVERLAP_NANOS + 10, "b")]);
        assert_eq!(follow.seen.len(), 1);
    }
}
