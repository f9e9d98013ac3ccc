//! `reprise policy preview`: what policies would keep and forget, before anything depends on it.

use std::collections::BTreeSet;

use reprise_policies::{Policy, PolicySet, Source};
use reprise_repository::ObjectId;
use serde_json::json;

use crate::args::PreviewArgs;
use crate::context::{Context, now};
use crate::failure::{Exit, Failure};
use crate::forget_limits::Limits;
use crate::output;
use crate::retention::{self, LogPlan, RepositoryPlan, SourcePlan, Wanted};

/// What differs for a source between two versions of a policy.
struct Change {
    source: String,
    repository: String,
    /// What only the new version forgets, a pause left aside.
    lost: Vec<ObjectId>,
    /// How many of them go although the source may be paused.
    lost_now: usize,
    /// What of the log only the new version forgets, a pause left aside.
    log: Option<LogPlan>,
    /// What only the old version forgets.
    spared: Vec<ObjectId>,
}

pub(crate) fn run(context: &Context, args: &PreviewArgs) -> Result<Exit, Failure> {
    let policies = context.policies()?;
    let against = args
        .against
        .as_ref()
        .map(|file| context.policies_at(file))
        .transpose()?;
    let wanted = Wanted {
        now: now(),
        accept_flood: args.deciding.accept_flood,
        trust_times: args.deciding.trust_times,
    };
    let chosen = policies.select(&args.names)?;
    let plans = retention::plan(context, &chosen, &policies.select(&[])?, wanted)?;
    let limits = Limits::of(&args.limits)?;
    let changes = against
        .map(|old| changes(&plans, &old, wanted))
        .transpose()?;
    let going = count(&plans, changes.as_deref());
    let empties = empties(&plans);
    if context.global.json {
        let mut shown = retention::as_json(&plans);
        let changes = changes.map(|changes| changes.iter().map(as_json).collect::<Vec<_>>());
        shown["would_forget"] = json!(going.now);
        shown["would_forget_without_pause"] = json!(going.without_pause);
        shown["max_forget"] = json!(args.limits.max_forget);
        shown["would_be_empty"] = json!(empties);
        shown["changes"] = json!(changes);
        output::json_line(&shown);
    } else {
        retention::print(context, &plans);
        changes.iter().flatten().for_each(print);
        if going.now != going.without_pause {
            output::line(&format!(
                "{} would be forgotten now, and {} when retention is no longer paused for any source",
                going.now, going.without_pause
            ));
        }
    }
    let exit = retention::warn(&plans);
    for name in &empties {
        output::note(&format!(
            "warning: {name} would be left without any good snapshot that was stored in time"
        ));
    }
    // A pause ends some day, and then the policy that was merged decides.
    match limits.exceeded(going.without_pause, going.logs.iter()) {
        Some(exceeded) => {
            output::error(&exceeded);
            Ok(exit.and(Exit::Degraded))
        }
        // What pauses a source is told, and is no fault of the policy that is looked at.
        None if exit == Exit::Degraded => Ok(Exit::Ok),
        None => Ok(exit),
    }
}

/// What goes: how many snapshots, and of logs.
struct Going {
    now: usize,
    without_pause: usize,
    logs: Vec<LogPlan>,
}

fn count(plans: &[RepositoryPlan<'_>], changes: Option<&[Change]>) -> Going {
    if let Some(changes) = changes {
        return Going {
            now: changes.iter().map(|change| change.lost_now).sum(),
            without_pause: changes.iter().map(|change| change.lost.len()).sum(),
            logs: changes.iter().filter_map(|change| change.log).collect(),
        };
    }
    let sources = || plans.iter().flat_map(|plan| &plan.sources);
    Going {
        now: sources().map(|source| source.going().len()).sum(),
        without_pause: sources()
            .map(|source| source.going_without_pause().len())
            .sum(),
        logs: sources()
            .filter_map(|source| source.log_without_pause)
            .collect(),
    }
}

fn empties(plans: &[RepositoryPlan<'_>]) -> Vec<String> {
    let sources = plans.iter().flat_map(|plan| &plan.sources);
    let empties = sources.filter(|source| source.decision.empties());
    empties.map(SourcePlan::name).collect()
}

fn changes(
    plans: &[RepositoryPlan<'_>],
    old: &PolicySet,
    wanted: Wanted,
) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for plan in plans {
        for source in &plan.sources {
            let (before, log) = match counterpart(old, source) {
                Some(other) => source.compared_with(&plan.repository, other, wanted)?,
                None => (BTreeSet::new(), source.log_lost(0)),
            };
            let new = source.going_without_pause();
            let lost: Vec<ObjectId> = new.difference(&before).copied().collect();
            let now: BTreeSet<ObjectId> = source.going().into_iter().collect();
            changes.push(Change {
                source: source.name(),
                repository: plan.repository.location(),
                lost_now: lost.iter().filter(|id| now.contains(id)).count(),
                lost,
                log,
                spared: before.difference(&new).copied().collect(),
            });
        }
    }
    Ok(changes)
}

/// The same source in another version: of the policy with the same name, or the only one with its name, as the other
/// version may be called differently only because it is in another file.
fn counterpart<'a>(
    old: &'a PolicySet,
    source: &SourcePlan<'_>,
) -> Option<(&'a Policy, &'a Source)> {
    let name = &source.source.name;
    let same = old.policy(&source.policy.name);
    let same = same.and_then(|policy| Some((policy, policy.sources.get(name)?)));
    same.or_else(|| old.find_source(name).ok())
}

fn as_json(change: &Change) -> serde_json::Value {
    json!({
        "source": change.source,
        "repository": change.repository,
        "lost": change.lost,
        "lost_now": change.lost_now,
        "log": change.log,
        "spared": change.spared,
    })
}

fn print(change: &Change) {
    output::line(&format!(
        "{} in {}: compared with the other version {} more are forgotten, {} fewer",
        change.source,
        change.repository,
        change.lost.len(),
        change.spared.len()
    ));
    if let Some(log) = &change.log {
        output::line(&format!("  - {log}"));
    }
    for (sign, ids) in [("-", &change.lost), ("+", &change.spared)] {
        for id in ids {
            output::line(&format!("  {sign} {}", id.short()));
        }
    }
}
