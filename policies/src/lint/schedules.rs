//! Warnings about schedules: promises that they cannot keep, and times at which nothing can start.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::lint::linter::PolicyLinter;
use crate::model::host::HostRole;
use crate::model::policy::Policy;
use crate::model::source::PolicySource;
use crate::retention::Retention;
use crate::schedule::Schedule;
use crate::values::units::describe_duration;

/// Slots are judged over some years from here on: what is wrong must not depend on the day on which it is looked at.
const JUDGED_FROM: DateTime<Utc> = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
/// How many slots are looked at to find one inside the window.
const WINDOW_SLOTS: usize = 400;
const DAY: Duration = Duration::from_secs(86_400);

impl PolicyLinter<'_> {
    pub(crate) fn lint_schedules(&mut self) {
        let policy = self.policy;
        for (name, source) in &policy.sources {
            self.lint_promises(name, source);
            if source.hosts.len() > 1 {
                let message = format!(
                    "the source `{name}` is stored by several hosts, each as a series of its own"
                );
                let help = "give each host a source of its own name, unless they store the same";
                self.add_warning(&["sources", name, "hosts"], message, help);
            }
        }
        for (place, schedule) in schedules_in_use(policy) {
            let place: Vec<&str> = place.iter().map(String::as_str).collect();
            self.lint_window(&place, schedule);
        }
        self.lint_unused_schedules();
        self.lint_maintenance();
    }

    fn lint_promises(&mut self, name: &str, source: &PolicySource) {
        if let (Some(promise), Some(schedule)) = (source.fresh_within, &source.schedule)
            && let Some(interval) = schedule.longest_interval(JUDGED_FROM)
            && promise < interval + schedule.jitter
        {
            let message = format!(
                "the schedule cannot keep this promise: {} pass between two of its slots",
                describe_duration(interval + schedule.jitter)
            );
            let help =
                "promise more than that and the time that a run takes, or schedule it more often";
            self.add_warning(&["sources", name, "fresh_within"], message, help);
        }
        if let (Some(promise), Some(rules)) = (source.reaches_back, &source.retention)
            && let Some(reach) = longest_reach(rules, source.schedule.as_ref())
            && reach < promise
        {
            let message = format!(
                "the retention cannot keep this promise: it reaches back {} at most",
                describe_duration(reach)
            );
            let help = "keep snapshots for longer, or promise less";
            self.add_warning(&["sources", name, "reaches_back"], message, help);
        }
    }

    fn lint_window(&mut self, place: &[&str], schedule: &Schedule) {
        if schedule.window.is_none() {
            return;
        }
        let next = |slot: &crate::schedule::Slot| schedule.next_slot(slot.due());
        let mut slots =
            std::iter::successors(schedule.next_slot(JUDGED_FROM), next).take(WINDOW_SLOTS);
        if slots.any(|slot| schedule.may_start(slot.due())) {
            return;
        }
        let message = "none of its slots is inside its `window`".to_owned();
        let help = "each run will wait for the window; let the schedule and the window agree";
        self.add_warning(place, message, help);
    }

    fn lint_unused_schedules(&mut self) {
        for name in self.policy.schedules.keys() {
            let mut used = schedules_in_use(self.policy).into_iter();
            // A copy that was made by name is equal.
            if !used.any(|(place, _)| self.is_text_at(&place, name)) {
                let message = format!("nothing uses the schedule `{name}`");
                let help = "name it in a source's `schedule`, or remove it";
                self.add_warning(&["schedules", name], message, help);
            }
        }
    }

    fn lint_maintenance(&mut self) {
        for (name, maintenance) in &self.policy.maintenance {
            let needs_keeper = maintenance.forget.is_some() || maintenance.prune.is_some();
            let is_other = |host: &&String| {
                let roles = self.policy.hosts.get(*host).map(|host| &host.roles);
                roles.is_some_and(|roles| !roles.is_empty() && !roles.contains(&HostRole::Keeper))
            };
            let other = maintenance.hosts.iter().find(is_other).cloned();
            if let Some(host) = other.filter(|_| needs_keeper) {
                let message =
                    format!("the host `{host}` is no keeper, and only keepers forget and prune");
                let help = "give the host the role `keeper`, or name a host that has it";
                self.add_warning(&["maintenance", name, "hosts"], message, help);
            }
        }
    }
}

/// The schedules that something uses, each with the path of its key.
fn schedules_in_use(policy: &Policy) -> Vec<(Vec<String>, &Schedule)> {
    let mut found: Vec<(Vec<String>, &Schedule)> = Vec::new();
    for (name, source) in &policy.sources {
        collect(
            &mut found,
            &["sources", name, "schedule"],
            source.schedule.as_ref(),
        );
    }
    for (name, copy) in &policy.copies {
        collect(
            &mut found,
            &["copies", name, "schedule"],
            copy.schedule.as_ref(),
        );
    }
    for (name, drill) in &policy.drills {
        collect(
            &mut found,
            &["drills", name, "schedule"],
            drill.schedule.as_ref(),
        );
    }
    for (name, maintenance) in &policy.maintenance {
        for (key, schedule) in [
            ("forget", &maintenance.forget),
            ("prune", &maintenance.prune),
            ("verify", &maintenance.verify),
            ("locks", &maintenance.locks),
        ] {
            collect(&mut found, &["maintenance", name, key], schedule.as_ref());
        }
        let read_data = maintenance.read_data.as_ref().map(|(_, schedule)| schedule);
        collect(
            &mut found,
            &["maintenance", name, "read_data", "schedule"],
            read_data,
        );
    }
    found
}

fn collect<'a>(
    found: &mut Vec<(Vec<String>, &'a Schedule)>,
    path: &[&str],
    schedule: Option<&'a Schedule>,
) {
    let path = path.iter().map(|&part| part.to_owned()).collect();
    found.extend(schedule.map(|schedule| (path, schedule)));
}

/// How far back the rules reach at most; `None`: without an end that can be told.
fn longest_reach(rules: &Retention, schedule: Option<&Schedule>) -> Option<Duration> {
    let times = |count: Option<std::num::NonZeroU32>, unit: Duration| {
        count.map(|count| unit.saturating_mul(count.get()))
    };
    let interval = schedule.and_then(|schedule| schedule.longest_interval(JUDGED_FROM));
    if interval.is_none() && (rules.last.is_some() || rules.keep_at_least.is_some()) {
        return None;
    }
    let interval = interval.unwrap_or_default();
    [
        times(rules.last, interval),
        times(rules.keep_at_least, interval),
        times(rules.hourly, interval.max(Duration::from_secs(3600))),
        times(rules.daily, interval.max(DAY)),
        times(rules.weekly, interval.max(DAY * 7)),
        times(rules.monthly, interval.max(DAY * 31)),
        times(rules.yearly, interval.max(DAY * 366)),
        rules.within,
        rules.point_in_time,
    ]
    .into_iter()
    .flatten()
    .max()
}
