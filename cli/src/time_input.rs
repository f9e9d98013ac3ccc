//! Times as people write them on the command line.

use chrono::{DateTime, SecondsFormat, Utc};
use reprise_mysql::log::LogTime;
use reprise_times::{DayMeaning, TimeZone, read_time};

use crate::context::{Context, current_time};
use crate::failure::Failure;

/// A time of a log: with its offset, or a local time in the zone of the policy that has the source, else in the one in
/// which times are shown. Which one it was is said.
pub(crate) fn parse_time(
    context: &Context,
    source: &str,
    text: &str,
    day_meaning: DayMeaning,
) -> Result<LogTime, Failure> {
    parse_moment(context, source, text, day_meaning).map(LogTime::from)
}

/// A moment, in the same way.
pub(crate) fn parse_moment(
    context: &Context,
    source: &str,
    text: &str,
    day_meaning: DayMeaning,
) -> Result<DateTime<Utc>, Failure> {
    let (zone, origin) = context.zone_of_source(source);
    let read = read_time(text, &zone, current_time(), day_meaning)?;
    if read.time < DateTime::UNIX_EPOCH {
        return Err(Failure::usage(format!("{text} is before 1970"), ""));
    }
    if read.is_local {
        print_meaning(context, text, read.time, &zone, &origin);
    }
    Ok(read.time)
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
