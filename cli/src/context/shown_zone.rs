//! The time zone in which times are shown, and in which a time without an offset is read.

use reprise_policies::PolicySet;
use reprise_times::{TimeZone, show_times_in};

/// The time zone of a command, and why it is that one.
#[derive(Debug, Clone)]
pub(crate) struct ShownZone {
    pub(crate) zone: TimeZone,
    /// Whose zone it is, for people.
    pub(crate) origin: &'static str,
}

impl ShownZone {
    /// That of the policies, if all of them have the same one; else that of this system. `tz`: the variable that is to name it.
    pub(crate) fn choose(policies: Option<&PolicySet>, tz: Option<&str>) -> Self {
        if let Some(zone) = policies.and_then(common_zone) {
            return Self {
                zone,
                origin: "the time zone of the policies",
            };
        }
        match (TimeZone::of_system(), tz) {
            (Some(zone), Some(_)) => Self {
                zone,
                origin: "the time zone of the variable TZ",
            },
            (Some(zone), None) => Self {
                zone,
                origin: "the time zone of this system",
            },
            (None, Some(_)) => Self {
                zone: TimeZone::utc(),
                origin: "as the variable TZ names no known time zone",
            },
            (None, None) => Self {
                zone: TimeZone::utc(),
                origin: "as this system names no time zone",
            },
        }
    }

    /// Shows times in it from now on. JSON is in UTC, so that a script never depends on where it runs.
    pub(crate) fn show(&self, json: bool) {
        show_times_in(match json {
            true => TimeZone::utc(),
            false => self.zone.clone(),
        });
    }
}

fn common_zone(policies: &PolicySet) -> Option<TimeZone> {
    let mut zones = policies.policies().iter().map(|policy| &policy.time_zone);
    let first = zones.next()?;
    zones.all(|zone| zone == first).then(|| first.clone())
}
