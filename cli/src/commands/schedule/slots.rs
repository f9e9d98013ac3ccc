//! `reprise policy preview --schedule`: when what has a schedule is due.

use chrono::{DateTime, TimeDelta, Utc};
use reprise_policies::{PolicySet, Slot};
use reprise_scheduler::due::{ScheduledJob, list_scheduled_jobs};
use reprise_times::DayMeaning;
use serde_json::json;

use crate::commands::policy::preview::PreviewArgs;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::time_input::parse_moment;

/// The next change of clocks is looked for in this time.
const CHANGE_SEARCH_MAX: TimeDelta = TimeDelta::days(400);
/// Slots this near to a change of clocks are shown.
const NEAR_CHANGE: TimeDelta = TimeDelta::hours(26);
/// How many slots near a change of clocks are shown.
const SLOTS_NEAR_CHANGE_MAX: usize = 4;

/// Prints the next slots of all jobs, or of those of the sources that are named.
pub(crate) fn show_slots(
    context: &Context,
    policies: &PolicySet,
    args: &PreviewArgs,
) -> Result<Exit, Failure> {
    let from = match &args.from {
        Some(text) => parse_moment(context, "", text, DayMeaning::Start)?,
        None => current_time(),
    };
    // A name that is none is an error, as everywhere.
    let named = policies.select_sources(&args.names)?;
    let is_named = |job: &ScheduledJob<'_>| {
        let wanted = |source: &str| {
            named
                .iter()
                .any(|(policy, one)| policy.name == job.policy.name && one.name == source)
        };
        args.names.is_empty()
            || job
                .name
                .rsplit_once("/sources/")
                .is_some_and(|(_, source)| wanted(source))
    };
    let jobs = list_scheduled_jobs(policies);
    let shown: Vec<JobSlots<'_>> = jobs
        .iter()
        .filter(|job| is_named(job))
        .map(|job| JobSlots::find(job, from, args.slots))
        .collect();
    if context.global.json {
        let jobs: Vec<_> = shown.iter().map(JobSlots::as_json).collect();
        output::print_json(&json!({"from": from, "jobs": jobs}));
    } else if shown.is_empty() {
        output::print_line("nothing has a schedule");
    } else {
        shown.iter().for_each(JobSlots::print);
    }
    Ok(Exit::Ok)
}

/// The slots of a job that are shown.
struct JobSlots<'a> {
    job: &'a ScheduledJob<'a>,
    next: Vec<Slot>,
    /// The next change of clocks in the schedule's zone, with the slots around it.
    change: Option<(DateTime<Utc>, Vec<Slot>)>,
}

impl<'a> JobSlots<'a> {
    fn find(job: &'a ScheduledJob<'a>, from: DateTime<Utc>, count: usize) -> Self {
        let schedule = job.schedule;
        let after = |slot: &Slot| schedule.next_slot(slot.due());
        let next = std::iter::successors(schedule.next_slot(from), after);
        let change = schedule
            .time_zone
            .next_change(from, from + CHANGE_SEARCH_MAX);
        let change = change.map(|change| {
            let mut near = schedule.slots_between(change - NEAR_CHANGE, change + NEAR_CHANGE);
            let before = near.iter().filter(|slot| slot.due() < change).count();
            near.drain(..before.saturating_sub(SLOTS_NEAR_CHANGE_MAX / 2));
            near.truncate(SLOTS_NEAR_CHANGE_MAX);
            (change, near)
        });
        Self {
            job,
            next: next.take(count).collect(),
            change,
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let slots = |slots: &[Slot]| -> Vec<_> {
            let one = |slot: &Slot| json!({"slot": slot.id(), "due": slot.due(), "starts": self.start_of(slot)});
            slots.iter().map(one).collect()
        };
        json!({
            "job": self.job.name,
            "slots": slots(&self.next),
            "change_of_clocks": self.change.as_ref().map(|(at, _)| at),
            "slots_around_change": self.change.as_ref().map(|(_, near)| slots(near)),
        })
    }

    fn start_of(&self, slot: &Slot) -> DateTime<Utc> {
        let jitter = self.job.schedule.jitter_of(&self.job.name);
        slot.due() + TimeDelta::from_std(jitter).unwrap_or_default()
    }

    fn print(&self) {
        output::print_line(&format!(
            "{} ({})",
            self.job.name,
            self.job.schedule.timing_text()
        ));
        self.next.iter().for_each(|slot| self.print_slot(slot));
        if let Some((change, near)) = self.change.as_ref().filter(|(_, near)| !near.is_empty()) {
            let zone = &self.job.schedule.time_zone;
            output::print_line(&format!(
                "  clocks of {zone} change at {}:",
                output::format_time(change)
            ));
            near.iter().for_each(|slot| self.print_slot(slot));
        }
    }

    fn print_slot(&self, slot: &Slot) {
        output::print_line(&format!(
            "  {}  starts {}",
            slot.id(),
            output::format_time(&self.start_of(slot))
        ));
    }
}
