//! `reprise prune`: deletes what no kept snapshot needs, in two phases.

use chrono::TimeDelta;
use clap::Args;
use reprise_repository::{ErrorClass, PruneOptions, PrunePlan, PruneReport, Repository};
use reprise_scheduler::jobs::{
    JobEvent, PolicyDestination, PruneJobReport, policy_destinations, prune_repository,
};
use reprise_scheduler::repositories::open_existing;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;
use crate::quantities::{parse_duration_option, parse_size_option};

#[derive(Debug, Args)]
#[command(after_help = "\
Data that only forgotten snapshots need is condemned by one run and deleted by a later one, when the grace period and
every run that began before are over; until then `reprise unforget` undoes it. No recovery identity is needed.
Prune can run on another machine than the backup host, with credentials that may delete. It is safe to run it beside
other commands. An interrupted prune is resumed by the next run.

Examples:
  reprise -r s3://backup/prod prune --dry-run
  reprise -r s3://backup/prod prune --max-repack 10GiB")]
pub(crate) struct PruneArgs {
    /// Only print what would be deleted, and the space it would free.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// How long condemned data is kept before it is deleted.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) grace: String,
    /// Repack at most this much data, for example 10GiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_repack: Option<String>,
    /// Repack packs of which less than this percentage is needed.
    #[arg(long, value_name = "PERCENT", default_value = "50", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) repack_below: u8,
    /// Delete although this object, which this machine has seen, is gone without explanation; remembered on this machine.
    #[arg(long, value_name = "ID", conflicts_with = "dry_run")]
    pub(crate) accept_missing: Vec<String>,
}

/// The longest grace period.
const GRACE_MAX: TimeDelta = TimeDelta::days(3650);

pub(crate) fn run(context: &Context, args: &PruneArgs) -> Result<Exit, Failure> {
    let options = prune_options(context, args)?;
    if context.global.repository.is_some() || context.global.policies.is_none() {
        context.accept_missing(&args.accept_missing)?;
        let repository = if args.dry_run {
            context.open_repository()?
        } else {
            context.open_repository_for_writing()?
        };
        return prune_and_report(context, &repository, &options);
    }
    if !args.accept_missing.is_empty() {
        return Err(Failure::usage(
            "--accept-missing is about one repository",
            "name it with -r, or use `reprise -r NAME verify --accept-missing ID`",
        ));
    }
    let policies = context.load_policies()?;
    let mut exit = None;
    for destination in policy_destinations(&policies)? {
        let one = prune_destination(context, &destination, &options).unwrap_or_else(|failure| {
            failure.report(context.global.json);
            failure.exit
        });
        if one == Exit::Interrupted {
            return Ok(one);
        }
        exit = Some(exit.map_or(one, |exit: Exit| exit.combine_with(one)));
    }
    Ok(exit.unwrap_or(Exit::Ok))
}

/// Prunes a repository of the policies. One that is only copied to need not exist yet.
fn prune_destination(
    context: &Context,
    destination: &PolicyDestination<'_>,
    options: &PruneOptions,
) -> Result<Exit, Failure> {
    let described = destination.repository;
    let repository = match open_existing(&context.environment, described, &[]) {
        Err(error) if destination.only_copies && error.class() == ErrorClass::NotFound => {
            context.print_note(&format!(
                "note: {}: nothing was copied there yet",
                described.url
            ));
            return Ok(Exit::Ok);
        }
        opened => opened?,
    };
    prune_and_report(context, &repository, options)
}

fn prune_options(context: &Context, args: &PruneArgs) -> Result<PruneOptions, Failure> {
    let grace = parse_duration_option(&args.grace, "--grace", "write it as 12h or 7d")?;
    let grace = TimeDelta::from_std(grace).ok();
    let grace = grace.filter(|grace| *grace <= GRACE_MAX).ok_or_else(|| {
        let message = format!("--grace {} is too long", args.grace);
        Failure::usage(message, "give at most ten years")
    })?;
    let max_repack = args.max_repack.as_ref().map(|text| {
        let way_out = "write it as 500MiB or 10GiB; 0B repacks nothing";
        parse_size_option(text, "--max-repack", way_out)
    });
    Ok(PruneOptions {
        dry_run: args.dry_run,
        grace,
        max_repack: max_repack.transpose()?,
        repack_below: args.repack_below,
        host: context.environment.host_name.clone(),
        keeper_file: context.environment.keeper_file.clone(),
    })
}

fn prune_and_report(
    context: &Context,
    repository: &Repository,
    options: &PruneOptions,
) -> Result<Exit, Failure> {
    let shown = ProgressDisplay::start(context, "prune");
    let pruned = prune_repository(repository, options, &shown.progress, &mut |event| {
        if let JobEvent::PrunePlanned { location, plan } = event
            && !context.global.json
            && !context.global.quiet
        {
            print_plan(location, plan);
        }
    })?;
    drop(shown);
    let PruneJobReport { plan, report } = &pruned;
    for finding in plan.findings.iter().chain(&report.findings) {
        output::print_error(&format!("finding: {}: {}", finding.object, finding.reason));
    }
    if context.global.json {
        output::print_json(&json!({
            "event": "prune",
            "repository": repository.location(),
            "dry_run": options.dry_run,
            "plan": plan,
            "report": (!options.dry_run).then_some(report),
        }));
    } else if !options.dry_run && !context.global.quiet {
        print_report(report);
    }
    Ok(if pruned.is_clean() {
        Exit::Ok
    } else {
        Exit::Degraded
    })
}

fn print_plan(location: &str, plan: &PrunePlan) {
    output::print_line(&format!(
        "{}: {} kept, {} ({}), {}",
        location,
        output::format_count(plan.snapshots, "snapshot", "snapshots"),
        output::format_count(plan.packs, "pack", "packs"),
        output::format_bytes(plan.stored_bytes),
        output::format_count(plan.fragments, "index fragment", "index fragments"),
    ));
    output::print_line(&format!(
        "  condemn: {}, {} ({}), {} to be merged",
        output::format_count(plan.forgotten, "forgotten snapshot", "forgotten snapshots"),
        output::format_count(plan.dead_packs, "unused pack", "unused packs"),
        output::format_bytes(plan.dead_bytes),
        output::format_count(plan.fragments_replaced, "index fragment", "index fragments"),
    ));
    if plan.replaced_packs > 0 {
        output::print_line(&format!(
            "    of these packs re-encrypted before, so that new packs hold their data: {}",
            plan.replaced_packs
        ));
    }
    if plan.repacked_packs > 0 {
        output::print_line(&format!(
            "  repack: {} from {} ({})",
            output::format_bytes(plan.copied_bytes),
            output::format_count(
                plan.repacked_packs,
                "mostly unused pack",
                "mostly unused packs"
            ),
            output::format_bytes(plan.repacked_bytes),
        ));
    }
    output::print_line(&format!(
        "  delete: {} and {} condemned by an earlier run ({})",
        output::format_count(plan.swept_snapshots, "snapshot", "snapshots"),
        output::format_count(plan.swept_packs, "pack", "packs"),
        output::format_bytes(plan.swept_bytes),
    ));
    output::print_line(&format!(
        "  freed: {} now, {} after the grace period; {} remain unused in packs that are needed",
        output::format_bytes(plan.swept_bytes),
        output::format_bytes(plan.freed_later_bytes),
        output::format_bytes(plan.unused_bytes),
    ));
    if plan.log_segments + plan.log_bytes_waiting > 0 {
        output::print_line(&format!(
            "  logs: delete {} forgotten before ({}), {} after the grace period",
            output::format_count(plan.log_segments, "segment", "segments"),
            output::format_bytes(plan.log_bytes),
            output::format_bytes(plan.log_bytes_waiting),
        ));
    }
    if plan.possibly_in_use_packs > 0 {
        output::print_line(&format!(
            "  not touched: {} that may belong to a run in progress",
            output::format_count(plan.possibly_in_use_packs, "recent pack", "recent packs")
        ));
    }
    for waiting in &plan.waiting {
        output::print_line(&format!(
            "  waiting: {} ({}) of {} for {}, until {} at the latest",
            output::format_count(waiting.packs, "pack", "packs"),
            output::format_bytes(waiting.bytes),
            waiting.sweep,
            waiting.reason,
            output::format_time(&waiting.until),
        ));
    }
}

fn print_report(report: &PruneReport) {
    if report.still_needed_packs > 0 {
        output::print_line(&format!(
            "kept: {} needed again",
            output::format_count(
                report.still_needed_packs,
                "condemned pack",
                "condemned packs"
            )
        ));
    }
    if !report.locked.is_empty() {
        output::print_line(&format!(
            "locked: {} cannot be deleted yet; a later run deletes them",
            output::format_count(report.locked.len(), "object", "objects")
        ));
    }
    if report.log_segments > 0 {
        output::print_line(&format!(
            "deleted: {} ({})",
            output::format_count(report.log_segments, "log segment", "log segments"),
            output::format_bytes(report.log_bytes)
        ));
    }
    output::print_line(&format!(
        "deleted: {}, {}, {} ({}); new: {} ({}), {}",
        output::format_count(report.snapshots, "snapshot", "snapshots"),
        output::format_count(report.fragments, "index fragment", "index fragments"),
        output::format_count(report.packs, "pack", "packs"),
        output::format_bytes(report.bytes),
        output::format_count(report.new_packs, "pack", "packs"),
        output::format_bytes(report.new_bytes),
        output::format_count(report.new_fragments, "index fragment", "index fragments"),
    ));
}
