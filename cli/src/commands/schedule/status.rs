//! `reprise status`: what is protected, how fresh it is, what ran last and what is next.

use chrono::{DateTime, Utc};
use clap::Args;
use reprise_policies::PolicySet;
use reprise_repository::format_error_chain;
use reprise_scheduler::due::{ScheduledJob, list_scheduled_jobs};
use reprise_scheduler::ledger::{Ledger, RunFilter, RunRecord, SlotState};
use reprise_scheduler::promises::{SourceCoverage, judge_promises};
use serde_json::{Value, json};

use super::open_ledger;
use super::runs::describe_state;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Freshness is judged by what repositories hold; `reprise runs` is what this host did.

Exit code 3 when a promise of a source is broken or cannot be judged, or the last run of a job did not end well.")]
pub(crate) struct StatusArgs {}

/// A line of the status.
struct JobStatus<'a> {
    job: ScheduledJob<'a>,
    last: Option<RunRecord>,
    paused_until: Option<DateTime<Utc>>,
}

pub(crate) fn run(context: &Context, _args: &StatusArgs) -> Result<Exit, Failure> {
    let policies = context.load_policies()?;
    let ledger = open_ledger(context)?;
    let jobs: Result<Vec<JobStatus<'_>>, Failure> = list_scheduled_jobs(&policies)
        .into_iter()
        .map(|job| find_status(&ledger, job))
        .collect();
    let jobs = jobs?;
    let (coverage, unknown) = judge_all(context, &policies);
    if context.global.json {
        let jobs: Vec<Value> = jobs.iter().map(as_json).collect();
        output::print_json(&json!({"jobs": jobs, "sources": coverage, "unknown": unknown}));
    } else {
        print_jobs(&jobs);
        print_coverage(&coverage);
    }
    for source in &coverage {
        for alarm in &source.alarms {
            let (name, repository) = (&source.source, &source.repository);
            output::print_error(&format!("alarm: {name} in {repository}: {alarm}"));
        }
    }
    for (source, reason) in &unknown {
        output::print_error(&format!("alarm: {source}: unknown: {reason}"));
    }
    let is_broken = |source: &SourceCoverage| !source.alarms.is_empty();
    let is_bad = jobs.iter().any(JobStatus::ended_badly)
        || coverage.iter().any(is_broken)
        || !unknown.is_empty();
    Ok(if is_bad { Exit::Degraded } else { Exit::Ok })
}

fn find_status<'a>(ledger: &Ledger, job: ScheduledJob<'a>) -> Result<JobStatus<'a>, Failure> {
    let filter = RunFilter {
        job: Some(job.name.clone()),
        limit: Some(1),
        ..RunFilter::default()
    };
    let last = ledger.list_runs(&filter)?.into_iter().next();
    let paused_until = match job.paused_with() {
        Some(source) => ledger.find_pause(&source)?.map(|pause| pause.until),
        None => None,
    };
    Ok(JobStatus {
        last,
        paused_until: paused_until.filter(|until| *until > current_time()),
        job,
    })
}

impl JobStatus<'_> {
    fn next_slot(&self) -> Option<String> {
        let from = self.paused_until.unwrap_or_else(current_time);
        self.job.schedule.next_slot(from).map(|slot| slot.id())
    }

    fn ended_badly(&self) -> bool {
        self.last.as_ref().is_some_and(|run| match run.state {
            SlotState::Failed | SlotState::Degraded | SlotState::Waiting => true,
            SlotState::Running | SlotState::Ok | SlotState::Coalesced | SlotState::Skipped => false,
        })
    }
}

fn as_json(status: &JobStatus<'_>) -> Value {
    json!({
        "job": status.job.name,
        "last": status.last,
        "next_slot": status.next_slot(),
        "paused_until": status.paused_until,
        "hosts": status.job.hosts,
    })
}

fn print_jobs(jobs: &[JobStatus<'_>]) {
    if jobs.is_empty() {
        return output::print_line("nothing has a schedule");
    }
    let titles = ["JOB", "LAST RUN", "OUTCOME", "NEXT SLOT"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for status in jobs {
        let last = status.last.as_ref();
        let next = status.next_slot().unwrap_or_default();
        rows.push(vec![
            status.job.name.clone(),
            last.map_or_else(
                || "never".to_owned(),
                |run| output::format_time(&run.started),
            ),
            last.map(describe_state).unwrap_or_default(),
            match status.paused_until {
                Some(until) => format!("{next}, paused until {}", output::format_time(&until)),
                None => next,
            },
        ]);
    }
    output::print_table(&rows);
}

fn print_coverage(coverage: &[SourceCoverage]) {
    if coverage.is_empty() {
        return;
    }
    let titles = ["SOURCE", "REPOSITORY", "NEWEST", "OLDEST", "PROMISES"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    let shown = |time: Option<DateTime<Utc>>| {
        time.map_or_else(|| "none".to_owned(), |time| output::format_time(&time))
    };
    for source in coverage {
        let promises = match (source.alarms.is_empty(), source.notes.first()) {
            (false, _) => "broken".to_owned(),
            (true, Some(note)) => note.clone(),
            (true, None) => "kept".to_owned(),
        };
        rows.push(vec![
            source.source.clone(),
            source.repository.clone(),
            shown(source.newest),
            shown(source.oldest),
            promises,
        ]);
    }
    output::print_line("");
    output::print_table(&rows);
}

/// The promises of all sources that have any; and those that cannot be judged, with the reason.
fn judge_all(
    context: &Context,
    policies: &PolicySet,
) -> (Vec<SourceCoverage>, Vec<(String, String)>) {
    let (mut judged, mut unknown) = (Vec::new(), Vec::new());
    for policy in policies.policies() {
        for source in policy.sources.values() {
            if source.fresh_within.is_none() && source.reaches_back.is_none() {
                continue;
            }
            for repository in &source.repositories {
                match judge_promises(&context.environment, policy, source, repository) {
                    Ok(coverage) => judged.push(coverage),
                    Err(error) => {
                        let named = format!("{}/{} in {repository}", policy.name, source.name);
                        unknown.push((named, format_error_chain(&error)));
                    }
                }
            }
        }
    }
    (judged, unknown)
}
