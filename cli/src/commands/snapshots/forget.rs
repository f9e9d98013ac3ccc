//! `reprise forget`: tombstones for what policies no longer keep, or for named snapshots. Nothing is deleted.

use clap::Args;
use reprise_policies::PolicySet;
use reprise_repository::Repository;
use reprise_scheduler::jobs::{
    ForgetNamedOptions, ForgetNamedReport, ForgetOptions, JobEvent, forget_named,
    policy_destinations, run_forget,
};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::retention_args::{ForgetLimitArgs, RetentionArgs};
use crate::{output, retention_output};

#[derive(Debug, Args)]
#[command(after_help = "\
With policies, forgets the snapshots that no rule keeps; without, the named snapshots. Each snapshot is listed with the
rule that keeps it, or the reason why it is forgotten. `reprise unforget` undoes it until `reprise prune` has deleted
the data. Sources that no policy names are not changed. Needs the keeper's key, except with --dry-run.

Examples:
  reprise forget --policies /etc/reprise --dry-run
  reprise forget --policies /etc/reprise prod/jenkins --keeper keeper.txt
  reprise -r /srv/backup forget 3f9a1c22")]
pub(crate) struct ForgetArgs {
    /// Sources, as POLICY or POLICY/SOURCE (default: all), or snapshots, by the beginning of their IDs.
    #[arg(value_name = "SOURCE|SNAPSHOT")]
    pub(crate) names: Vec<String>,
    /// Only print what would be forgotten.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Allow a source to be left without any snapshot.
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Forget named snapshots even if they are on hold.
    #[arg(long)]
    pub(crate) release_holds: bool,
    /// Forget snapshots that are named by their full IDs even if they cannot be read and may be on hold.
    #[arg(long)]
    pub(crate) unreadable: bool,
    #[command(flatten)]
    pub(crate) limits: ForgetLimitArgs,
    #[command(flatten)]
    pub(crate) deciding: RetentionArgs,
}

pub(crate) fn run(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    if names_snapshots(context, args) {
        return forget_snapshots(context, args);
    }
    let policies = context.load_policies()?;
    let options = ForgetOptions {
        names: &args.names,
        only_repository: None,
        retention: args.deciding.parameters(),
        limits: args.limits.max_forget()?,
        allow_empty: args.allow_empty,
        dry_run: args.dry_run,
    };
    let mut exit = Exit::Ok;
    let report = run_forget(
        &context.environment,
        &policies,
        &options,
        &mut |event| match event {
            JobEvent::ForgetPlanned { plans } => {
                if !context.global.json {
                    retention_output::print_plans(context, plans);
                }
                exit = retention_output::print_warnings(plans);
            }
            JobEvent::SnapshotsForgotten { series, count } => {
                print_forgotten_count(context, series, count);
            }
            event => context.print_event(&event),
        },
    )?;
    print_copies(context, &policies)?;
    if context.global.json {
        let mut shown = retention_output::as_json(&report.plans);
        shown["dry_run"] = json!(args.dry_run);
        if !args.dry_run {
            shown["tombstones"] = json!(report.written);
        }
        output::print_json(&shown);
    }
    Ok(exit)
}

/// Says where nothing is decided: what is only copied to forgets with the next copy.
fn print_copies(context: &Context, policies: &PolicySet) -> Result<(), Failure> {
    for destination in policy_destinations(policies)? {
        if destination.only_copies {
            context.print_note(&format!(
                "note: the next `reprise copy` forgets the same snapshots at {}",
                destination.repository.url
            ));
        }
    }
    Ok(())
}

/// Without policies the names are snapshots; with them, what looks like an ID and is no source's name.
fn names_snapshots(context: &Context, args: &ForgetArgs) -> bool {
    let id = |name: &String| {
        (8..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let Some(path) = &context.global.policies else {
        return !args.names.is_empty();
    };
    let meant = || PolicySet::load(path).is_ok_and(|set| set.select_sources(&args.names).is_ok());
    !args.names.is_empty() && args.names.iter().all(id) && !meant()
}

fn print_forgotten_count(context: &Context, name: &str, count: usize) {
    if !context.global.json && !context.global.quiet {
        output::print_line(&format!(
            "forgot {} of {name}; `reprise unforget` undoes it until `reprise prune` deletes the data",
            output::format_count(count, "snapshot", "snapshots")
        ));
    }
}

/// Snapshots that are named individually.
fn forget_snapshots(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository()?;
    let options = ForgetNamedOptions {
        names: &args.names,
        retention: args.deciding.parameters(),
        limits: args.limits.max_forget()?,
        allow_empty: args.allow_empty,
        release_holds: args.release_holds,
        unreadable: args.unreadable,
        dry_run: args.dry_run,
    };
    let report = forget_named(&context.environment, &repository, &options, &mut |event| {
        context.print_event(&event);
    })?;
    print_forgotten(context, args, &repository, &report);
    Ok(match (report.others_damaged, report.others_unreadable) {
        (true, _) => Exit::Damaged,
        (false, true) => Exit::Degraded,
        (false, false) => Exit::Ok,
    })
}

fn print_forgotten(
    context: &Context,
    args: &ForgetArgs,
    repository: &Repository,
    report: &ForgetNamedReport,
) {
    let ids = &report.forgotten;
    if context.global.json {
        output::print_json(&json!({
            "dry_run": args.dry_run,
            "repository": repository.location(),
            "forgotten": ids,
            "tombstones": report.tombstones,
        }));
    } else if !context.global.quiet {
        for id in ids {
            let word = if args.dry_run {
                "would forget"
            } else {
                "forgot"
            };
            output::print_line(&format!("{word} snapshot {}", id.short()));
        }
        if ids.is_empty() {
            output::print_line("already forgotten");
        }
    }
}
