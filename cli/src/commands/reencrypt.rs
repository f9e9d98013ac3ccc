//! `reprise key rotate --reencrypt`: contents are stored anew for the recovery recipients of now.

use reprise_repository::{ReencryptOptions, ReencryptPlan, ReencryptReport, Repository};
use serde_json::json;

use crate::args::KeyRotateArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Shown;

pub(crate) fn run(context: &Context, args: &KeyRotateArgs) -> Result<Exit, Failure> {
    let repository = match args.yes {
        true => context.open_to_write()?,
        false => context.open()?,
    };
    let keeper = match args.yes {
        true => Some(context.keeper(&repository, "say which packs are replaced")?),
        false => None,
    };
    let options = ReencryptOptions {
        host: context.host_name.clone(),
        by: context.person(),
    };
    let shown = Shown::start(context, "encrypt anew");
    let mut plan = ReencryptPlan::default();
    let done = repository.reencrypt(&options, keeper.as_ref(), &shown.progress, |planned| {
        if !context.global.json && !context.global.quiet {
            print_plan(&repository, planned);
        }
        plan = planned.clone();
    });
    let report = done?;
    drop(shown);
    for finding in plan.findings.iter().chain(&report.findings) {
        output::error(&format!("finding: {}: {}", finding.object, finding.reason));
    }
    if context.global.json {
        output::json_line(&json!({
            "event": "reencrypt",
            "repository": repository.location(),
            "plan": plan,
            "report": args.yes.then_some(&report),
        }));
    } else if args.yes && !context.global.quiet {
        print_report(&report);
    }
    if !args.yes && plan.packs > 0 {
        return Err(Failure::new(
            Exit::Refused,
            "nothing was changed: this was the plan",
            "give --yes to do it, with the identities that read what is stored, one of a present recipient, \
             and the key of a keeper",
        ));
    }
    let clean = plan.findings.is_empty() && report.findings.is_empty();
    Ok(if clean { Exit::Ok } else { Exit::Degraded })
}

fn print_plan(repository: &Repository, plan: &ReencryptPlan) {
    output::line(&format!(
        "{}: read and store anew {} packs ({}) for",
        repository.location(),
        plan.packs,
        output::bytes(plan.bytes),
    ));
    for recipient in &plan.recipients {
        output::line(&format!("  {recipient}"));
    }
    output::line(&format!(
        "  done: {} packs are for these already; {} were stored anew before and go with the next prunes",
        plan.present_packs, plan.replaced_packs,
    ));
    if plan.condemned_packs > 0 {
        output::line(&format!(
            "  left to prune: {} packs that it has condemned",
            plan.condemned_packs
        ));
    }
    if plan.log_pieces > 0 {
        output::line(&format!(
            "  not changed: {} pieces of logs ({}): each is named in the next one. Who could read them still can,",
            plan.log_pieces,
            output::bytes(plan.log_bytes),
        ));
        output::line("    until they are forgotten and pruned.");
    }
    output::line(
        "  not changed: the catalog (sizes, times, sources, ids; no names and no contents), the repository's secrets.",
    );
}

fn print_report(report: &ReencryptReport) {
    output::line(&format!(
        "stored anew: {} packs, in {} new ones ({})",
        report.packs,
        report.new_packs,
        output::bytes(report.new_bytes),
    ));
    if !report.findings.is_empty() {
        output::line(&format!(
            "not stored anew: {} packs that could not be read; they stay as they are",
            report.findings.len()
        ));
    }
    output::line(
        "The old packs are there until `reprise prune` has condemned and swept them, here and in each copy.",
    );
}
