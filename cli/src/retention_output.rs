//! What is printed of retention plans.

use reprise_policies::{RetentionVerdict, TimeZoneData};
use reprise_scheduler::retention::{
    AlarmLevel, RepositoryPlan, SourcePlan, describe_paused, list_alarms,
};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Exit;
use crate::output;

/// Prints the verdict of each of its snapshots. Kept ones are left out where they are many.
fn print_source(plan: &SourcePlan<'_>, location: &str, verbose: bool) {
    let forgotten = plan.decision.forgotten().count();
    let kept = plan.decision.verdicts.len() - forgotten;
    output::print_line(&format!(
        "{} in {location}: {kept} kept, {forgotten} forgotten",
        plan.name()
    ));
    let mut rows = Vec::new();
    for (id, verdict) in &plan.decision.verdicts {
        let Some(snapshot) = plan.snapshots.get(id) else {
            continue;
        };
        let (word, why) = describe_verdict(verdict);
        if verbose || !verdict.is_kept() || kept <= KEPT_SHOWN_MAX {
            let time = output::format_time(&snapshot.root.data_time);
            let affected = if plan.affected.contains(id) {
                ", affected by damage"
            } else {
                ""
            };
            let outcome = format!("{}{affected}", snapshot.root.outcome);
            rows.push(vec![
                format!("  {}", id.short()),
                time,
                outcome,
                word.to_owned(),
                why,
            ]);
        }
    }
    output::print_columns(&rows);
    if let Some(log) = &plan.log {
        output::print_line(&format!(
            "  {log} forgotten: not needed for point-in-time recovery any more"
        ));
    }
    if let Some(pause) = plan.active_pause() {
        output::print_line(&format!(
            "  {} is forgotten now: {pause}",
            describe_paused(plan)
        ));
    }
}

/// As JSON for scripts.
fn source_as_json(plan: &SourcePlan<'_>, location: &str) -> Value {
    let listed = plan.decision.verdicts.iter().filter_map(|(id, verdict)| {
        let snapshot = plan.snapshots.get(id)?;
        let (word, _) = describe_verdict(verdict);
        Some(json!({
            "snapshot": id,
            "data_time": snapshot.root.data_time,
            "received": snapshot.received,
            "outcome": snapshot.root.outcome,
            "affected": plan.affected.contains(id),
            "verdict": word,
            "reasons": verdict_reasons(verdict),
        }))
    });
    let listed: Vec<_> = listed.collect();
    let forgotten = plan.decision.forgotten().count();
    json!({
        "policy": plan.policy.name,
        "source": plan.source.name,
        "signer": plan.signer,
        "host": plan.host,
        "meant": plan.foreign.is_none(),
        "repository": location,
        "snapshots": listed,
        "kept": listed.len() - forgotten,
        "forgotten": forgotten,
        "log": plan.log,
        "forgotten_without_pause": plan.snapshots_to_forget_without_pause().len(),
        "log_without_pause": plan.log_without_pause,
        "only_degraded": plan.decision.only_degraded.as_ref().map(ToString::to_string),
        "pause": plan.active_pause().map(ToString::to_string),
    })
}

/// Up to this many kept snapshots of a source are always shown.
const KEPT_SHOWN_MAX: usize = 100;

fn describe_verdict(verdict: &RetentionVerdict) -> (&'static str, String) {
    let word = if verdict.is_kept() { "keep" } else { "forget" };
    (word, verdict_reasons(verdict).join(", "))
}

fn verdict_reasons(verdict: &RetentionVerdict) -> Vec<String> {
    match verdict {
        RetentionVerdict::Keep { reasons: by } => by.iter().map(ToString::to_string).collect(),
        RetentionVerdict::Forget { reason } => vec![reason.clone()],
    }
}

/// Prints plans and what concerns a whole repository.
pub(crate) fn print_plans(context: &Context, plans: &[RepositoryPlan<'_>]) {
    for plan in plans {
        let location = plan.repository.location();
        for source in &plan.sources {
            print_source(source, &location, context.global.verbose > 0);
        }
        for (name, count) in &plan.unnamed {
            output::print_line(&format!(
                "{name} in {location}: {count} kept, because no policy names this source"
            ));
        }
    }
}

/// Plans as JSON for scripts: the sources, and those that no policy names.
pub(crate) fn as_json(plans: &[RepositoryPlan<'_>]) -> Value {
    let (mut sources, mut unnamed, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for plan in plans {
        let location = plan.repository.location();
        sources.extend(
            plan.sources
                .iter()
                .map(|source| source_as_json(source, &location)),
        );
        for (name, count) in &plan.unnamed {
            unnamed.push(json!({"repository": location, "source": name, "snapshots": count}));
        }
        for root in &plan.unreadable {
            let (object, reason) = (&root.object, &root.reason);
            unreadable.push(json!({"repository": location, "object": object, "reason": reason}));
        }
    }
    json!({
        "sources": sources,
        "sources_without_policy": unnamed,
        "unreadable": unreadable,
        "time_zone_data": TimeZoneData::bundled().version,
    })
}

/// Prints the warnings that are shown in every output format; returns the exit code that follows from them.
pub(crate) fn print_warnings(plans: &[RepositoryPlan<'_>]) -> Exit {
    let mut exit = Exit::Ok;
    for alarm in list_alarms(plans) {
        match alarm.level {
            AlarmLevel::Note => output::print_note(&format!("warning: {}", alarm.message)),
            AlarmLevel::Unreadable => {
                output::print_error(&format!("error: {}", alarm.message));
                exit = exit.combine_with(Exit::Degraded);
            }
            AlarmLevel::Degraded => {
                output::print_note(&format!("warning: {}", alarm.message));
                exit = exit.combine_with(Exit::Degraded);
            }
            AlarmLevel::Damaged => {
                output::print_error(&format!("error: {}", alarm.message));
                exit = exit.combine_with(Exit::Damaged);
            }
        }
    }
    exit
}
