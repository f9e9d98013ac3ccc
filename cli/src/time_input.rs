//! Times as people write them on the command line.

use chrono::{DateTime, SecondsFormat, Utc};
use reprise_mysql::log::LogTime;
use reprise_times::{DayMeaning, TimeInputError, TimeZone, read_time};

use crate::context::{Context, current_time};
use crate::failure::Failure;

impl From<TimeInputError> for Failure {
    fn from(error: TimeInputError) -> Self {
        Self::usage(error.to_string(), error.hint())
    }
}

/// A time of a log: with its offset, or a local time in the zone of the policy that has the source, else in the one in
/// which times are shown. Which one it was is said.
pub(crate) fn parse_time(
    context: &Context,
    source: &str,
    text: &str,
    day_meaning: DayMeaning,
) -> Result<LogTime, Failure> {
    let (zone, origin) = zone_of_source(context, source)?;
    let read = read_time(text, &zone, current_time(), day_meaning)?;
    if read.time < DateTime::UNIX_EPOCH {
        return Err(Failure::usage(format!("{text} is before 1970"), ""));
    }
    if read.is_local {
        print_meaning(context, text, read.time, &zone, &origin);
    }
    Ok(read.time.into())
}

/// The zone in which times of a source are written, and whose zone that is.
pub(crate) fn zone_of_source(
    context: &Context,
    source: &str,
) -> Result<(TimeZone, String), Failure> {
    if context.global.policies.is_some()
        && let Ok((policy, _)) = context.load_policies()?.find_source(source)
    {
        let origin = format!("the time zone of policy {}", policy.name);
        return Ok((policy.time_zone.clone(), origin));
    }
    let shown = &context.zone;
    Ok((shown.zone.clone(), shown.origin.to_owned()))
}

/// Says which moment a local time was taken for.
fn print_meaning(
    context: &Context,
    text: &str,
    time: DateTime<Utc>,
    zone: &TimeZone,
    origin: &str,
) {
    let time = zone.format_time(time, SecondsFormat::AutoSi);
    context.print_note(&format!(
        "note: `{text}` is {time} ({zone}, {origin}); for another zone, write the time with its offset, as {time}"
    ));
}
