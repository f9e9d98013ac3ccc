//! A drill in a policy: what to restore, what must be true of it, and how long it may take.

use std::time::Duration;

use crate::model::check::{self, DrillCheck};
use crate::model::defined_names::DefinedNames;
use crate::model::repository::decode_identity;
use crate::model::schedules::schedule::ScheduleScope;
use crate::model::scratch_server::{self, DrillQuery, ScratchServer};
use crate::schedule::Schedule;
use crate::schema::drill_keys::{BUDGET, DRILL};
use crate::values::names::join_names;
use crate::values::secret::IdentityRef;
use crate::yaml::decoder::{Decoder, Field, Fields};

/// A restore rehearsal.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Drill {
    /// Its name in the policy.
    pub name: String,
    /// The source whose newest snapshot is restored.
    pub source: String,
    /// The repository to restore from; one of the source's.
    pub repository: String,
    /// Take a snapshot of the source before restoring.
    pub snapshot_first: bool,
    /// The identity for reading: the drill's own, or else the repository's.
    pub identity: Option<IdentityRef>,
    /// Only these paths, or what these patterns match, are restored; empty: everything.
    pub paths: Vec<String>,
    /// The server into which a database server is restored; `None` for files.
    pub server: Option<ScratchServer>,
    /// What must be true of the restored databases.
    pub queries: Vec<DrillQuery>,
    /// What must be true of the restored files.
    pub checks: Vec<DrillCheck>,
    /// The limits of the restore.
    pub budget: DrillBudget,
    /// When it is due; `None`: only when somebody asks for it.
    pub schedule: Option<Schedule>,
    /// The hosts that run it; empty: whoever runs.
    pub hosts: Vec<String>,
}

/// The limits of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DrillBudget {
    /// How long the restore may take.
    pub recovery_time: Option<Duration>,
    /// How old the restored data may be.
    pub data_loss: Option<Duration>,
}

/// Decodes `drills.NAME`. The identity is the drill's own; the policy fills in the repository's.
pub(crate) fn decode(
    decoder: &mut Decoder<'_>,
    name: &str,
    field: Field<'_>,
    known: &DefinedNames,
    scope: &ScheduleScope<'_>,
) -> Option<Drill> {
    let fields = decoder.object(field, &DRILL)?;
    let source = fields
        .get("source")
        .and_then(|field| decoder.reference(&field, "source", &known.sources));
    let repository = decode_repository(decoder, &fields, source.as_deref(), known);
    let snapshot_first = decoder
        .value(&fields, "snapshot_first", Decoder::flag)
        .unwrap_or(false);
    let identity = decoder.value(&fields, "identity", decode_identity);
    let paths = decoder.list(fields.get("paths"), Decoder::owned_text);
    let server = fields
        .get("server")
        .and_then(|field| scratch_server::decode_server(decoder, field));
    let queries = decoder.list(fields.get("queries"), |decoder, item| {
        scratch_server::decode_query(decoder, item.clone())
    });
    let checks = decoder.list(fields.get("checks"), |decoder, item| {
        check::decode(decoder, item.clone())
    });
    check_source_kind(decoder, &fields, source.as_deref(), known);
    let budget = fields
        .get("budget")
        .and_then(|field| decode_budget(decoder, field))
        .unwrap_or_default();
    let schedule = scope.decode_key(decoder, &fields, "schedule");
    let hosts = decoder.references(fields.get("hosts"), "host", &known.hosts);
    let (source, repository) = (source?, repository?);
    Some(Drill {
        name: name.to_owned(),
        source,
        repository,
        snapshot_first,
        identity,
        paths,
        server,
        queries,
        checks,
        budget,
        schedule,
        hosts,
    })
}

/// Files and servers are checked in different ways.
fn check_source_kind(
    decoder: &mut Decoder<'_>,
    fields: &Fields<'_>,
    source: Option<&str>,
    known: &DefinedNames,
) {
    let server = fields.get("server");
    if let (Some(server), Some(source)) = (&server, source)
        && known.non_mysql_sources.iter().any(|name| name == source)
    {
        let message = format!("`{source}` is not a database server");
        decoder.report_error_at_key(server, message, Some("leave out `server`".to_owned()));
    }
    if let (Some(checks), Some(_)) = (fields.get("checks"), &server) {
        let help = "use `queries`, or leave out `server`".to_owned();
        decoder.report_error_at_key(&checks, "a server has no files to check", Some(help));
    }
    if let (Some(paths), Some(_)) = (fields.get("paths"), &server) {
        let help = "leave out `paths`, or `server`".to_owned();
        decoder.report_error_at_key(&paths, "a server has no paths to restore", Some(help));
    }
    if let (Some(queries), None) = (fields.get("queries"), &server) {
        let help = "add `server` to restore to, or use `checks`".to_owned();
        decoder.report_error_at_key(&queries, "queries need a server", Some(help));
    }
}

fn decode_repository(
    decoder: &mut Decoder<'_>,
    fields: &Fields<'_>,
    source: Option<&str>,
    known: &DefinedNames,
) -> Option<String> {
    let of_source = source
        .and_then(|source| known.source_repositories.get(source))
        .map_or(&[][..], Vec::as_slice);
    if let Some(field) = fields.get("repository") {
        let name = decoder.reference(&field, "repository", &known.repositories)?;
        // When the source's own list is invalid it is empty, and that was reported.
        if !of_source.is_empty() && !of_source.contains(&name) {
            let stored = join_names(of_source.iter().map(String::as_str));
            decoder.report_error_with_help(
                &field,
                format!("the source is not stored in `{name}`"),
                Some(format!("it is stored in {stored}")),
            );
        }
        return Some(name);
    }
    match of_source {
        [only] => Some(only.clone()),
        [] => None,
        several => {
            let names = join_names(several.iter().map(String::as_str));
            let message = format!(
                "the source is stored in several repositories ({names}); this drill must name one"
            );
            decoder.report_error_at_key(
                &fields.whole,
                message,
                Some("add `repository: NAME`".to_owned()),
            );
            None
        }
    }
}

fn decode_budget(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<DrillBudget> {
    let fields = decoder.object(field, &BUDGET)?;
    let recovery_time = decoder.value(&fields, "recovery_time", Decoder::duration);
    let data_loss = decoder.value(&fields, "data_loss", Decoder::duration);
    Some(DrillBudget {
        recovery_time,
        data_loss,
    })
}
