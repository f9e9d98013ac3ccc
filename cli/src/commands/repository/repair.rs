//! `reprise verify --repair`: repairs what verification finds.

use reprise_repository::{
    Error, RepairOptions, RepairReport, Repository, VerifyDepth, VerifyOptions,
};
use reprise_scheduler::repositories::{DestinationOptions, open_for_reading, parse_location};
use serde_json::json;

use crate::commands::repository::verify::VerifyArgs;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

pub(crate) fn run(
    context: &Context,
    args: &VerifyArgs,
    depth: VerifyDepth,
) -> Result<Exit, Failure> {
    let repository = match args.yes {
        true => context.open_repository_for_writing()?,
        false => context.open_repository()?,
    };
    let from = args
        .from
        .as_deref()
        .map(|url| open_copy(context, url))
        .transpose()?;
    let mut snapshots = Vec::new();
    for name in &args.snapshots {
        snapshots.push(context.find_snapshot(&repository, name)?);
    }
    // Without a keeper everything can be repaired that needs no quarantine; the rest fails with a message.
    let keeper = match context.global.keeper {
        Some(_) => Some(context.load_keeper(&repository, "put objects into quarantine")?),
        None => context
            .load_keeper(&repository, "put objects into quarantine")
            .ok(),
    };
    let shown = ProgressDisplay::start(context, "repair");
    let options = RepairOptions {
        verify: VerifyOptions { depth, snapshots },
        other_copy: from.as_ref(),
        replace: args.replace,
        apply_changes: args.yes,
        by: context.environment.user.clone(),
        now: current_time(),
    };
    let report = repository.repair(&options, keeper.as_ref(), &shown.progress)?;
    drop(shown);
    if context.global.json {
        output::print_json(&json!({"event": "repair", "report": report}));
    } else {
        print_report(context, &report);
    }
    if report.applied && report.needs_keeper {
        // Everything else is done and reported.
        return Err(Failure::from(Error::NotKeeper {
            location: repository.location(),
            action: "put objects into quarantine",
            who: "whoever repairs".to_owned(),
        }));
    }
    Ok(exit_for_report(&report))
}

/// Opens another copy of the repository; that it is a copy is checked before anything is taken from it.
fn open_copy(context: &Context, url: &str) -> Result<Repository, Failure> {
    let (location, options) = (parse_location(url)?, DestinationOptions::default());
    let environment = &context.environment;
    let backend = open_for_reading(environment, &location, &options)?;
    Ok(environment.open_repository_at(backend, &[], &[])?)
}

/// No findings, or all repaired: ok. Otherwise data is damaged, as in `verify`.
fn exit_for_report(report: &RepairReport) -> Exit {
    match report.applied {
        true if !report.unrepaired.is_empty() => Exit::Damaged,
        false if !report.found.findings.is_empty() => Exit::Damaged,
        _ if !report.found.unreadable.is_empty() => Exit::Degraded,
        _ => Exit::Ok,
    }
}

fn print_report(context: &Context, report: &RepairReport) {
    for finding in &report.found.findings {
        crate::commands::repository::verify::print_finding(finding);
    }
    crate::commands::repository::verify::print_unreadable(&report.found.unreadable);
    let (will, would) = match report.applied {
        true => ("repaired", "quarantined"),
        false => ("would be repaired", "would be quarantined"),
    };
    for repaired in &report.repaired {
        output::print_line(&format!("{will}: {}: {}", repaired.object, repaired.how));
    }
    let would = match report.needs_keeper {
        true => "must be quarantined, which needs a keeper's key (--keeper FILE)",
        false => would,
    };
    for quarantined in &report.quarantined {
        output::print_line(&format!(
            "{would}: {}: {}",
            quarantined.object, quarantined.reason
        ));
    }
    for snapshot in &report.degraded {
        output::print_line(&format!(
            "degraded: snapshot {}: some of its data has no undamaged copy, until a later snapshot stores the same content",
            snapshot.short()
        ));
    }
    for object in &report.unrepaired {
        output::print_line(&format!("not repaired: {object}"));
    }
    if report.found.findings.is_empty()
        && report.found.unreadable.is_empty()
        && report.repaired.is_empty()
    {
        output::print_line("ok: nothing to repair");
    } else if !report.applied {
        context
            .print_note("Nothing was changed. --yes carries it out; --from URL reads undamaged data from a repository copy.");
    }
}
