//! `reprise policy preview`: what policies would keep and forget, before anything depends on it.

use std::collections::BTreeSet;

use reprise_policies::{Policy, PolicySet, PolicySource};
use reprise_repository::ObjectId;
use serde_json::json;

use crate::args::PreviewArgs;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::forget_limits::MaxForget;
use crate::output;
use crate::retention::{self, LogForgetPlan, RepositoryPlan, RetentionParameters, SourcePlan};

/// What differs for a source between two versions of a policy.
struct SourceChange {
    source: String,
    repository: String,
    /// What only the new version forgets, pauses ignored.
    newly_forgotten: Vec<ObjectId>,
    /// How many of them are forgotten although the source may be paused.
    newly_forgotten_now: usize,
    /// What only the new version forgets of the log, pauses ignored.
    log: Option<LogForgetPlan>,
    /// What only the old version forgets.
    newly_kept: Vec<ObjectId>,
}

pub(crate) fn run(context: &Context, args: &PreviewArgs) -> Result<Exit, Failure> {
    let policies = context.load_policies()?;
    let against = args
        .against
        .as_ref()
        .map(|file| context.load_policies_at(file))
        .transpose()?;
    let wanted = RetentionParameters {
        now: current_time(),
        accept_flood: args.deciding.accept_flood,
        trust_times: args.deciding.trust_times,
    };
    let chosen = policies.select_sources(&args.names)?;
    let plans =
        retention::plan_retention(context, &chosen, &policies.select_sources(&[])?, wanted)?;
    let limits = MaxForget::from_args(&args.limits)?;
    let changes = against
        .map(|old| compare_policies(&plans, &old, wanted))
        .transpose()?;
    let going = count_forgotten(&plans, changes.as_deref());
    let empties = sources_left_empty(&plans);
    if context.global.json {
        let mut shown = retention::as_json(&plans);
        let changes = changes.map(|changes| changes.iter().map(change_as_json).collect::<Vec<_>>());
        shown["would_forget"] = json!(going.now);
        shown["would_forget_without_pause"] = json!(going.without_pause);
        shown["max_forget"] = json!(args.limits.max_forget);
        shown["would_be_empty"] = json!(empties);
        shown["changes"] = json!(changes);
        output::print_json(&shown);
    } else {
        retention::print_plans(context, &plans);
        changes.iter().flatten().for_each(print_change);
        if going.now != going.without_pause {
            output::print_line(&format!(
                "{} would be forgotten now, and {} when retention is no longer paused for any source",
                going.now, going.without_pause
            ));
        }
    }
    let exit = retention::print_warnings(&plans);
    for name in &empties {
        output::print_note(&format!(
            "warning: {name} would be left without any good snapshot that was stored in time"
        ));
    }
    // A pause ends some day, and then the merged policy decides.
    match limits.describe_excess(going.without_pause, going.log_plans.iter()) {
        Some(exceeded) => {
            output::print_error(&exceeded);
            Ok(exit.combine_with(Exit::Degraded))
        }
        // A paused source is reported, and is no fault of the policy under review.
        None if exit == Exit::Degraded => Ok(Exit::Ok),
        None => Ok(exit),
    }
}

/// How much is forgotten: numbers of snapshots, and parts of logs.
struct ForgetCounts {
    now: usize,
    without_pause: usize,
    log_plans: Vec<LogForgetPlan>,
}

fn count_forgotten(plans: &[RepositoryPlan<'_>], changes: Option<&[SourceChange]>) -> ForgetCounts {
    if let Some(changes) = changes {
        return ForgetCounts {
            now: changes
                .iter()
                .map(|change| change.newly_forgotten_now)
                .sum(),
            without_pause: changes
                .iter()
                .map(|change| change.newly_forgotten.len())
                .sum(),
            log_plans: changes.iter().filter_map(|change| change.log).collect(),
        };
    }
    let sources = || plans.iter().flat_map(|plan| &plan.sources);
    ForgetCounts {
        now: sources()
            .map(|source| source.snapshots_to_forget().len())
            .sum(),
        without_pause: sources()
            .map(|source| source.snapshots_to_forget_without_pause().len())
            .sum(),
        log_plans: sources()
            .filter_map(|source| source.log_without_pause)
            .collect(),
    }
}

fn sources_left_empty(plans: &[RepositoryPlan<'_>]) -> Vec<String> {
    let sources = plans.iter().flat_map(|plan| &plan.sources);
    let empties = sources.filter(|source| source.decision.leaves_nothing_good());
    empties.map(SourcePlan::name).collect()
}

fn compare_policies(
    plans: &[RepositoryPlan<'_>],
    old: &PolicySet,
    wanted: RetentionParameters,
) -> Result<Vec<SourceChange>, Failure> {
    let mut changes = Vec::new();
    for plan in plans {
        for source in &plan.sources {
            let (before, log) = match find_counterpart(old, source) {
                Some(other) => source.compare_with(&plan.repository, other, wanted)?,
                None => (BTreeSet::new(), source.log_to_forget_from(0)),
            };
            let new = source.snapshots_to_forget_without_pause();
            let lost: Vec<ObjectId> = new.difference(&before).copied().collect();
            let now: BTreeSet<ObjectId> = source.snapshots_to_forget().into_iter().collect();
            changes.push(SourceChange {
                source: source.name(),
                repository: plan.repository.location(),
                newly_forgotten_now: lost.iter().filter(|id| now.contains(id)).count(),
                newly_forgotten: lost,
                log,
                newly_kept: before.difference(&new).copied().collect(),
            });
        }
    }
    Ok(changes)
}

/// The same source in another version: of the policy with the same name, or the only one with its name, as the other
/// version may have another name only because it is in another file.
fn find_counterpart<'a>(
    old: &'a PolicySet,
    source: &SourcePlan<'_>,
) -> Option<(&'a Policy, &'a PolicySource)> {
    let name = &source.source.name;
    let same = old.policy(&source.policy.name);
    let same = same.and_then(|policy| Some((policy, policy.sources.get(name)?)));
    same.or_else(|| old.find_source(name).ok())
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
