//! `reprise archive`: archives a server's binary log.

use std::path::PathBuf;
use std::time::Duration;

use reprise_mysql::log::format_micros;
use reprise_policies::{Policy, PolicySource, PolicySourceKind};
use reprise_repository::Repository;
use reprise_snapshotters::mysql::archive::{
    ArchiveEvent, ArchiveOptions, ArchiveReport, ArchiveSource, archive_log,
};
use serde_json::json;

use crate::args::ArchiveArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::progress::ProgressDisplay;
use crate::quantities::{parse_duration_option, parse_size_option};
use crate::{mysql, output, sources};

/// Received data is stored after this time at the latest, by default.
const FLUSH_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// The interval of records that nothing was written.
const IDLE_RECORD_INTERVAL: Duration = Duration::from_secs(600);

/// The most bytes that may wait on the local disk, by default.
const SPOOL_BYTES_DEFAULT: u64 = 1 << 30;

/// What is archived, where to, and how.
struct ArchiveJob {
    repository: Repository,
    source: ArchiveSource,
    flush: Option<Duration>,
    spool: Option<PathBuf>,
    spool_bytes_max: Option<u64>,
}

pub(crate) fn run(context: &Context, args: &ArchiveArgs) -> Result<Exit, Failure> {
    // Before anything is opened: from here on, a request to stop is a regular end.
    let shown = ProgressDisplay::start(context, &args.source);
    match run_archive(context, args, shown) {
        Err(failure) if failure.exit == Exit::Interrupted && !args.once => Ok(Exit::Ok),
        result => result,
    }
}

fn run_archive(
    context: &Context,
    args: &ArchiveArgs,
    shown: ProgressDisplay,
) -> Result<Exit, Failure> {
    let work = match &args.url {
        Some(url) => ArchiveJob {
            repository: context.open_repository_for_writing()?,
            source: ArchiveSource {
                name: args.source.clone(),
                address: mysql::resolve_address(context, url, args.defaults_file.as_deref())?,
            },
            flush: None,
            spool: None,
            spool_bytes_max: None,
        },
        None => job_from_policy(context, &args.source)?,
    };
    let options = archive_options(context, args, &work)?;
    let mut say = |said: ArchiveEvent| report_event(context, &work.source.name, &said);
    let report = archive_log(
        &work.repository,
        &work.source,
        &options,
        &shown.progress,
        &mut say,
    );
    drop(shown);
    let report = report?;
    print_report(context, &work, &report);
    Ok(match report.alarms.is_empty() {
        true => Exit::Ok,
        false => Exit::Degraded,
    })
}

fn job_from_policy(context: &Context, name: &str) -> Result<ArchiveJob, Failure> {
    let policies = context.load_policies()?;
    let (policy, source) = policies.find_source(name)?;
    let PolicySourceKind::Mysql(server) = &source.kind else {
        return Err(Failure::usage(
            format!("{name} is not a database server"),
            "only binary logs of MySQL and MariaDB servers are archived",
        ));
    };
    let archived = server.log_archive.as_ref().ok_or_else(|| {
        Failure::usage(
            format!("the policy does not enable log archiving for {name}"),
            "add `log_archive:` below `mysql:`",
        )
    })?;
    Ok(ArchiveJob {
        repository: open_archive_repository(context, policy, source)?,
        source: ArchiveSource {
            name: source.name.clone(),
            address: sources::mysql_address(server)?,
        },
        flush: archived.flush,
        spool: archived.spool.clone(),
        spool_bytes_max: archived.spool_max,
    })
}

/// The log is stored in the first repository of the source; copies take snapshots and log elsewhere.
fn open_archive_repository(
    context: &Context,
    policy: &Policy,
    source: &PolicySource,
) -> Result<Repository, Failure> {
    let described = source
        .repositories
        .first()
        .and_then(|name| policy.repositories.get(name))
        .ok_or_else(|| Failure::usage(format!("{} has no repository", source.name), ""))?;
    sources::open_repository(context, described, &[])
}

fn archive_options(
    context: &Context,
    args: &ArchiveArgs,
    work: &ArchiveJob,
) -> Result<ArchiveOptions, Failure> {
    let flush = match &args.flush {
        Some(text) => Some(parse_duration_option(
            text,
            "--flush",
            "write it as 5s or 1m",
        )?),
        None => work.flush,
    };
    let size = match &args.spool_max {
        Some(text) => Some(parse_size_option(
            text,
            "--spool-max",
            "write it as 500MiB or 10GiB",
        )?),
        None => work.spool_bytes_max,
    };
    let spool = args.spool.clone().or_else(|| work.spool.clone());
    let spool = match spool {
        Some(directory) => directory,
        None => default_spool(&work.repository, &work.source.name)?,
    };
    Ok(ArchiveOptions {
        flush_interval: flush.unwrap_or(FLUSH_INTERVAL_DEFAULT),
        idle_interval: IDLE_RECORD_INTERVAL,
        once: args.once,
        spool_directory: spool,
        spool_bytes_max: size.unwrap_or(SPOOL_BYTES_DEFAULT),
        program: format!(
            "reprise {} on {}",
            env!("CARGO_PKG_VERSION"),
            context.host_name
        ),
    })
}

fn default_spool(repository: &Repository, source: &str) -> Result<PathBuf, Failure> {
    let cache = repository.cache_dir().ok_or_else(|| {
        Failure::usage(
            "there is no spool directory for log that waits to be stored",
            "set HOME or REPRISE_CACHE_DIR, or give a directory with --spool",
        )
    })?;
    Ok(cache.join("spool").join(repository.log_name(source)))
}

fn report_event(context: &Context, source: &str, said: &ArchiveEvent) {
    match said {
        ArchiveEvent::Alarm(alarm) if context.global.json => {
            output::print_json(&json!({"event": "alarm", "source": source, "alarm": alarm}));
        }
        ArchiveEvent::Warning(trouble) if context.global.json => {
            output::print_json(&json!({"event": "warning", "source": source, "warning": trouble}));
        }
        ArchiveEvent::Warning(text) | ArchiveEvent::Alarm(text) => {
            output::print_note(&format!("warning: {source}: {text}"))
        }
        ArchiveEvent::Started(place) => {
            context.print_note(&format!("archiving the log of {source} after {place}"));
        }
        ArchiveEvent::Stored {
            segments: pieces,
            transactions,
            until,
        } => {
            if context.global.json {
                output::print_json(&json!({
                    "event": "archived",
                    "source": source,
                    "segments": pieces,
                    "transactions": transactions,
                    "until": until.map(format_micros),
                }));
            }
        }
    }
}

fn print_report(context: &Context, work: &ArchiveJob, report: &ArchiveReport) {
    let until = report.until.map(format_micros);
    if context.global.json {
        output::print_json(&json!({
            "event": "archive",
            "source": work.source.name,
            "repository": work.repository.location(),
            "segments": report.pieces,
            "stored_bytes": report.stored_bytes,
            "log_bytes": report.log_bytes,
            "transactions": report.transactions,
            "until": until,
            "alarms": report.alarms,
        }));
    } else if !context.global.quiet {
        output::print_line(&format!(
            "log of {}: {} in {}, {} stored for {} of log; archived until {}",
            work.source.name,
            output::format_count(report.transactions, "transaction", "transactions"),
            output::format_count(report.pieces, "segment", "segments"),
            output::format_bytes(report.stored_bytes),
            output::format_bytes(report.log_bytes),
            until.unwrap_or_else(|| "(nothing yet)".to_owned()),
        ));
    }
}
