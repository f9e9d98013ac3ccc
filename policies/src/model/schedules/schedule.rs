//! A schedule in a policy: a name of `schedules`, a cron expression, or a mapping.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::schedule::{
    CatchUp, CronExpression, DailyWindow, OverlapRule, Schedule, ScheduleTiming,
};
use crate::schema::schedule_keys::{CATCH_UPS, OVERLAP_RULES, RETRIES_MAX, SCHEDULE};
use crate::values::names::{did_you_mean, quote};
use crate::yaml::decoder::{Decoder, Field, Fields};
use crate::yaml::document::YamlValue;
use reprise_times::TimeZone;

/// Nothing that reprise does is worth doing more often.
const INTERVAL_MIN: Duration = Duration::from_secs(60);

/// What a `schedule` in a policy can refer to.
#[derive(Debug)]
pub(crate) struct ScheduleScope<'a> {
    /// The names that the policy defines, whether they are valid or not.
    pub(crate) names: &'a [String],
    /// Those that are valid.
    pub(crate) schedules: &'a BTreeMap<String, Schedule>,
    /// The policy's time zone.
    pub(crate) time_zone: &'a TimeZone,
}

impl ScheduleScope<'_> {
    /// Decodes the schedule under a key, if the key is there.
    pub(crate) fn decode_key(
        &self,
        decoder: &mut Decoder<'_>,
        fields: &Fields<'_>,
        key: &str,
    ) -> Option<Schedule> {
        self.decode(decoder, fields.get(key)?)
    }

    fn decode(&self, decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<Schedule> {
        match &field.node.value {
            YamlValue::Map(_) => decode(decoder, field, self.time_zone),
            YamlValue::Scalar { .. } => {
                let text = decoder.text(&field)?;
                if text.starts_with('@') || text.contains(char::is_whitespace) {
                    let timing = decode_cron(decoder, &field)?;
                    return Some(Schedule::new(timing, self.time_zone.clone()));
                }
                let name = decoder.reference(&field, "schedule", self.names)?;
                self.schedules.get(&name).cloned()
            }
            YamlValue::List(_) => {
                decoder.report_error(
                    &field,
                    "expected a name from `schedules`, a cron expression or a mapping, found a list",
                );
                None
            }
        }
    }
}

/// Decodes `schedules.NAME`, or a schedule that is written where it is used.
pub(crate) fn decode(
    decoder: &mut Decoder<'_>,
    field: Field<'_>,
    policy_zone: &TimeZone,
) -> Option<Schedule> {
    let fields = decoder.object(field, &SCHEDULE)?;
    let time_zone = match fields.get("time_zone") {
        Some(field) => decode_time_zone(decoder, &field),
        None => Some(policy_zone.clone()),
    };
    let cron = decoder.value(&fields, "cron", decode_cron);
    let every = decoder.value(&fields, "every", decode_interval);
    let mut duration = |key| decoder.value(&fields, key, Decoder::duration);
    let (jitter, start_within, timeout) = (
        duration("jitter"),
        duration("start_within"),
        duration("timeout"),
    );
    let overlap = decoder.value(&fields, "overlap", |decoder, field| {
        decoder.word(
            field,
            ("rule for overlaps", "rule"),
            OVERLAP_RULES,
            overlap_of_word,
        )
    });
    let catch_up = decoder.value(&fields, "catch_up", |decoder, field| {
        decoder.word(
            field,
            ("rule for missed slots", "rule"),
            CATCH_UPS,
            catch_up_of_word,
        )
    });
    let retries = decoder.value(&fields, "retries", |decoder, field| {
        decoder.count_up_to(field, RETRIES_MAX)
    });
    let window = decoder.value(&fields, "window", decode_window);
    Some(Schedule {
        jitter: jitter.unwrap_or_default(),
        start_within,
        timeout,
        overlap: overlap.unwrap_or_default(),
        catch_up: catch_up.unwrap_or_default(),
        retries: retries.map_or(0, u32::from),
        window,
        ..Schedule::new(cron.or(every)?, time_zone?)
    })
}

fn decode_cron(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<ScheduleTiming> {
    let text = decoder.text(field)?;
    match CronExpression::parse(text) {
        Ok(expression) => Some(ScheduleTiming::Cron(expression)),
        Err(error) => {
            let help = "write for example `0 2 * * *` for 02:00 each day, or `@daily`";
            let message = format!("{} {error}", quote(text));
            decoder.report_error_with_help(field, message, Some(help.to_owned()));
            None
        }
    }
}

fn decode_interval(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<ScheduleTiming> {
    let interval = decoder.duration(field)?;
    if interval < INTERVAL_MIN {
        let help = Some("write `1m` or more".to_owned());
        decoder.report_error_with_help(field, "the interval is shorter than a minute", help);
        return None;
    }
    Some(ScheduleTiming::Every(interval))
}

fn decode_window(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<DailyWindow> {
    let text = decoder.text(field)?;
    let window = DailyWindow::parse(text);
    if window.is_none() {
        let message = format!(
            "{} is not a time of day from one time to another",
            quote(text)
        );
        let help = Some("write for example `22:00-06:00`".to_owned());
        decoder.report_error_with_help(field, message, help);
    }
    window
}

/// Decodes the name of a time zone.
pub(crate) fn decode_time_zone(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<TimeZone> {
    let text = decoder.text(field)?;
    let found = TimeZone::find(text);
    if found.is_none() {
        let help = did_you_mean(text, TimeZone::names());
        let message = format!("{} is not an IANA time zone", quote(text));
        decoder.report_error_with_help(field, message, help);
    }
    found
}

fn overlap_of_word(word: &str) -> Option<OverlapRule> {
    Some(match word {
        "skip" => OverlapRule::Skip,
        "queue" => OverlapRule::Queue,
        _ => return None,
    })
}

fn catch_up_of_word(word: &str) -> Option<CatchUp> {
    Some(match word {
        "one" => CatchUp::One,
        "none" => CatchUp::None,
        _ => return None,
    })
}
