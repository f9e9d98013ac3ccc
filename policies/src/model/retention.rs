//! The retention rules in a policy: named ones, and those written at a source.

use crate::retention::Retention;
use crate::schema::policy_keys::RETENTION;
use crate::yaml::decoder::{Decoder, Field};
use crate::yaml::document::YamlValue;

/// Decodes the rules. That at least one is set is checked by the table.
pub(crate) fn decode(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<Retention> {
    let fields = decoder.object(field, &RETENTION)?;
    let mut count = |name: &str| decoder.value(&fields, name, Decoder::count);
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
    retention.within = decoder.value(&fields, "within", Decoder::duration);
    retention.point_in_time = decoder.value(&fields, "point_in_time", Decoder::duration);
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
