//! `reprise snapshot`: takes one snapshot, described on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reprise_mysql::CONNECTIONS_DEFAULT;
use reprise_scheduler::jobs::take_snapshot;
use reprise_scheduler::sources::{SnapshotNaming, SourceReader, build_filter};
use reprise_snapshotters::ShrinkAlarm;
use reprise_snapshotters::command::CommandSource;
use reprise_snapshotters::mysql::MysqlSource;
use reprise_snapshotters::volume::VolumeSource;

use super::snapshot_output::report_snapshot;
use crate::context::{Context, env_variable};
use crate::failure::{Exit, Failure};
use crate::progress::ProgressDisplay;
use crate::server_address::resolve_address;

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    pub(crate) kind: SnapshotKind,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotKind {
    /// Store a directory tree.
    #[command(after_help = "\
Examples:
  reprise snapshot volume /var/lib/jenkins --exclude workspace/ --exclude '*.tmp'
  reprise snapshot volume / --one-file-system --source web1 --tag env=prod")]
    Volume {
        /// Directory (or single file) to store.
        path: PathBuf,
        /// Exclude what matches, in the syntax of .gitignore. May be repeated.
        #[arg(long, value_name = "RULE")]
        exclude: Vec<String>,
        /// Exclude what matches a line of this file.
        #[arg(long, value_name = "FILE")]
        exclude_file: Vec<PathBuf>,
        /// Do not enter other file systems.
        #[arg(long, short = 'x')]
        one_file_system: bool,
        #[command(flatten)]
        naming: NamingArgs,
    },
    /// Store a MySQL or MariaDB server: a consistent snapshot of rows, schema objects and accounts.
    #[command(after_help = "\
The password comes from --defaults-file, from MYSQL_PWD, or from the URL, which other users can see.
docs/mysql.md lists the privileges that the account needs.

Examples:
  reprise snapshot mysql mysql://backup@db.example/ --source app-db
  reprise snapshot mysql 'mysql://root@localhost/?socket=/run/mysqld/mysqld.sock' --database 'shop_*'
  reprise snapshot mysql 'mysql://backup@/?container=shop-db' --defaults-file /root/.my.cnf")]
    Mysql(MysqlArgs),
    /// Store Terraform or OpenTofu state.
    #[command(after_help = "\
Example:
  reprise snapshot tfstate ./terraform.tfstate --source network")]
    Tfstate {
        /// State file, or directory with the state and its workspaces.
        path: PathBuf,
        #[command(flatten)]
        naming: NamingArgs,
    },
    /// Store the standard output of a program. If the program fails, no snapshot is stored.
    #[command(after_help = "\
Example:
  reprise snapshot command --source app-db -- pg_dump -Fc app
  reprise snapshot command --source lake --env AWS_SECRET_ACCESS_KEY -- lake-export")]
    Command {
        /// Let the program inherit this variable, although it holds a credential of reprise's own. May be repeated.
        #[arg(long, value_name = "NAME")]
        env: Vec<String>,
        #[command(flatten)]
        naming: NamingArgs,
        /// Program and arguments. No shell is used.
        #[arg(last = true, required = true, value_name = "CMD")]
        argv: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct MysqlArgs {
    /// Server URL: mysql://user@host:port/, optionally with ?socket=PATH, container=NAME, tls=MODE or tls-ca=FILE.
    pub(crate) url: String,
    /// Only databases that match. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) database: Vec<String>,
    /// Exclude databases that match. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude_database: Vec<String>,
    /// Only tables and views that match. May be repeated.
    #[arg(long, value_name = "DATABASE.PATTERN")]
    pub(crate) table: Vec<String>,
    /// Exclude tables and views that match. May be repeated.
    #[arg(long, value_name = "DATABASE.PATTERN")]
    pub(crate) exclude_table: Vec<String>,
    /// Number of connections that read rows. Default: 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) threads: Option<u8>,
    /// Exclude users and roles.
    #[arg(long)]
    pub(crate) no_users: bool,
    /// Lock non-transactional tables while they are read, so that they are consistent with the others.
    #[arg(long)]
    pub(crate) hold_nontransactional: bool,
    /// MySQL option file with user, password and server, like ~/.my.cnf.
    #[arg(long, value_name = "FILE")]
    pub(crate) defaults_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) naming: NamingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NamingArgs {
    /// Name of the source. Snapshots with the same source name form a series.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Tag to store with the snapshot. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) tag: Vec<String>,
}

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
        SnapshotKind::Command { env, naming, argv } => {
            let program = argv
                .first()
                .map(|arg| Path::new(arg).to_owned())
                .unwrap_or_default();
            let name = parse_naming(naming, || name_from_file(&program))?;
            let source = CommandSource {
                argv,
                env: inherited_variables(env)?,
                env_removed: BTreeSet::new(),
                directory: None,
                timeout: None,
            };
            (name, SourceReader::Command(source))
        }
    };
    let repository = context.open_repository_for_writing()?;
    let shown = ProgressDisplay::start(context, &name.source);
    let taken = take_snapshot(
        &context.environment,
        &repository,
        name,
        job,
        &shown.progress,
    )?;
    drop(shown);
    Ok(report_snapshot(context, &taken, &repository))
}

/// Variables that a program is to inherit although they are removed by default.
fn inherited_variables(names: Vec<String>) -> Result<BTreeMap<String, String>, Failure> {
    let variable = |name: String| match env_variable(&name) {
        Some(value) => Ok((name, value)),
        None => Err(Failure::usage(
            format!("the environment variable `{name}` is not set"),
            "set it, or leave out --env",
        )),
    };
    names.into_iter().map(variable).collect()
}

fn mysql_reader(
    context: &Context,
    args: MysqlArgs,
) -> Result<(SnapshotNaming, SourceReader), Failure> {
    let address = resolve_address(context, &args.url, args.defaults_file.as_deref())?;
    let mut databases = args.database;
    // As with other clients, the URL may name the one database to use.
    databases.extend(address.database.clone().filter(|_| databases.is_empty()));
    let filter = build_filter(
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
