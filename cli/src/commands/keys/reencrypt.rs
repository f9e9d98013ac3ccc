//! `reprise key rotate --reencrypt`: re-encrypts data for the current recovery recipients.

use clap::Args;
use reprise_repository::{ReencryptOptions, ReencryptPlan, ReencryptReport, Repository};
use reprise_scheduler::repositories::find_repository;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

#[derive(Debug, Args)]
#[command(after_help = "\
With --reencrypt every pack whose contents are not encrypted to exactly the present recovery recipients is read and
stored again. This needs the identities that read the old packs, and one that reads the new packs, because new packs
are read back before they replace old ones. `prune` deletes the old packs. An interrupted run is resumed by the next
run.

Examples:
  reprise key rotate
  reprise --identity old.txt --identity new.txt key rotate --reencrypt          the plan
  reprise --identity old.txt --identity new.txt key rotate --reencrypt --yes")]
pub(crate) struct KeyRotateArgs {
    /// Re-encrypt contents that removed recovery identities can read, or added ones cannot. Without --yes: the plan.
    #[arg(long)]
    pub(crate) reencrypt: bool,
    /// Only print the plan.
    #[arg(long, short = 'n', conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Carry out the plan that --reencrypt prints.
    #[arg(long, requires = "reencrypt")]
    pub(crate) yes: bool,
}

pub(crate) fn run(context: &Context, args: &KeyRotateArgs) -> Result<Exit, Failure> {
    let repository = match args.yes {
        true => context.open_repository_for_writing()?,
        false => context.open_repository()?,
    };
    let keeper = match args.yes {
        true => Some(context.load_keeper(&repository, "record which packs are replaced")?),
        false => None,
    };
    let options = ReencryptOptions {
        host: context.environment.host_name.clone(),
        by: context.environment.user.clone(),
    };
    let shown = ProgressDisplay::start(context, "re-encrypt");
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
        output::print_error(&format!("finding: {}: {}", finding.object, finding.reason));
    }
    if context.global.json {
        output::print_json(&json!({
            "event": "reencrypt",
            "repository": repository.location(),
            "plan": plan,
            "report": args.yes.then_some(&report),
            "copies": list_copies(context, &repository)?,
        }));
    } else if args.yes && !context.global.quiet {
        print_report(&report);
        for copy in list_copies(context, &repository)? {
            output::print_line(&format!(
                "not re-encrypted: copy {copy}: run `reprise copy`, and then `reprise prune` there"
            ));
        }
    }
    if !args.yes && !args.dry_run && plan.packs > 0 {
        return Err(Failure::new(
            Exit::Refused,
            "nothing was changed: this is only the plan",
            "give --yes to carry it out, with the identities that read the old packs, one of a present recipient, \
             and a keeper's key",
        ));
    }
    let clean = plan.findings.is_empty() && report.findings.is_empty();
    Ok(if clean { Exit::Ok } else { Exit::Degraded })
}

/// The copies of the repository that the policies describe, each with its location.
fn list_copies(context: &Context, repository: &Repository) -> Result<Vec<String>, Failure> {
    if context.global.policies.is_none() {
        return Ok(Vec::new());
    }
    let policies = context.load_policies()?;
    let mut copies = Vec::new();
    for (policy, copy) in policies.copies() {
        let from = find_repository(policy, &copy.from)?;
        if from.url.to_string() == repository.location() {
            let to = find_repository(policy, &copy.to)?;
            copies.push(format!("{} ({})", copy.name, to.url));
        }
    }
    Ok(copies)
}

fn print_plan(repository: &Repository, plan: &ReencryptPlan) {
    output::print_line(&format!(
        "{}: re-encrypt {} ({}) for",
        repository.location(),
        output::format_count(plan.packs, "pack", "packs"),
        output::format_bytes(plan.bytes),
    ));
    for recipient in &plan.recipients {
        output::print_line(&format!("  {recipient}"));
    }
    output::print_line(&format!(
        "  done: {} already for these; re-encrypted before, to be deleted by the next prunes: {}",
        output::format_count(plan.current_packs, "pack", "packs"),
        plan.replaced_packs,
    ));
    if plan.condemned_packs > 0 {
        output::print_line(&format!(
            "  left to prune: {}",
            output::format_count(plan.condemned_packs, "condemned pack", "condemned packs")
        ));
    }
    if plan.log_segments > 0 {
        output::print_line(&format!(
            "  not changed: {} ({}): each is referenced by the next one. Identities that could read them still can,",
            output::format_count(plan.log_segments, "log segment", "log segments"),
            output::format_bytes(plan.log_bytes),
        ));
        output::print_line("    until they are forgotten and pruned.");
    }
    output::print_line(
        "  not changed: the catalog (sizes, times, sources, IDs; no names and no contents), the repository's secrets.",
    );
}

fn print_report(report: &ReencryptReport) {
    output::print_line(&format!(
        "re-encrypted: {}, in {} ({})",
        output::format_count(report.packs, "pack", "packs"),
        output::format_count(report.new_packs, "new pack", "new packs"),
        output::format_bytes(report.new_bytes),
    ));
    if !report.findings.is_empty() {
        output::print_line(&format!(
            "not re-encrypted: {} that could not be read; unchanged",
            output::format_count(report.findings.len(), "pack", "packs")
        ));
    }
    output::print_line(
        "The old packs remain until `reprise prune` has condemned and deleted them, here and in each repository copy.",
    );
}
