//! `reprise archive`: archives a server's binary log.

use std::path::PathBuf;

use clap::Args;
use reprise_mysql::log::LogTime;
use reprise_scheduler::jobs::{ArchiveJob, ArchiveOverrides, JobEvent, archive_job, run_archive};
use reprise_snapshotters::mysql::archive::{ArchiveEvent, ArchiveReport, ArchiveSource};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;
use crate::quantities::{parse_duration_option, parse_size_option};
use crate::server_address::resolve_address;

#[derive(Debug, Args)]
#[command(after_help = "\
Runs until it is stopped (SIGTERM, Ctrl-C), follows restarts and failovers of the server, and retries after transient
errors. Run it as a service beside the nightly snapshots. It needs the privilege REPLICATION SLAVE; see
docs/point-in-time.md.

Examples:
  reprise archive --policies /etc/reprise app-db
  reprise archive app-db --url mysql://backup@db.example/ --defaults-file /root/.my.cnf
  reprise archive app-db --url mysql://backup@db.example/ --once     from a timer, every minute")]
pub(crate) struct ArchiveArgs {
    /// Source: SOURCE or POLICY/SOURCE of the policy, or any name with --url.
    pub(crate) source: String,
    /// Server URL: mysql://user@host:port/. Default: the server of the policy.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// MySQL option file with user, password and server, like ~/.my.cnf.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) defaults_file: Option<PathBuf>,
    /// Store received log after at most this time. Default: 5s.
    #[arg(long, value_name = "TIME")]
    pub(crate) flush: Option<String>,
    /// Exit when the whole log of the server is stored.
    #[arg(long)]
    pub(crate) once: bool,
    /// Spool directory for log that waits to be stored. Default: in the cache.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) spool: Option<PathBuf>,
    /// Maximum size of the spool. Default: 1GiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) spool_max: Option<String>,
}

pub(crate) fn run(context: &Context, args: &ArchiveArgs) -> Result<Exit, Failure> {
    // Before anything is opened: from here on, a request to stop is a regular end.
    let shown = ProgressDisplay::start(context, &args.source);
    match archive_and_report(context, args, shown) {
        Err(failure) if failure.exit == Exit::Interrupted && !args.once => Ok(Exit::Ok),
        result => result,
    }
}

fn archive_and_report(
    context: &Context,
    args: &ArchiveArgs,
    shown: ProgressDisplay,
) -> Result<Exit, Failure> {
    let mut observe = |event: JobEvent<'_>| match event {
        JobEvent::Archive { source, event } => report_event(context, source, &event),
        event => context.print_event(&event),
    };
    let job = match &args.url {
        Some(url) => ArchiveJob {
            repository: context.open_repository_for_writing()?,
            source: ArchiveSource {
                name: args.source.clone(),
                address: resolve_address(context, url, args.defaults_file.as_deref())?,
            },
            overrides: ArchiveOverrides::default(),
        },
        None => {
            let policies = context.load_policies()?;
            archive_job(&context.environment, &policies, &args.source, &mut observe)?
        }
    };
    let job = ArchiveJob {
        overrides: parse_overrides(args)?.or(job.overrides),
        ..job
    };
    let report = run_archive(
        &context.environment,
        &job,
        args.once,
        &shown.progress,
        &mut observe,
    );
    drop(shown);
    let report = report?;
    print_report(context, &job, &report);
    Ok(match report.alarms.is_empty() {
        true => Exit::Ok,
        false => Exit::Degraded,
    })
}

fn parse_overrides(args: &ArchiveArgs) -> Result<ArchiveOverrides, Failure> {
    let flush = args
        .flush
        .as_ref()
        .map(|text| parse_duration_option(text, "--flush", "write it as 5s or 1m"));
    let size = args
        .spool_max
        .as_ref()
        .map(|text| parse_size_option(text, "--spool-max", "write it as 500MiB or 10GiB"));
    Ok(ArchiveOverrides {
        flush: flush.transpose()?,
        spool: args.spool.clone(),
        spool_bytes_max: size.transpose()?,
    })
}

fn report_event(context: &Context, source: &str, event: &ArchiveEvent) {
    match event {
        ArchiveEvent::Alarm(alarm) if context.global.json => {
            output::print_json(&json!({"event": "alarm", "source": source, "alarm": alarm}));
        }
        ArchiveEvent::Warning(warning) if context.global.json => {
            output::print_json(&json!({"event": "warning", "source": source, "warning": warning}));
        }
        ArchiveEvent::Warning(text) | ArchiveEvent::Alarm(text) => {
            output::print_note(&format!("warning: {source}: {text}"))
        }
        ArchiveEvent::Started(position) => {
            context.print_note(&format!("archiving the log of {source} after {position}"));
        }
        ArchiveEvent::Stored {
            segments,
            transactions,
            until,
        } => {
            if context.global.json {
                output::print_json(&json!({
                    "event": "archived",
                    "source": source,
                    "segments": segments,
                    "transactions": transactions,
                    "until": until.map(LogTime::to_utc_text),
                }));
            }
        }
    }
}

fn print_report(context: &Context, job: &ArchiveJob, report: &ArchiveReport) {
    if context.global.json {
        output::print_json(&json!({
            "event": "archive",
            "source": job.source.name,
            "repository": job.repository.location(),
            "segments": report.pieces,
            "stored_bytes": report.stored_bytes,
            "log_bytes": report.log_bytes,
            "transactions": report.transactions,
            "until": report.until.map(LogTime::to_utc_text),
            "alarms": report.alarms,
        }));
    } else if !context.global.quiet {
        output::print_line(&format!(
            "log of {}: {} in {}, {} stored for {} of log; archived until {}",
            job.source.name,
            output::format_count(report.transactions, "transaction", "transactions"),
            output::format_count(report.pieces, "segment", "segments"),
            output::format_bytes(report.stored_bytes),
            output::format_bytes(report.log_bytes),
            report
                .until
                .map_or_else(|| "(nothing yet)".to_owned(), LogTime::show),
        ));
    }
}
