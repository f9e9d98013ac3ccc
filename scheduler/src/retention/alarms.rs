//! What people must be told of retention, whether anything is forgotten or not.

use super::plan::{RepositoryPlan, SourcePlan};

/// Something that people must be told of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionAlarm {
    /// How bad it is.
    pub level: AlarmLevel,
    /// What it is.
    pub message: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmLevel {
    /// Worth knowing.
    Note,
    /// The result is degraded.
    Degraded,
    /// The result is degraded, as something cannot be read with the identities at hand.
    Unreadable,
    /// Data is damaged.
    Damaged,
}

/// Everything that people must be told of plans.
#[must_use]
pub fn list_alarms(plans: &[RepositoryPlan<'_>]) -> Vec<RetentionAlarm> {
    let mut alarms = Vec::new();
    let mut add = |level, message: String| alarms.push(RetentionAlarm { level, message });
    for plan in plans {
        for root in &plan.unreadable {
            let (object, reason) = (&root.object, &root.reason);
            let level = match root.is_damaged {
                true => AlarmLevel::Damaged,
                false => AlarmLevel::Unreadable,
            };
            add(level, format!("{object} cannot be read: {reason}"));
        }
        for disagreement in &plan.disagreements {
            add(AlarmLevel::Degraded, disagreement.to_string());
        }
        for source in &plan.sources {
            if let Some(foreign) = &source.foreign {
                add(AlarmLevel::Degraded, foreign.to_string());
            }
            if let Some(pause) = source.active_pause() {
                let kept = describe_paused(source);
                add(
                    AlarmLevel::Degraded,
                    format!("{kept} is forgotten: {pause}"),
                );
            }
            if let Some(streak) = &source.decision.only_degraded {
                add(
                    AlarmLevel::Degraded,
                    format!("{} has {streak}", source.name()),
                );
            }
            for (id, hold) in source.invalid_holds() {
                add(
                    AlarmLevel::Note,
                    format!("snapshot {} is {hold}", id.short()),
                );
            }
        }
    }
    alarms
}

/// What a pause keeps. Where degraded snapshots go on arriving, it keeps the good ones alone.
#[must_use]
pub fn describe_paused(plan: &SourcePlan<'_>) -> String {
    let name = plan.name();
    if plan.decision.forgotten().next().is_some() {
        format!("no good snapshot of {name}")
    } else {
        format!("nothing of {name}")
    }
}
