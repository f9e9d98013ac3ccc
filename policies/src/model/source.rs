//! A source in a policy: one thing to back up, where to, and what raises an alarm.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use globset::Glob;

use crate::model::defined_names::DefinedNames;
use crate::model::mysql::{self, PolicyMysqlSource};
use crate::model::repository::decode_path;
use crate::model::retention::{self, RetentionChoice};
use crate::model::schedules::schedule::ScheduleScope;
use crate::retention::Retention;
use crate::schedule::Schedule;
use crate::schema::policy_keys::{COMMAND, SOURCE, TFSTATE, VOLUME};
use crate::values::names::{join_names, quote};
use crate::values::paths;
use crate::values::secret::{
    ParsedReference, SecretRef, is_secret_name, is_variable_name, parse_reference,
};
use crate::values::units::{Percent, parse_percent};
use crate::yaml::decoder::{Decoder, Field, Fields};
use crate::yaml::document::YamlValue;

/// A drop by more than half is what a wrong path or an empty mount looks like.
const SHRINK_ALARM_DEFAULT: u8 = 50;

/// One thing to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicySource {
    /// Its name in the policy.
    pub name: String,
    /// Its kind.
    pub kind: PolicySourceKind,
    /// The hosts that its name means; empty: the one that stores it first.
    pub hosts: Vec<String>,
    /// The repositories to store in: at least one, each once, in the order given.
    pub repositories: Vec<String>,
    /// Tags kept with each snapshot.
    pub tags: BTreeMap<String, String>,
    /// The rules, whether named or written at the source; `None` keeps everything.
    pub retention: Option<Retention>,
    /// When a snapshot is due; `None`: only when somebody asks for one.
    pub schedule: Option<Schedule>,
    /// The promise that the newest good snapshot is not older than this.
    pub fresh_within: Option<Duration>,
    /// The promise that the oldest snapshot is at least this old.
    pub reaches_back: Option<Duration>,
    /// Alarm when count or size drops by more than this; `None` when it is off.
    pub shrink_alarm: Option<Percent>,
}

/// The kinds of source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicySourceKind {
    /// Files and directories.
    Volume(PolicyVolumeSource),
    /// A Terraform state.
    TfState(PolicyTfStateSource),
    /// A program's standard output.
    Command(PolicyCommandSource),
    /// Databases of a MySQL or MariaDB server.
    Mysql(Box<PolicyMysqlSource>),
}

/// Files and directories.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyVolumeSource {
    /// The directory, absolute.
    pub path: PathBuf,
    /// Lines in the syntax of .gitignore.
    pub exclude: Vec<String>,
    /// Files with such lines, absolute.
    pub exclude_files: Vec<PathBuf>,
    /// Do not cross file system boundaries.
    pub one_file_system: bool,
}

/// A Terraform state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyTfStateSource {
    /// The state file, absolute.
    pub path: PathBuf,
}

/// A program's standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyCommandSource {
    /// The program and its arguments; never empty, and never given to a shell.
    pub run: Vec<String>,
    /// Environment variables for the program.
    pub env: BTreeMap<String, SecretRef>,
    /// Stop the program and fail after this long.
    pub timeout: Option<Duration>,
}

impl PolicySourceKind {
    /// The kind's key in the policy: `volume`, `tfstate`, `command` or `mysql`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Volume(_) => "volume",
            Self::TfState(_) => "tfstate",
            Self::Command(_) => "command",
            Self::Mysql(_) => "mysql",
        }
    }
}

/// Decodes `sources.NAME`.
pub(crate) fn decode(
    decoder: &mut Decoder<'_>,
    name: &str,
    field: Field<'_>,
    known: &DefinedNames,
    rules: &BTreeMap<String, Retention>,
    scope: &ScheduleScope<'_>,
) -> Option<PolicySource> {
    let fields = decoder.object(field, &SOURCE)?;
    let kind = decode_kind(decoder, &fields);
    let repositories = decode_repositories(decoder, &fields, known);
    let hosts = decoder.references(fields.get("hosts"), "host", &known.hosts);
    let tags = fields
        .get("tags")
        .map(|field| decode_tags(decoder, &field))
        .unwrap_or_default();
    let chosen = fields
        .get("retention")
        .and_then(|field| retention::decode_or_name(decoder, field, &known.retention));
    let retention = chosen.and_then(|chosen| match chosen {
        RetentionChoice::Inline(rules) => Some(rules),
        RetentionChoice::Named(name) => rules.get(&name).cloned(),
    });
    let schedule = scope.decode_key(decoder, &fields, "schedule");
    let mut duration = |key| decoder.value(&fields, key, Decoder::duration);
    let (fresh_within, reaches_back) = (duration("fresh_within"), duration("reaches_back"));
    let shrink_alarm = match fields.get("shrink_alarm") {
        Some(field) => decode_shrink_alarm(decoder, &field),
        None => Percent::new(SHRINK_ALARM_DEFAULT),
    };
    Some(PolicySource {
        name: name.to_owned(),
        kind: kind?,
        hosts,
        repositories,
        tags,
        retention,
        schedule,
        fresh_within,
        reaches_back,
        shrink_alarm,
    })
}

/// Every kind present is decoded, so that its errors are found even when it is one too many.
fn decode_kind(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Option<PolicySourceKind> {
    let volume = fields
        .get("volume")
        .and_then(|field| decode_volume(decoder, field))
        .map(PolicySourceKind::Volume);
    let tfstate = fields
        .get("tfstate")
        .and_then(|field| decode_tfstate(decoder, field))
        .map(PolicySourceKind::TfState);
    let command = fields
        .get("command")
        .and_then(|field| decode_command(decoder, field))
        .map(PolicySourceKind::Command);
    let mysql = fields
        .get("mysql")
        .and_then(|field| mysql::decode(decoder, field))
        .map(|server| PolicySourceKind::Mysql(Box::new(server)));
    volume.or(tfstate).or(command).or(mysql)
}

fn decode_volume(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<PolicyVolumeSource> {
    let fields = decoder.object(field, &VOLUME)?;
    let directory = decoder.value(&fields, "path", decode_path);
    let exclude = decoder.list(fields.get("exclude"), decode_exclude_line);
    let exclude_files = decoder.list(fields.get("exclude_files"), decode_path);
    let one_file_system = decoder
        .value(&fields, "one_file_system", Decoder::flag)
        .unwrap_or(false);
    Some(PolicyVolumeSource {
        path: directory?,
        exclude,
        exclude_files,
        one_file_system,
    })
}

fn decode_exclude_line(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    if text.contains(['\n', '\r']) {
        decoder.report_error(field, "a pattern is one line; make a list of several");
        return None;
    }
    let pattern = text.strip_prefix('!').unwrap_or(text).trim_matches('/');
    if let Err(error) = Glob::new(pattern) {
        decoder.report_error(
            field,
            format!("{} is not a valid pattern: {}", quote(text), error.kind()),
        );
        return None;
    }
    Some(text.to_owned())
}

fn decode_tfstate(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<PolicyTfStateSource> {
    let fields = decoder.object(field, &TFSTATE)?;
    let path = decoder.value(&fields, "path", decode_path);
    Some(PolicyTfStateSource { path: path? })
}

fn decode_command(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<PolicyCommandSource> {
    let fields = decoder.object(field, &COMMAND)?;
    let run = decoder.value(&fields, "run", decode_argv);
    let env = fields
        .get("env")
        .map(|field| decode_variables(decoder, &field))
        .unwrap_or_default();
    let timeout = decoder.value(&fields, "timeout", Decoder::duration);
    Some(PolicyCommandSource {
        run: run?,
        env,
        timeout,
    })
}

fn decode_argv(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    if matches!(field.node.value, YamlValue::Scalar { .. }) && !field.node.is_null() {
        let help =
            "write a list, `[pg_dump, -Fc, app]`; for a shell, say so: `[sh, -c, \"a | b\"]`"
                .to_owned();
        decoder.report_error_with_help(
            field,
            "expected a list: the program and its arguments, one item each",
            Some(help),
        );
        return None;
    }
    let items = decoder.items(field)?;
    let arguments: Vec<Option<String>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| decode_argument(decoder, item, index == 0))
        .collect();
    arguments.into_iter().collect()
}

fn decode_argument(
    decoder: &mut Decoder<'_>,
    field: &Field<'_>,
    is_program: bool,
) -> Option<String> {
    // An empty argument is unusual but means something; an empty program does not.
    if field.node.text() == Some("") && !is_program {
        return Some(String::new());
    }
    let text = decoder.text(field)?;
    if text.contains("${env:") {
        let help =
            "pass it to the program in `env`; arguments are visible to every user of the host"
                .to_owned();
        decoder.report_error_with_help(
            field,
            "a secret must not be passed in an argument",
            Some(help),
        );
        return None;
    }
    Some(text.to_owned())
}

fn decode_variables(decoder: &mut Decoder<'_>, field: &Field<'_>) -> BTreeMap<String, SecretRef> {
    let entries = decoder.entries_named(
        field,
        is_variable_name,
        "letters, digits and `_` (not first a digit)",
    );
    entries
        .into_iter()
        .filter_map(|(name, field)| Some((name.clone(), decode_variable(decoder, &name, &field)?)))
        .collect()
}

fn decode_variable(decoder: &mut Decoder<'_>, name: &str, field: &Field<'_>) -> Option<SecretRef> {
    if field.node.text() == Some("") {
        return Some(SecretRef::Literal(String::new()));
    }
    let is_single = matches!(field.node.value, YamlValue::Scalar { .. });
    if is_secret_name(name)
        && is_single
        && matches!(
            field.node.text().map(parse_reference),
            Some(ParsedReference::Plain | ParsedReference::Malformed(_))
        )
    {
        decoder.report.hide_secret(field.node.mark);
    }
    let text = decoder.text(field)?;
    match parse_reference(text) {
        ParsedReference::Env(variable) => Some(SecretRef::Env(variable.to_owned())),
        ParsedReference::File(file) => Some(SecretRef::File(paths::resolve(decoder.base, file))),
        ParsedReference::Malformed(reason) => {
            decoder.report_error(field, reason);
            None
        }
        ParsedReference::Plain if is_secret_name(name) => {
            let help =
                format!("write `${{env:{name}}}` to take it from the environment, or `file:PATH`");
            decoder.report_error_with_help(
                field,
                format!("`{name}` looks like a secret, which a policy must not contain"),
                Some(help),
            );
            None
        }
        ParsedReference::Plain => Some(SecretRef::Literal(text.to_owned())),
    }
}

fn decode_repositories(
    decoder: &mut Decoder<'_>,
    fields: &Fields<'_>,
    known: &DefinedNames,
) -> Vec<String> {
    let Some(field) = fields.get("repositories") else {
        return match known.repositories.as_slice() {
            [only] => vec![only.clone()],
            // An empty list is itself the error, and it was reported.
            [] => Vec::new(),
            several => {
                let names = join_names(several.iter().map(String::as_str));
                let message = format!(
                    "there are several repositories ({names}); this source must name one or more of them"
                );
                decoder.report_error_at_key(
                    &fields.whole,
                    message,
                    Some("add `repositories: [NAME]`".to_owned()),
                );
                Vec::new()
            }
        };
    };
    decoder.references(Some(field), "repository", &known.repositories)
}

fn decode_tags(decoder: &mut Decoder<'_>, field: &Field<'_>) -> BTreeMap<String, String> {
    let entries = decoder.entries(field);
    entries
        .into_iter()
        .filter_map(|(name, field)| Some((name, decode_tag(decoder, &field)?)))
        .collect()
}

fn decode_tag(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    if text.contains(char::is_control) {
        let help = Some("write it on one line, without escape characters".to_owned());
        decoder.report_error_with_help(field, "a tag cannot have control characters", help);
        return None;
    }
    Some(text.to_owned())
}

fn decode_shrink_alarm(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<Percent> {
    let text = decoder.text(field)?;
    if text == "off" {
        return None;
    }
    let message = match parse_percent(text) {
        Ok(share) if (1..100).contains(&share.get()) => return Some(share),
        Ok(share) => format!("{share} would raise the alarm always or never"),
        Err(error) => error.to_string(),
    };
    decoder.report_error_with_help(field, message, Some("write 1% to 99%, or `off`".to_owned()));
    None
}
