//! `reprise runs`: what ran, what was left out, and what to do next.

use chrono::TimeDelta;
use clap::{Args, Subcommand};
use reprise_repository::Outcome;
use reprise_scheduler::ledger::{RunFilter, RunRecord, StepRecord};
use serde_json::json;

use super::open_ledger;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::quantities::parse_duration_option;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reprise runs --failed --since 7d
  reprise runs --job prod/sources/jenkins
  reprise runs show 4f1c")]
pub(crate) struct RunsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RunsCommand>,
    /// Only this job (POLICY/sources/NAME), or all whose names begin with this (POLICY, POLICY/copies).
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Only what did not end well.
    #[arg(long)]
    pub(crate) failed: bool,
    /// Not older than this, for example 7d.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// How many, the newest ones.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) last: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Explain a run: what it did, what failed, and what to do next.
    Show {
        /// Its ID, of which the beginning is enough.
        #[arg(value_name = "RUN")]
        run: String,
    },
}

pub(crate) fn run(context: &Context, args: &RunsArgs) -> Result<Exit, Failure> {
    let ledger = open_ledger(context)?;
    if let Some(RunsCommand::Show { run }) = &args.command {
        let found = ledger.find_run(run)?;
        show_run(context, &found);
        return Ok(Exit::Ok);
    }
    let since = args
        .since
        .as_deref()
        .map(|text| parse_duration_option(text, "--since", "write it as 36h or 7d"));
    let since = since
        .transpose()?
        .and_then(|time| TimeDelta::from_std(time).ok());
    let filter = RunFilter {
        job: args.job.clone(),
        since: since.map(|time| current_time() - time),
        only_failed: args.failed,
        limit: Some(args.last),
    };
    let runs = ledger.list_runs(&filter)?;
    if context.global.json {
        output::print_json(&json!({"runs": runs}));
    } else if runs.is_empty() {
        output::print_line("no runs");
    } else {
        print_runs(&runs);
    }
    Ok(Exit::Ok)
}

fn print_runs(runs: &[RunRecord]) {
    let titles = ["RUN", "JOB", "SLOT", "STARTED", "TOOK", "OUTCOME", "REASON"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for run in runs {
        let slots = match run.slots {
            0 | 1 => run.slot.clone(),
            count => format!("{} and {} before it", run.slot, count - 1),
        };
        rows.push(vec![
            run.id.chars().take(8).collect(),
            run.job.clone(),
            slots,
            output::format_time(&run.started),
            describe_length(run),
            describe_state(run),
            run.reason.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    output::print_table(&rows);
}

fn describe_length(run: &RunRecord) -> String {
    match run.ended {
        Some(ended) if run.attempt > 0 => {
            let seconds = (ended - run.started).num_milliseconds().max(0);
            #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
            output::format_seconds(seconds as f64 / 1000.0)
        }
        _ => String::new(),
    }
}

/// How a run ended, with what is unusual about it.
pub(super) fn describe_state(run: &RunRecord) -> String {
    let word = run.state.as_str();
    let attempt = match run.attempt {
        0 | 1 => String::new(),
        number => format!(", attempt {number}"),
    };
    let late = if run.is_late { ", late" } else { "" };
    format!("{word}{attempt}{late}")
}

fn show_run(context: &Context, run: &RunRecord) {
    if context.global.json {
        output::print_json(&json!(run));
        return;
    }
    let line = |name: &str, value: &str| {
        if !value.is_empty() {
            output::print_line(&format!("{name:<15}{value}"));
        }
    };
    line("run", &run.id);
    line("job", &run.job);
    line("slot", &run.slot);
    line("outcome", &describe_state(run));
    line("started", &output::format_time(&run.started));
    line(
        "ended",
        &run.ended
            .map(|at| output::format_time(&at))
            .unwrap_or_default(),
    );
    line("took", &describe_length(run));
    line("host", &run.host);
    line("policies", &run.policy_version);
    line(
        "program",
        &format!("{}, time-zone data {}", run.program, run.zone_data),
    );
    for step in &run.steps {
        show_step(step);
    }
    if run.steps.is_empty() {
        line("reason", &run.reason);
    }
    for next in run.hint.lines() {
        output::print_line(&format!("next: {next}"));
    }
}

fn show_step(step: &StepRecord) {
    let text = |key: &str| step.facts[key].as_str().unwrap_or_default().to_owned();
    let said = if step.outcome == Outcome::Failed {
        step.error.clone()
    } else {
        text("summary")
    };
    output::print_line(&format!("step {}: {}: {said}", step.name, step.outcome));
    for warning in step.facts["warnings"].as_array().into_iter().flatten() {
        output::print_line(&format!(
            "  warning: {}",
            warning.as_str().unwrap_or_default()
        ));
    }
    if let Some(more) = step.facts["more_warnings"]
        .as_u64()
        .filter(|more| *more > 0)
    {
        output::print_line(&format!(
            "  {more} more warnings: see `reprise show {}`",
            text("snapshot")
        ));
    }
}
