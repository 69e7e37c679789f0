//! Asking indexers for the rows that no pinned segment holds.
//!
//! Always holds: an owner's answer is taken whole or not at all. Without one the query goes on and
//! carries a warning naming the owner; "plan again" is passed on to whoever planned.

use bytes::Bytes;
use futures::future::join_all;
use runtime::http::{Client, ClientError, ClientOptions, Outgoing, Response};
use segment::catalog::CatalogState;
use segment::recent::{Ask, PLAN_AGAIN, Pin, STATS_HEADER, ScanStats};
use serde::Serialize;
use std::time::Duration;

use super::pins::pins_by_owner;
use crate::admission::{QueryContext, Stats};
use crate::config::QuerySection;
use crate::error::{LimitHit, QueryError};
use crate::telemetry;

/// Longest wait for a connection to an indexer; one that is gone should not cost the deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections kept open to each indexer.
const IDLE_CONNECTIONS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Recent {
    client: Client,
    timeout: Duration,
    bytes_max: u64,
}

/// What the owners said.
#[derive(Debug)]
pub(super) enum Answers {
    /// The body of each owner that answered.
    Bodies(Vec<OwnerAnswer>),
    /// At least one owner no longer fits the pinned state.
    PlanAgain { owner: String },
}

/// What to do about an owner that has moved on from the pinned state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outdated {
    /// Say so: a newer state can be read.
    Say,
    /// Leave its rows out, with a warning that says why: there is no newer state to plan on.
    LeaveOut { why: &'static str },
}

#[derive(Debug)]
pub(super) struct OwnerAnswer {
    pub(super) owner: String,
    pub(super) body: Bytes,
}

/// One owner's reply, before it is known what the others say.
enum Reply {
    Body(OwnerAnswer),
    PlanAgain { owner: String },
    Missing,
}

impl Recent {
    pub(super) fn new(section: &QuerySection) -> Self {
        let options = ClientOptions {
            deadline: section.recent_timeout(),
            connect_timeout: CONNECT_TIMEOUT.min(section.recent_timeout()),
            response_bytes_max: usize::try_from(section.recent_bytes_max).unwrap_or(usize::MAX),
            idle_connections_max: IDLE_CONNECTIONS_MAX,
        };
        let bytes_max = section.recent_bytes_max;
        Self { client: Client::new(options), timeout: section.recent_timeout(), bytes_max }
    }

    /// Asks every owner of a partition of `topics`, all at once.
    pub(super) async fn ask<P: Clone + Serialize>(
        &self,
        path: &str,
        (state, outdated): (&CatalogState, Outdated),
        topics: &[String],
        plan: &P,
        context: &QueryContext,
    ) -> Result<Answers, QueryError> {
        let owners = pins_by_owner(state, topics);
        let asking = owners
            .into_iter()
            .map(|(owner, pinned)| self.ask_owner(path, owner, pinned, plan, context));
        let mut bodies = Vec::new();
        for reply in context.within(join_all(asking)).await? {
            match reply? {
                Reply::Body(answer) => bodies.push(answer),
                Reply::PlanAgain { owner } => match outdated {
                    Outdated::Say => return Ok(Answers::PlanAgain { owner }),
                    Outdated::LeaveOut { why } => missing(&owner, why, context),
                },
                Reply::Missing => {}
            }
        }
        Ok(Answers::Bodies(bodies))
    }

    async fn ask_owner<P: Clone + Serialize>(
        &self,
        path: &str,
        owner: String,
        pinned: Vec<Pin>,
        plan: &P,
        context: &QueryContext,
    ) -> Result<Reply, QueryError> {
        let ask = Ask { pinned, plan: plan.clone() };
        let body = serde_json::to_vec(&ask)
            .map_err(|error| QueryError::Internal(format!("encode a plan: {error}")))?;
        let url = format!("{}{path}", owner.trim_end_matches('/'));
        let outgoing = Outgoing::post(&url, "application/json", body)
            .deadline(self.timeout.min(context.remaining()));
        Stats::add(&context.stats().indexers, 1);
        match self.client.send(outgoing).await {
            Ok(response) if response.status.as_u16() == PLAN_AGAIN => {
                Ok(Reply::PlanAgain { owner })
            }
            Ok(response) if response.status.is_success() => answered(owner, response, context),
            Ok(response) => {
                let text: String = response.text().chars().take(200).collect();
                missing(&owner, &format!("it answered {}: {text}", response.status), context);
                Ok(Reply::Missing)
            }
            Err(ClientError::TooLarge { .. }) => {
                Err(LimitHit::RecentBytes { max: self.bytes_max }.into())
            }
            Err(error) => {
                missing(&owner, &error.to_string(), context);
                Ok(Reply::Missing)
            }
        }
    }
}

fn answered(
    owner: String,
    response: Response,
    context: &QueryContext,
) -> Result<Reply, QueryError> {
    context.take_bytes(response.body.len() as u64)?;
    let stats: ScanStats = serde_json::from_str(response.header(STATS_HEADER)).unwrap_or_default();
    context.take_rows(stats.rows_scanned)?;
    Stats::add(&context.stats().line_bytes, stats.bytes_scanned);
    for partition in &stats.catching_up {
        context.warn(format!(
            "indexer {owner} is still reading partition {}/{}, rows queued before it took over may \
             be missing",
            partition.topic, partition.partition
        ));
    }
    Ok(Reply::Body(OwnerAnswer { owner, body: response.body }))
}

/// Notes that an owner's recent rows are not in the answer.
pub(super) fn missing(owner: &str, why: &str, context: &QueryContext) {
    metrics::counter!(telemetry::INDEXERS_UNREACHABLE).increment(1);
    tracing::warn!(owner, why, "recent rows are missing from an answer");
    context.warn(format!("indexer {owner} could not be asked, its recent rows are missing: {why}"));
}
