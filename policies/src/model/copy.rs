//! A copy in a policy: from which repository to which snapshots are copied.

use crate::model::defined_names::DefinedNames;
use crate::model::schedules::schedule::ScheduleScope;
use crate::schedule::Schedule;
use crate::schema::policy_keys::COPY;
use crate::yaml::decoder::{Decoder, Field};

/// One repository whose snapshots are copied to another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyJob {
    /// Its name in the policy.
    pub name: String,
    /// The repository to copy from, one of the policy.
    pub from: String,
    /// The repository to copy to, another one of the policy.
    pub to: String,
    /// When it is due; `None`: after each snapshot of `reprise run`.
    pub schedule: Option<Schedule>,
    /// The hosts that make it; empty: whoever runs.
    pub hosts: Vec<String>,
}

/// Decodes `copies.NAME`.
pub(crate) fn decode(
    decoder: &mut Decoder<'_>,
    name: &str,
    field: Field<'_>,
    known: &DefinedNames,
    scope: &ScheduleScope<'_>,
) -> Option<CopyJob> {
    let fields = decoder.object(field, &COPY)?;
    let mut end = |key| {
        let field = fields.get(key)?;
        decoder.reference(&field, "repository", &known.repositories)
    };
    let (from, to) = (end("from"), end("to"));
    let schedule = scope.decode_key(decoder, &fields, "schedule");
    let hosts = decoder.references(fields.get("hosts"), "host", &known.hosts);
    let (from, to) = (from?, to?);
    if from == to
        && let Some(field) = fields.get("to")
    {
        decoder.report_error_with_help(
            &field,
            format!("`{to}` would be copied to itself"),
            Some("name another repository".to_owned()),
        );
    }
    Some(CopyJob {
        name: name.to_owned(),
        from,
        to,
        schedule,
        hosts,
    })
}
