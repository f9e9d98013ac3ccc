//! The rules of retention, and how a policy writes them.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::schema::table::RETENTION;
use crate::yaml::decoder::{Decoder, Field};
use crate::yaml::document::YamlValue;

/// Rules for how long snapshots are kept. A snapshot is kept when any rule keeps it. At least one rule is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Retention {
    /// Keep this many of the newest.
    pub last: Option<NonZeroU32>,
    /// Keep the last of each of this many hours that have one.
    pub hourly: Option<NonZeroU32>,
    /// Keep the last of each of this many days that have one.
    pub daily: Option<NonZeroU32>,
    /// Keep the last of each of this many weeks that have one.
    pub weekly: Option<NonZeroU32>,
    /// Keep the last of each of this many months that have one.
    pub monthly: Option<NonZeroU32>,
    /// Keep the last of each of this many years that have one.
    pub yearly: Option<NonZeroU32>,
    /// Keep every snapshot younger than this.
    pub within: Option<Duration>,
    /// For a database server: keep the log of this recovery window, and the snapshots that it needs, so that any time
    /// in it can be restored.
    pub point_in_time: Option<Duration>,
    /// A minimum, not a rule: never go below this many, whatever the rules say.
    pub keep_at_least: Option<NonZeroU32>,
}

/// Decodes the rules. That at least one is set is checked by the table.
pub(crate) fn decode(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<Retention> {
    let fields = decoder.object(field, &RETENTION)?;
    let mut count = |name: &str| fields.get(name).and_then(|field| decoder.count(&field));
    let mut retention = Retention {
        last: count("last"),
        hourly: count("hourly"),
        daily: count("daily"),
        weekly: count("weekly"),
        monthly: count("monthly"),
        yearly: count("yearly"),
        within: None,
        point_in_time: None,
        keep_at_least: count("keep_at_least"),
    };
    retention.within = fields
        .get("within")
        .and_then(|field| decoder.duration(&field));
    retention.point_in_time = fields
        .get("point_in_time")
        .and_then(|field| decoder.duration(&field));
    Some(retention)
}

/// Decodes the name of rules in `known`, or the rules themselves.
pub(crate) fn decode_or_name(
    decoder: &mut Decoder<'_>,
    field: Field<'_>,
    known: &[String],
) -> Option<RetentionChoice> {
    match &field.node.value {
        YamlValue::Map(_) => decode(decoder, field).map(RetentionChoice::Inline),
        YamlValue::Scalar { .. } => decoder
            .reference(&field, "retention", known)
            .map(RetentionChoice::Named),
        YamlValue::List(_) => {
            decoder.report_error(
                &field,
                "expected a name from `retention` or a mapping of rules, found a list",
            );
            None
        }
    }
}

/// The retention of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RetentionChoice {
    Named(String),
    Inline(Retention),
}
