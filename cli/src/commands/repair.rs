//! `reprise verify --repair`: mending what verification finds.

use reprise_repository::backend::Location;
use reprise_repository::{Depth, Error, RepairOptions, RepairReport, Repository, VerifyOptions};
use serde_json::json;

use crate::args::VerifyArgs;
use crate::context::{Context, now};
use crate::destination::{self, Wishes};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Shown;

pub(crate) fn run(context: &Context, args: &VerifyArgs, depth: Depth) -> Result<Exit, Failure> {
    let repository = match args.yes {
        true => context.open_to_write()?,
        false => context.open()?,
    };
    let from = args
        .from
        .as_deref()
        .map(|url| other(context, url))
        .transpose()?;
    let mut snapshots = Vec::new();
    for name in &args.snapshots {
        snapshots.push(repository.find_snapshot(name)?);
    }
    // Without a keeper everything can be mended that needs no quarantine; what does says so.
    let keeper = match context.global.keeper {
        Some(_) => Some(context.keeper(&repository, "put objects into quarantine")?),
        None => context
            .keeper(&repository, "put objects into quarantine")
            .ok(),
    };
    let shown = Shown::start(context, "repair");
    let options = RepairOptions {
        verify: VerifyOptions { depth, snapshots },
        from: from.as_ref(),
        replace: args.replace,
        act: args.yes,
        by: context.person(),
        now: now(),
    };
    let report = repository.repair(&options, keeper.as_ref(), &shown.progress)?;
    drop(shown);
    if context.global.json {
        output::json_line(&json!({"event": "repair", "report": report}));
    } else {
        print(context, &report);
    }
    if report.acted && report.needs_keeper {
        // Everything else is done and told.
        return Err(Failure::from(Error::NotKeeper {
            location: repository.location(),
            action: "put objects into quarantine",
            who: "whoever repairs".to_owned(),
        }));
    }
    Ok(exit(&report))
}

/// Another copy of the repository; what it is a copy of is checked before anything is taken from it.
fn other(context: &Context, url: &str) -> Result<Repository, Failure> {
    let backend = destination::reading(context, &Location::parse(url)?, &Wishes::default())?;
    context.open_at(backend, &[], &[])
}

/// Nothing wrong, or everything mended: ok. Otherwise data is damaged, as `verify` says.
fn exit(report: &RepairReport) -> Exit {
    match report.acted {
        true if report.unmended.is_empty() => Exit::Ok,
        false if report.found.findings.is_empty() => Exit::Ok,
        _ => Exit::Damaged,
    }
}

fn print(context: &Context, report: &RepairReport) {
    for finding in &report.found.findings {
        super::verify::print_finding(finding);
    }
    let (will, would) = match report.acted {
        true => ("repaired", "quarantined"),
        false => ("would be repaired", "would be quarantined"),
    };
    for repaired in &report.repaired {
        output::line(&format!("{will}: {}: {}", repaired.object, repaired.how));
    }
    let would = match report.needs_keeper {
        true => "must be quarantined, which needs a keeper's key (--keeper FILE)",
        false => would,
    };
    for quarantined in &report.quarantined {
        output::line(&format!(
            "{would}: {}: {}",
            quarantined.object, quarantined.reason
        ));
    }
    for snapshot in &report.degraded {
        output::line(&format!(
            "degraded: snapshot {}: some of its data has no undamaged copy, until a later snapshot stores the same content",
            snapshot.short()
        ));
    }
    for object in &report.unmended {
        output::line(&format!("not repaired: {object}"));
    }
    if report.found.findings.is_empty() && report.repaired.is_empty() {
        output::line("ok: nothing to repair");
    } else if !report.acted {
        context
            .note("Nothing was changed. --yes carries it out; --from URL reads undamaged data from a repository copy.");
    }
}
