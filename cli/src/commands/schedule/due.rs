//! `reprise run --due`: runs what schedules say is due, once.

use std::sync::Arc;
use std::time::Instant;

use reprise_policies::PolicySet;
use reprise_repository::Outcome;
use reprise_scheduler::due::WaitReason;
use reprise_scheduler::ledger::{Ledger, RunResult, SkippedSlots};
use reprise_scheduler::runner::{DueEvent, DueReport, DueRun, WorkStep};
use serde_json::json;

use super::open_ledger;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::interruption::stop_on_interruption;
use crate::output;

pub(crate) fn run_due(context: &Context) -> Result<Exit, Failure> {
    let policies = Arc::new(context.load_policies()?);
    // A ledger that cannot be used must not stop snapshots.
    let opened = open_ledger(context).inspect_err(|failure| failure.report(context.global.json));
    let ledger = opened.ok();
    let is_whole = |ledger: &Arc<Ledger>| ledger.set_aside().is_none();
    let mut exit = match ledger.as_ref().is_some_and(is_whole) {
        true => Exit::Ok,
        false => Exit::Degraded,
    };
    let run = DueRun {
        environment: &context.environment,
        policies: &policies,
        ledger: ledger.as_ref(),
        host_names: own_names(context, &policies)?,
        owner: format!(
            "{} process {}",
            context.environment.host_name,
            std::process::id()
        ),
    };
    let begun = Instant::now();
    let report = run.run(&mut |event| report_event(context, &event));
    let seconds = begun.elapsed().as_secs_f64();
    exit = exit.combine_with(exit_of(&report));
    if context.global.json {
        output::print_json(&json!({
            "event": "due",
            "jobs": report.jobs,
            "runs": report.runs,
            "missed": report.missed,
            "unrecorded": report.unrecorded,
            "seconds": seconds,
            "outcome": Outcome::from(exit),
            "exit_code": exit as u8,
        }));
    } else if report.jobs == 0 {
        context.print_note("note: no policy gives this host anything with a `schedule`");
    } else if report.runs == 0 && !context.global.quiet {
        output::print_line(&format!(
            "nothing ran: {}",
            output::format_count(report.jobs, "job has a schedule", "jobs have a schedule")
        ));
    }
    Ok(exit)
}

/// What policies call this host: the names under which they know its key.
fn own_names(context: &Context, policies: &PolicySet) -> Result<Vec<String>, Failure> {
    let Some(keys) = context.environment.host.load_keys()? else {
        return Ok(Vec::new());
    };
    let signer = keys.signer.id().to_string();
    let hosts = policies
        .policies()
        .iter()
        .flat_map(|policy| policy.hosts.values());
    let own = hosts.filter(|host| host.signer.to_string() == signer);
    Ok(own.map(|host| host.name.clone()).collect())
}

fn exit_of(report: &DueReport) -> Exit {
    let outcome = match (report.outcome, report.class) {
        (Some(Outcome::Failed), Some(class)) => class.into(),
        (Some(outcome), _) => outcome.into(),
        (None, _) => Exit::Ok,
    };
    if report.is_interrupted {
        return Exit::Interrupted;
    }
    if report.missed + report.unrecorded > 0 {
        return outcome.combine_with(Exit::Degraded);
    }
    outcome
}

fn report_event(context: &Context, event: &DueEvent<'_>) {
    match event {
        DueEvent::Started {
            claim,
            is_late,
            progress,
        } => {
            stop_on_interruption(progress);
            if context.global.json {
                output::print_json(&json!({
                    "event": "run_started", "run": claim.run, "job": claim.job, "slot": claim.slot,
                    "attempt": claim.attempt, "late": is_late,
                }));
            } else if *is_late {
                output::print_note(&format!(
                    "warning: {} of {} was missed and runs late",
                    claim.slot, claim.job
                ));
            }
        }
        DueEvent::Step { claim, step } => report_step(context, &claim.job, &claim.run, step),
        DueEvent::Ended { claim, result } => {
            report_end(context, (&claim.run, &claim.job, &claim.slot), result)
        }
        DueEvent::Skipped { job, skipped } => report_skipped(context, job, skipped),
        DueEvent::GivenUp { job, slot, reason } => {
            if context.global.json {
                output::print_json(
                    &json!({"event": "given_up", "job": job, "slot": slot, "reason": reason}),
                );
            }
            output::print_error(&format!("error: {slot} of {job} failed: {reason}"));
        }
        DueEvent::Waiting { job, slot, reason } => report_waiting(context, job, slot, *reason),
        DueEvent::LedgerFailed { job, error } => {
            if context.global.json {
                output::print_json(
                    &json!({"event": "error", "job": job, "message": error.to_string(), "hint": error.hint()}),
                );
            }
            output::print_error(&format!("error: {job}: {error}"));
            output::print_notes(&format!("  hint: {}", error.hint()));
        }
    }
}

fn report_step(context: &Context, job: &str, run: &str, step: &WorkStep) {
    if context.global.json {
        output::print_json(&json!({
            "event": "step", "run": run, "job": job, "step": step.name, "outcome": step.outcome,
            "summary": step.summary, "hint": step.hint, "warnings": step.warnings, "facts": step.facts,
        }));
    }
    let what = describe_step(job, &step.name);
    for note in &step.notes {
        output::print_note(&format!("{what}: {note}"));
    }
    for warning in &step.warnings {
        output::print_note(&format!("warning: {what}: {warning}"));
    }
    if step.outcome == Outcome::Failed {
        let message = format!("{what}: {}", step.summary);
        output::print_notes(&Failure::new(Exit::Failed, message, step.hint.clone()).format_text());
    } else if !context.global.json && !context.global.quiet {
        output::print_line(&format!("{what}: {}: {}", step.outcome, step.summary));
    }
}

/// A job, with the repository that a snapshot of it went to; elsewhere the job's name says it already.
fn describe_step(job: &str, step: &str) -> String {
    if job.contains("/sources/") {
        format!("{job} to {step}")
    } else {
        job.to_owned()
    }
}

fn report_end(context: &Context, (run, job, slot): (&str, &str, &str), result: &RunResult) {
    if context.global.json {
        output::print_json(&json!({
            "event": "run_ended", "run": run, "job": job, "slot": slot, "outcome": result.outcome,
            "error": result.error, "hint": result.hint, "retry_at": result.retry_at,
        }));
    } else if let Some(at) = result.retry_at {
        output::print_note(&format!(
            "{job}: is tried again after {}",
            output::format_time(&at)
        ));
    }
}

fn report_skipped(context: &Context, job: &str, skipped: &SkippedSlots) {
    if context.global.json {
        output::print_json(&json!({
            "event": "skipped", "job": job, "first": skipped.first, "last": skipped.last, "slots": skipped.count,
            "state": skipped.state, "reason": skipped.reason,
        }));
        return;
    }
    let word = skipped.state.as_str();
    let which = if skipped.count == 1 {
        skipped.last.clone()
    } else {
        format!(
            "{} to {} ({} slots)",
            skipped.first, skipped.last, skipped.count
        )
    };
    output::print_note(&format!("{job}: {word} {which}: {}", skipped.reason));
}

fn report_waiting(context: &Context, job: &str, slot: &str, reason: WaitReason) {
    let what = match reason {
        WaitReason::Running => "its run is under way".to_owned(),
        WaitReason::Overlap => "an earlier run is under way".to_owned(),
        WaitReason::Retry(at) => format!("it is tried again after {}", output::format_time(&at)),
        WaitReason::Window => "it waits for the `window` of its schedule".to_owned(),
    };
    if context.global.json {
        output::print_json(&json!({"event": "waiting", "job": job, "slot": slot, "reason": what}));
    } else if !context.global.quiet {
        output::print_note(&format!("{job}: {slot} waits: {what}"));
    }
}
