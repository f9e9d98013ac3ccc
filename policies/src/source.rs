//! A source in a policy: one thing to protect, where to, and what counts as alarming.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use globset::Glob;

use crate::decoder::{Decoder, Field, Fields};
use crate::document::Value;
use crate::mysql::{self, MysqlSource};
use crate::names::quoted;
use crate::policy::Known;
use crate::repository::path;
use crate::retention::{self, Chosen, Retention};
use crate::secret::{SecretRef, Written, is_variable_name, looks_secret, written};
use crate::table::{COMMAND, SOURCE, TFSTATE, VOLUME};
use crate::units::{Percent, parse_percent};

/// A fall by more than half is what a wrong path or an empty mount looks like.
const SHRINK_ALARM_DEFAULT: u8 = 50;

/// One thing to protect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// Its name in the policy.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// The repositories to store in: at least one, each once, in the order given.
    pub repositories: Vec<String>,
    /// Words kept with each snapshot.
    pub tags: BTreeMap<String, String>,
    /// The rules, whether named or written at the source; `None` keeps everything.
    pub retention: Option<Retention>,
    /// Alarm when count or size falls by more than this; `None` when it is off.
    pub shrink_alarm: Option<Percent>,
}

/// The kinds of source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceKind {
    /// Files and folders.
    Volume(VolumeSource),
    /// A Terraform state.
    TfState(TfStateSource),
    /// A program's standard output.
    Command(CommandSource),
    /// Databases of a MySQL or MariaDB server.
    Mysql(MysqlSource),
}

/// Files and folders.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeSource {
    /// The folder, absolute.
    pub path: PathBuf,
    /// Lines in the syntax of .gitignore.
    pub exclude: Vec<String>,
    /// Files with such lines, absolute.
    pub exclude_files: Vec<PathBuf>,
    /// Do not enter other file systems.
    pub one_file_system: bool,
}

/// A Terraform state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TfStateSource {
    /// The state file, absolute.
    pub path: PathBuf,
}

/// A program's standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandSource {
    /// The program and its arguments; never empty, and never given to a shell.
    pub run: Vec<String>,
    /// Variables for the program.
    pub env: BTreeMap<String, SecretRef>,
    /// Stop the program and fail after this long.
    pub timeout: Option<Duration>,
}

impl SourceKind {
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
    known: &Known,
    rules: &BTreeMap<String, Retention>,
) -> Option<Source> {
    let fields = decoder.object(field, &SOURCE)?;
    let kind = kind(decoder, &fields);
    let repositories = repositories(decoder, &fields, known);
    let tags = fields
        .get("tags")
        .map(|field| tags(decoder, &field))
        .unwrap_or_default();
    let chosen = fields
        .get("retention")
        .and_then(|field| retention::decode_or_name(decoder, field, &known.retention));
    let retention = chosen.and_then(|chosen| match chosen {
        Chosen::Inline(rules) => Some(rules),
        Chosen::Named(name) => rules.get(&name).cloned(),
    });
    let shrink_alarm = match fields.get("shrink_alarm") {
        Some(field) => alarm(decoder, &field),
        None => Percent::new(SHRINK_ALARM_DEFAULT),
    };
    Some(Source {
        name: name.to_owned(),
        kind: kind?,
        repositories,
        tags,
        retention,
        shrink_alarm,
    })
}

/// Every kind that is there is decoded, so that its mistakes are found even when it is one too many.
fn kind(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Option<SourceKind> {
    let volume = fields
        .get("volume")
        .and_then(|field| volume(decoder, field))
        .map(SourceKind::Volume);
    let tfstate = fields
        .get("tfstate")
        .and_then(|field| tfstate(decoder, field))
        .map(SourceKind::TfState);
    let command = fields
        .get("command")
        .and_then(|field| command(decoder, field))
        .map(SourceKind::Command);
    let mysql = fields
        .get("mysql")
        .and_then(|field| mysql::decode(decoder, field))
        .map(SourceKind::Mysql);
    volume.or(tfstate).or(command).or(mysql)
}

fn volume(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<VolumeSource> {
    let fields = decoder.object(field, &VOLUME)?;
    let folder = fields.get("path").and_then(|field| path(decoder, &field));
    let exclude = decoder.list(fields.get("exclude"), exclude_line);
    let exclude_files = decoder.list(fields.get("exclude_files"), path);
    let one_file_system = fields
        .get("one_file_system")
        .and_then(|field| decoder.flag(&field))
        .unwrap_or(false);
    Some(VolumeSource {
        path: folder?,
        exclude,
        exclude_files,
        one_file_system,
    })
}

fn exclude_line(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    if text.contains(['\n', '\r']) {
        decoder.error(field, "a pattern is one line; make a list of several");
        return None;
    }
    let pattern = text.strip_prefix('!').unwrap_or(text).trim_matches('/');
    if let Err(error) = Glob::new(pattern) {
        decoder.error(
            field,
            format!("{} is not a valid pattern: {}", quoted(text), error.kind()),
        );
        return None;
    }
    Some(text.to_owned())
}

fn tfstate(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<TfStateSource> {
    let fields = decoder.object(field, &TFSTATE)?;
    let path = fields.get("path").and_then(|field| path(decoder, &field));
    Some(TfStateSource { path: path? })
}

fn command(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<CommandSource> {
    let fields = decoder.object(field, &COMMAND)?;
    let run = fields.get("run").and_then(|field| argv(decoder, &field));
    let env = fields
        .get("env")
        .map(|field| variables(decoder, &field))
        .unwrap_or_default();
    let timeout = fields
        .get("timeout")
        .and_then(|field| decoder.duration(&field));
    Some(CommandSource {
        run: run?,
        env,
        timeout,
    })
}

fn argv(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    if matches!(field.node.value, Value::Scalar { .. }) && !field.node.is_null() {
        let help =
            "write a list, `[pg_dump, -Fc, app]`; for a shell, say so: `[sh, -c, \"a | b\"]`"
                .to_owned();
        decoder.error_with(
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
        .map(|(index, item)| argument(decoder, item, index == 0))
        .collect();
    arguments.into_iter().collect()
}

fn argument(decoder: &mut Decoder<'_>, field: &Field<'_>, is_program: bool) -> Option<String> {
    // An empty argument is unusual but means something; an empty program does not.
    if field.node.text() == Some("") && !is_program {
        return Some(String::new());
    }
    let text = decoder.text(field)?;
    if text.contains("${env:") {
        let help =
            "pass it to the program in `env`; arguments are visible to every user of the host"
                .to_owned();
        decoder.error_with(
            field,
            "a secret must not be passed in an argument",
            Some(help),
        );
        return None;
    }
    Some(text.to_owned())
}

fn variables(decoder: &mut Decoder<'_>, field: &Field<'_>) -> BTreeMap<String, SecretRef> {
    let entries = decoder.entries_named(
        field,
        is_variable_name,
        "letters, digits and `_` (not first a digit)",
    );
    entries
        .into_iter()
        .filter_map(|(name, field)| Some((name.clone(), variable(decoder, &name, &field)?)))
        .collect()
}

fn variable(decoder: &mut Decoder<'_>, name: &str, field: &Field<'_>) -> Option<SecretRef> {
    if field.node.text() == Some("") {
        return Some(SecretRef::Literal(String::new()));
    }
    let is_single = matches!(field.node.value, Value::Scalar { .. });
    if looks_secret(name)
        && is_single
        && matches!(
            field.node.text().map(written),
            Some(Written::Plain | Written::Malformed(_))
        )
    {
        decoder.report.hide(field.node.mark);
    }
    let text = decoder.text(field)?;
    match written(text) {
        Written::Env(variable) => Some(SecretRef::Env(variable.to_owned())),
        Written::File(file) => Some(SecretRef::File(crate::paths::resolve(decoder.base, file))),
        Written::Malformed(reason) => {
            decoder.error(field, reason);
            None
        }
        Written::Plain if looks_secret(name) => {
            let help =
                format!("write `${{env:{name}}}` to take it from the environment, or `file:PATH`");
            decoder.error_with(
                field,
                format!("`{name}` looks like a secret, which a policy must not contain"),
                Some(help),
            );
            None
        }
        Written::Plain => Some(SecretRef::Literal(text.to_owned())),
    }
}

fn repositories(decoder: &mut Decoder<'_>, fields: &Fields<'_>, known: &Known) -> Vec<String> {
    let Some(field) = fields.get("repositories") else {
        return match known.repositories.as_slice() {
            [only] => vec![only.clone()],
            // Without any, that alone is the error, and it was reported.
            [] => Vec::new(),
            several => {
                let names = crate::names::listed(several.iter().map(String::as_str));
                let message = format!(
                    "there are several repositories ({names}); this source must name one or more of them"
                );
                decoder.error_at_key(
                    &fields.whole,
                    message,
                    Some("add `repositories: [NAME]`".to_owned()),
                );
                Vec::new()
            }
        };
    };
    let mut names: Vec<String> = Vec::new();
    for item in decoder.items(&field).unwrap_or_default() {
        let Some(name) = decoder.reference(&item, "repository", &known.repositories) else {
            continue;
        };
        if names.contains(&name) {
            decoder.error(&item, format!("the repository `{name}` is listed twice"));
        }
        names.push(name);
    }
    names
}

fn tags(decoder: &mut Decoder<'_>, field: &Field<'_>) -> BTreeMap<String, String> {
    let entries = decoder.entries(field);
    entries
        .into_iter()
        .filter_map(|(name, field)| Some((name, decoder.text(&field)?.to_owned())))
        .collect()
}

fn alarm(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<Percent> {
    let text = decoder.text(field)?;
    if text == "off" {
        return None;
    }
    let message = match parse_percent(text) {
        Ok(share) if (1..100).contains(&share.get()) => return Some(share),
        Ok(share) => format!("{share} would raise the alarm always or never"),
        Err(error) => error.to_string(),
    };
    decoder.error_with(field, message, Some("write 1% to 99%, or `off`".to_owned()));
    None
}
