//! `reprise policy preview`: what policies would keep and forget, before anything depends on it.

use std::path::PathBuf;

use clap::Args;
use reprise_scheduler::retention::{
    SourceChange, compare_policies, count_forgotten, plan_retention, sources_left_empty,
};
use serde_json::json;

use crate::commands::schedule::slots::show_slots;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::retention_args::{ForgetLimitArgs, RetentionArgs};
use crate::{output, retention_output};

#[derive(Debug, Args)]
#[command(after_help = "\
For reviewing a change of a policy before it is merged: exit code 3 when more than --max-forget snapshots would be
forgotten. With --against, only snapshots that the other version would keep are counted.

Examples:
  reprise policy preview --policies policy.yaml --max-forget 10
  git show main:policy.yaml > old.yaml; reprise policy preview --policies policy.yaml --against old.yaml --json")]
pub(crate) struct PreviewArgs {
    /// POLICY or POLICY/SOURCE. Default: all.
    #[arg(value_name = "POLICY[/SOURCE]")]
    pub(crate) names: Vec<String>,
    /// Another version of the policy to compare with. Only its rules are used: repositories are those of --policies.
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,
    /// Show when what has a schedule is due next, and around the next change of clocks. Needs no repository.
    #[arg(long, conflicts_with = "against")]
    pub(crate) schedule: bool,
    /// With --schedule: how many slots of each.
    #[arg(long, value_name = "N", default_value_t = 3, requires = "schedule")]
    pub(crate) slots: usize,
    /// With --schedule: from this time on. Default: now.
    #[arg(long, value_name = "TIME", requires = "schedule")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) limits: ForgetLimitArgs,
    #[command(flatten)]
    pub(crate) deciding: RetentionArgs,
}

pub(crate) fn run(context: &Context, args: &PreviewArgs) -> Result<Exit, Failure> {
    let policies = context.load_policies()?;
    if args.schedule {
        return show_slots(context, &policies, args);
    }
    let against = args
        .against
        .as_ref()
        .map(|file| context.load_policies_at(file))
        .transpose()?;
    let parameters = args.deciding.parameters();
    let chosen = policies.select_sources(&args.names)?;
    let plans = plan_retention(
        &context.environment,
        &chosen,
        &policies.select_sources(&[])?,
        None,
        parameters,
    )?;
    let limits = args.limits.max_forget()?;
    let changes = against
        .map(|old| compare_policies(&plans, &old, parameters))
        .transpose()?;
    let counts = count_forgotten(&plans, changes.as_deref());
    let empties = sources_left_empty(&plans);
    if context.global.json {
        let mut shown = retention_output::as_json(&plans);
        let changes = changes.map(|changes| changes.iter().map(change_as_json).collect::<Vec<_>>());
        shown["would_forget"] = json!(counts.now);
        shown["would_forget_without_pause"] = json!(counts.without_pause);
        shown["max_forget"] = json!(args.limits.max_forget);
        shown["would_be_empty"] = json!(empties);
        shown["changes"] = json!(changes);
        output::print_json(&shown);
    } else {
        retention_output::print_plans(context, &plans);
        changes.iter().flatten().for_each(print_change);
        if counts.now != counts.without_pause {
            output::print_line(&format!(
                "{} would be forgotten now, and {} when retention is no longer paused for any source",
                counts.now, counts.without_pause
            ));
        }
    }
    let exit = retention_output::print_warnings(&plans);
    for name in &empties {
        output::print_note(&format!(
            "warning: {name} would be left without any good snapshot that was stored in time"
        ));
    }
    // A pause ends some day, and then the merged policy decides.
    match limits.describe_excess(counts.without_pause, counts.log_plans.iter()) {
        Some(exceeded) => {
            output::print_error(&exceeded);
            Ok(exit.combine_with(Exit::Degraded))
        }
        // A paused source is reported, and is no fault of the policy under review.
        None if exit == Exit::Degraded => Ok(Exit::Ok),
        None => Ok(exit),
    }
}

fn change_as_json(change: &SourceChange) -> serde_json::Value {
    json!({
        "source": change.source,
        "repository": change.repository,
        "newly_forgotten": change.newly_forgotten,
        "newly_forgotten_now": change.newly_forgotten_now,
        "log": change.log,
        "newly_kept": change.newly_kept,
    })
}

fn print_change(change: &SourceChange) {
    output::print_line(&format!(
        "{} in {}: compared with the other version {} more are forgotten, {} fewer",
        change.source,
        change.repository,
        change.newly_forgotten.len(),
        change.newly_kept.len()
    ));
    if let Some(log) = &change.log {
        output::print_line(&format!("  - {log}"));
    }
    for (sign, ids) in [("-", &change.newly_forgotten), ("+", &change.newly_kept)] {
        for id in ids {
            output::print_line(&format!("  {sign} {}", id.short()));
        }
    }
}
