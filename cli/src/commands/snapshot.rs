//! `reprise snapshot`: takes one snapshot, described on the command line.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use reprise_mysql::CONNECTIONS_DEFAULT;
use reprise_snapshotters::ShrinkAlarm;
use reprise_snapshotters::command::CommandSource;
use reprise_snapshotters::mysql::MysqlSource;
use reprise_snapshotters::volume::VolumeSource;

use crate::args::{MysqlArgs, NamingArgs, SnapshotArgs, SnapshotKind};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::mysql;
use crate::sources::{self, SnapshotNaming, SourceReader};

pub(crate) fn run(context: &Context, args: SnapshotArgs) -> Result<Exit, Failure> {
    let (name, job) = match args.kind {
        SnapshotKind::Volume {
            path,
            exclude,
            exclude_file,
            one_file_system,
            naming,
        } => {
            let name = parse_naming(naming, || name_from_path(&path))?;
            let source = VolumeSource {
                path,
                exclude,
                exclude_files: exclude_file,
                one_file_system,
                always_excluded: Vec::new(),
            };
            (name, SourceReader::Volume(source))
        }
        SnapshotKind::Mysql(args) => mysql_reader(context, args)?,
        SnapshotKind::Tfstate { path, naming } => (
            parse_naming(naming, || name_from_state_file(&path))?,
            SourceReader::Tfstate(path),
        ),
        SnapshotKind::Command { naming, argv } => {
            let program = argv
                .first()
                .map(|arg| Path::new(arg).to_owned())
                .unwrap_or_default();
            let name = parse_naming(naming, || name_from_file(&program))?;
            let source = CommandSource {
                argv,
                env: BTreeMap::new(),
                directory: None,
                timeout: None,
            };
            (name, SourceReader::Command(source))
        }
    };
    let repository = context.open_repository_for_writing()?;
    let taken = sources::take_snapshot(context, &repository, name, job)?;
    Ok(sources::report_snapshot(context, &taken, &repository))
}

fn mysql_reader(
    context: &Context,
    args: MysqlArgs,
) -> Result<(SnapshotNaming, SourceReader), Failure> {
    let address = mysql::resolve_address(context, &args.url, args.defaults_file.as_deref())?;
    let mut databases = args.database;
    // As with other clients, the URL may name the one database to use.
    databases.extend(address.database.clone().filter(|_| databases.is_empty()));
    let filter = mysql::build_filter(
        &databases,
        &args.exclude_database,
        &args.table,
        &args.exclude_table,
    )?;
    let place = address
        .container
        .clone()
        .unwrap_or_else(|| address.host().to_owned());
    let name = parse_naming(args.naming, || sanitise_name(OsStr::new(&place)))?;
    let source = MysqlSource {
        address,
        filter,
        connections: args.threads.map_or(CONNECTIONS_DEFAULT, usize::from),
        accounts: !args.no_users,
        hold_nontransactional: args.hold_nontransactional,
    };
    Ok((name, SourceReader::Mysql(Box::new(source))))
}

fn parse_naming(
    naming: NamingArgs,
    default: impl FnOnce() -> String,
) -> Result<SnapshotNaming, Failure> {
    let source = match naming.source {
        Some(source) if is_valid_name(&source) => source,
        Some(source) => {
            let hint = "a name has up to 64 letters, digits, dots, dashes and underscores and begins with a letter or digit";
            return Err(Failure::usage(
                format!("`{source}` is not a valid source name"),
                hint,
            ));
        }
        None => default(),
    };
    let mut tags = BTreeMap::new();
    for tag in naming.tag {
        match tag.split_once('=') {
            Some((key, value)) if is_valid_name(key) => {
                tags.insert(key.to_owned(), value.to_owned())
            }
            _ => {
                return Err(Failure::usage(
                    format!("`{tag}` is not a tag"),
                    "write it as --tag KEY=VALUE",
                ));
            }
        };
    }
    Ok(SnapshotNaming {
        source,
        tags,
        shrink_alarm: ShrinkAlarm::default(),
    })
}

fn is_valid_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(allowed)
}

fn name_from_path(path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if full == Path::new("/") {
        "root".to_owned()
    } else {
        name_from_file(&full)
    }
}

/// A state is named after its file, or after the directory that holds it.
fn name_from_state_file(path: &Path) -> String {
    let stem = path.file_stem().filter(|_| path.extension().is_some());
    stem.map_or_else(|| name_from_path(path), sanitise_name)
}

fn name_from_file(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| "source".to_owned(), sanitise_name)
}

/// The nearest text that is a valid name.
fn sanitise_name(text: &OsStr) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let text: String = text.to_string_lossy().chars().map(allowed).collect();
    let text = text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if text.is_empty() {
        "source".to_owned()
    } else {
        text.chars().take(64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_without_a_name_is_called_after_its_path() {
        assert_eq!(name_from_path(Path::new("/")), "root");
        assert_eq!(
            name_from_path(Path::new("/no/such/jenkins home")),
            "jenkins-home"
        );
        assert_eq!(
            name_from_state_file(Path::new("/x/network.tfstate")),
            "network"
        );
        assert_eq!(name_from_file(Path::new("/usr/bin/pg_dump")), "pg_dump");
        for name in ["root", "jenkins-home", "a.b_c-d"] {
            assert!(is_valid_name(name));
        }
        for name in ["", ".a", "a b", "a@latest", &"a".repeat(65)] {
            assert!(!is_valid_name(name), "{name}");
        }
    }
}
