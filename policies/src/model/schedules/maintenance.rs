//! The maintenance of a repository in a policy: what is done to it besides storing, and when.

use crate::model::defined_names::DefinedNames;
use crate::model::schedules::schedule::ScheduleScope;
use crate::schedule::Schedule;
use crate::schema::schedule_keys::{MAINTENANCE, READ_DATA};
use crate::values::units::{Percent, parse_percent};
use crate::yaml::decoder::{Decoder, Field};

/// So everything is read in twenty nights.
const READ_SHARE_DEFAULT: u8 = 5;

/// What is done to a repository, and when. What has no schedule is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintenance {
    /// The repository's name in the policy.
    pub repository: String,
    /// The hosts that do it; empty: whoever runs.
    pub hosts: Vec<String>,
    /// When snapshots that no rule keeps are forgotten.
    pub forget: Option<Schedule>,
    /// When what nothing needs is deleted.
    pub prune: Option<Schedule>,
    /// When it is verified that everything is there.
    pub verify: Option<Schedule>,
    /// When a share of the data is read and verified.
    pub read_data: Option<(Percent, Schedule)>,
    /// When locks are extended.
    pub locks: Option<Schedule>,
}

/// Decodes `maintenance.REPOSITORY`.
pub(crate) fn decode(
    decoder: &mut Decoder<'_>,
    repository: &str,
    field: Field<'_>,
    known: &DefinedNames,
    scope: &ScheduleScope<'_>,
) -> Option<Maintenance> {
    let is_known = known.repositories.iter().any(|name| name == repository);
    if !is_known {
        let help = "name it as in `repositories`".to_owned();
        let message = format!("there is no repository named `{repository}`");
        decoder.report_error_at_key(&field, message, Some(help));
    }
    let fields = decoder.object(field, &MAINTENANCE)?;
    let hosts = decoder.references(fields.get("hosts"), "host", &known.hosts);
    let mut schedule = |key| scope.decode_key(decoder, &fields, key);
    let (forget, prune) = (schedule("forget"), schedule("prune"));
    let (verify, locks) = (schedule("verify"), schedule("locks"));
    let read_data = fields
        .get("read_data")
        .and_then(|field| decode_read_data(decoder, field, scope));
    is_known.then(|| Maintenance {
        repository: repository.to_owned(),
        hosts,
        forget,
        prune,
        verify,
        read_data,
        locks,
    })
}

fn decode_read_data(
    decoder: &mut Decoder<'_>,
    field: Field<'_>,
    scope: &ScheduleScope<'_>,
) -> Option<(Percent, Schedule)> {
    let fields = decoder.object(field, &READ_DATA)?;
    let share = match fields.get("share") {
        Some(field) => decode_share(decoder, &field),
        None => Percent::new(READ_SHARE_DEFAULT),
    };
    let schedule = scope.decode_key(decoder, &fields, "schedule");
    share.zip(schedule)
}

fn decode_share(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<Percent> {
    let message = match parse_percent(decoder.text(field)?) {
        Ok(share) if share.get() > 0 => return Some(share),
        Ok(_) => "nothing would be read".to_owned(),
        Err(error) => error.to_string(),
    };
    decoder.report_error_with_help(field, message, Some("write 1% to 100%".to_owned()));
    None
}
