//! `reprise snapshot`: one snapshot, described on the command line.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use reprise_snapshotters::ShrinkAlarm;
use reprise_snapshotters::command::CommandSource;
use reprise_snapshotters::mysql::{CONNECTIONS_DEFAULT, MysqlSource};
use reprise_snapshotters::volume::VolumeSource;

use crate::args::{MysqlArgs, Naming, SnapshotArgs, SnapshotKind};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::mysql;
use crate::sources::{self, Job, Name};

pub(crate) fn run(context: &Context, args: SnapshotArgs) -> Result<Exit, Failure> {
    let (name, job) = match args.kind {
        SnapshotKind::Volume {
            path,
            exclude,
            exclude_file,
            one_file_system,
            naming,
        } => {
            let name = name(naming, || path_name(&path))?;
            let source = VolumeSource {
                path,
                exclude,
                exclude_files: exclude_file,
                one_file_system,
                never: Vec::new(),
            };
            (name, Job::Volume(source))
        }
        SnapshotKind::Mysql(args) => mysql_job(context, args)?,
        SnapshotKind::Tfstate { path, naming } => {
            (name(naming, || state_name(&path))?, Job::Tfstate(path))
        }
        SnapshotKind::Command { naming, argv } => {
            let program = argv
                .first()
                .map(|arg| Path::new(arg).to_owned())
                .unwrap_or_default();
            let name = name(naming, || file_name(&program))?;
            let source = CommandSource {
                argv,
                env: BTreeMap::new(),
                folder: None,
                timeout: None,
            };
            (name, Job::Command(source))
        }
    };
    let repository = context.open_to_write()?;
    let taken = sources::take(context, &repository, name, job)?;
    Ok(sources::report(context, &taken, &repository))
}

fn mysql_job(context: &Context, args: MysqlArgs) -> Result<(Name, Job), Failure> {
    let address = mysql::address(context, &args.url, args.defaults_file.as_deref())?;
    let mut databases = args.database;
    // As with other clients, the URL may name the one database that matters.
    databases.extend(address.database.clone().filter(|_| databases.is_empty()));
    let filter = mysql::filter(
        &databases,
        &args.exclude_database,
        &args.table,
        &args.exclude_table,
    )?;
    let place = address
        .container
        .clone()
        .unwrap_or_else(|| address.host().to_owned());
    let name = name(args.naming, || clean(OsStr::new(&place)))?;
    let source = MysqlSource {
        address,
        filter,
        connections: args.threads.map_or(CONNECTIONS_DEFAULT, usize::from),
        accounts: !args.no_users,
        hold_nontransactional: args.hold_nontransactional,
    };
    Ok((name, Job::Mysql(Box::new(source))))
}

fn name(naming: Naming, default: impl FnOnce() -> String) -> Result<Name, Failure> {
    let source = match naming.source {
        Some(source) if is_name(&source) => source,
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
            Some((key, value)) if is_name(key) => tags.insert(key.to_owned(), value.to_owned()),
            _ => {
                return Err(Failure::usage(
                    format!("`{tag}` is not a tag"),
                    "write it as --tag KEY=VALUE",
                ));
            }
        };
    }
    Ok(Name {
        source,
        tags,
        shrink_alarm: ShrinkAlarm::default(),
    })
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(allowed)
}

fn path_name(path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if full == Path::new("/") {
        "root".to_owned()
    } else {
        file_name(&full)
    }
}

/// A state is called after its file, or after the folder that holds it.
fn state_name(path: &Path) -> String {
    let stem = path.file_stem().filter(|_| path.extension().is_some());
    stem.map_or_else(|| path_name(path), clean)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "source".to_owned(), clean)
}

/// The nearest text that can be a name.
fn clean(text: &OsStr) -> String {
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
        assert_eq!(path_name(Path::new("/")), "root");
        assert_eq!(
            path_name(Path::new("/no/such/jenkins home")),
            "jenkins-home"
        );
        assert_eq!(state_name(Path::new("/x/network.tfstate")), "network");
        assert_eq!(file_name(Path::new("/usr/bin/pg_dump")), "pg_dump");
        for name in ["root", "jenkins-home", "a.b_c-d"] {
            assert!(is_name(name));
        }
        for name in ["", ".a", "a b", "a@latest", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
