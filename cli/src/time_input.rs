//! Times as people write them.

use chrono::{DateTime, LocalResult, NaiveDateTime, Utc};
use reprise_mysql::log::LogTime;
use reprise_policies::TimeZone;

use crate::context::Context;
use crate::failure::Failure;

/// The accepted formats of a local time, with or without seconds and fractions.
const LOCAL_TIME_FORMATS: [&str; 4] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
];

/// A time of a log: from RFC 3339, or a local time in the zone of the policy that has the source.
pub(crate) fn parse_time(context: &Context, source: &str, text: &str) -> Result<LogTime, Failure> {
    let time = match DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.with_timezone(&Utc),
        Err(_) => parse_local_time(text, &policy_time_zone(context, source)?)?,
    };
    if time < DateTime::UNIX_EPOCH {
        return Err(Failure::usage(format!("{text} is before 1970"), ""));
    }
    Ok(time.into())
}

/// The zone of the policy that has the source; without a policy, UTC.
fn policy_time_zone(context: &Context, source: &str) -> Result<TimeZone, Failure> {
    if context.global.policies.is_none() {
        return Ok(TimeZone::utc());
    }
    let policies = context.load_policies()?;
    let found = policies.find_source(source);
    Ok(found.map_or_else(|_| TimeZone::utc(), |(policy, _)| policy.time_zone.clone()))
}

fn parse_local_time(text: &str, zone: &TimeZone) -> Result<DateTime<Utc>, Failure> {
    let parsed = LOCAL_TIME_FORMATS
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let Some(local) = parsed else {
        return Err(Failure::usage(
            format!("`{text}` is not a time"),
            "write it as 2026-11-21T14:03:07Z, optionally with fractions of a second, or as '2026-11-21 14:03:07' in the time zone of the policy",
        ));
    };
    match zone.resolve_local_time(local) {
        LocalResult::Single(time) => Ok(time.with_timezone(&Utc)),
        LocalResult::Ambiguous(first, second) => Err(Failure::usage(
            format!("`{text}` is ambiguous in {zone}: it occurs twice when clocks go back"),
            format!("write {} or {}", first.to_rfc3339(), second.to_rfc3339()),
        )),
        LocalResult::None => Err(Failure::usage(
            format!("`{text}` does not exist in {zone}: clocks go forward over it"),
            "write the time with its offset, as 2026-11-21T14:03:07+01:00",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_time_is_of_its_zone_and_one_moment() {
        let berlin = &TimeZone::find("Europe/Berlin").unwrap();
        let time = parse_local_time("2026-07-01 12:00", berlin).unwrap();
        assert_eq!(time.to_rfc3339(), "2026-07-01T10:00:00+00:00");
        let fine = parse_local_time("2026-07-01T12:00:00.000001", &TimeZone::utc()).unwrap();
        assert_eq!(fine.timestamp_subsec_micros(), 1);
        // Clocks are set forward at the end of March and back at the end of October.
        for wrong in ["2026-03-29 02:30", "2026-10-25 02:30", "yesterday"] {
            assert!(parse_local_time(wrong, berlin).is_err(), "{wrong}");
        }
    }
}
