//! `reprise forget`: tombstones for what policies no longer keep, or for named snapshots. Nothing is deleted.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use reprise_policies::{HOLD_TAG, Hold, PolicySet, Tz, leaves_nothing};
use reprise_repository::{
    Error, ObjectId, PolicyVersion, Repository, Snapshot, TombstoneMetadata, UnreadableRoot,
    format_error_chain,
};
use serde_json::{Value, json};

use crate::args::ForgetArgs;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::forget_limits::MaxForget;
use crate::output;
use crate::policy_version;
use crate::retention::{self, LogForgetPlan, RepositoryPlan, RetentionParameters, SourcePlan};

pub(crate) fn run(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    if names_snapshots(context, args) {
        return forget_named(context, args);
    }
    let policies = context.load_policies()?;
    let wanted = retention_parameters(args);
    let chosen = policies.select_sources(&args.names)?;
    let plans =
        retention::plan_retention(context, &chosen, &policies.select_sources(&[])?, wanted)?;
    let mut shown = retention::as_json(&plans);
    shown["dry_run"] = json!(args.dry_run);
    if !context.global.json {
        retention::print_plans(context, &plans);
    }
    let exit = retention::print_warnings(&plans);
    refuse_too_much(args, &plans)?;
    if args.dry_run {
        if context.global.json {
            output::print_json(&shown);
        }
        return Ok(exit);
    }
    let written = write_tombstones(context, &plans, wanted.now)?;
    if context.global.json {
        shown["tombstones"] = json!(written);
        output::print_json(&shown);
    }
    Ok(exit)
}

fn retention_parameters(args: &ForgetArgs) -> RetentionParameters {
    RetentionParameters {
        now: current_time(),
        accept_flood: args.deciding.accept_flood,
        trust_times: args.deciding.trust_times,
    }
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

/// All plans are made and checked before anything is written.
fn refuse_too_much(args: &ForgetArgs, plans: &[RepositoryPlan<'_>]) -> Result<(), Failure> {
    let sources = || plans.iter().flat_map(|plan| &plan.sources);
    let empty = sources().find(|source| source.decision.leaves_nothing_good());
    if let Some(source) = empty.filter(|_| !args.allow_empty) {
        return Err(left_empty_failure(&source.name()));
    }
    let going = sources()
        .map(|source| source.snapshots_to_forget().len())
        .sum();
    refuse_over_limits(
        going,
        sources().filter_map(|source| source.log.as_ref()),
        args,
    )
}

fn left_empty_failure(source: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        format!(
            "{source} would be left without any good snapshot that was stored in time; nothing was forgotten"
        ),
        "change its retention, for example with `keep_at_least`, or give --allow-empty",
    )
}

fn refuse_over_limits<'a>(
    count: usize,
    logs: impl Iterator<Item = &'a LogForgetPlan>,
    args: &ForgetArgs,
) -> Result<(), Failure> {
    match MaxForget::from_args(&args.limits)?.describe_excess(count, logs) {
        Some(exceeded) => Err(Failure::new(
            Exit::Refused,
            format!("{exceeded}; nothing was forgotten"),
            "review it with --dry-run, and raise the limit if it is right",
        )),
        None => Ok(()),
    }
}

fn write_tombstones(
    context: &Context,
    plans: &[RepositoryPlan<'_>],
    now: DateTime<Utc>,
) -> Result<Vec<Value>, Failure> {
    let mut written = Vec::new();
    for plan in plans {
        for source in &plan.sources {
            let going = source.snapshots_to_forget();
            if going.is_empty() && source.log.is_none() {
                continue;
            }
            let keeper = context.load_keeper(&plan.repository, "forget snapshots")?;
            let why = policy_reason(context, source, now);
            let mut ids = Vec::new();
            if !going.is_empty() {
                ids = plan.repository.forget_snapshots(&keeper, &going, &why)?;
                print_forgotten_count(context, &source.name(), going.len());
            }
            if let Some(log) = &source.log {
                let repository = &plan.repository;
                let name = &source.source.name;
                ids.extend(repository.forget_log(&keeper, name, log.before, &why)?);
            }
            written.push(json!({
                "source": source.source.name,
                "repository": plan.repository.location(),
                "tombstones": ids,
            }));
        }
    }
    Ok(written)
}

fn policy_reason(
    context: &Context,
    source: &SourcePlan<'_>,
    now: DateTime<Utc>,
) -> TombstoneMetadata {
    let version = policy_version::read_policy_version(&source.policy.path);
    let reason = format!(
        "retention of {} by {}",
        source.name(),
        policy_version::describe_version(&version)
    );
    forget_reason(context, reason, Some(version), now)
}

/// Who does it, when and why.
pub(super) fn forget_reason(
    context: &Context,
    reason: String,
    policy: Option<PolicyVersion>,
    at: DateTime<Utc>,
) -> TombstoneMetadata {
    TombstoneMetadata {
        at,
        by: context.current_user(),
        reason,
        policy,
        program: format!("reprise {}", env!("CARGO_PKG_VERSION")),
    }
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
fn forget_named(context: &Context, args: &ForgetArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository()?;
    let (all, errors) = repository.all_snapshots_lossy()?;
    for (key, error) in &errors {
        output::print_error(&format!("error: {key} cannot be read: {error}"));
    }
    let mut chosen: Vec<&Snapshot> = Vec::new();
    let mut ids = BTreeSet::new();
    for name in &args.names {
        match find_unreadable(&errors, name) {
            Some((id, error)) => {
                refuse_unreadable(args, &id, error)?;
                ids.insert(id);
            }
            None => chosen.push(find_by_id(&all, name)?),
        }
    }
    refuse_held(args, &chosen)?;
    refuse_last(args, &repository, &all, &chosen)?;
    let others = errors.iter().any(|(key, _)| {
        !ids.iter()
            .any(|id| key.as_str() == format!("snapshots/{id}"))
    });
    ids.extend(chosen.iter().filter(|one| !one.forgotten).map(|one| one.id));
    let ids: Vec<ObjectId> = ids.into_iter().collect();
    refuse_over_limits(ids.len(), std::iter::empty(), args)?;
    let mut written = Vec::new();
    if !args.dry_run && !ids.is_empty() {
        let keeper = context.load_keeper(&repository, "forget snapshots")?;
        let why = forget_reason(context, "named by id".to_owned(), None, current_time());
        written = repository.forget_snapshots(&keeper, &ids, &why)?;
    }
    print_forgotten(context, args, &repository, &ids, &written);
    Ok(if others { Exit::Damaged } else { Exit::Ok })
}

/// An unreadable root by its full ID, and the reason: nothing but its ID is known.
pub(super) fn find_unreadable<'a>(
    errors: &'a [UnreadableRoot],
    name: &str,
) -> Option<(ObjectId, &'a Error)> {
    let id: ObjectId = name.parse().ok()?;
    // Anybody can store an object whose key merely ends like that of a snapshot.
    let own = format!("snapshots/{id}");
    let (_, error) = errors.iter().find(|(key, _)| key.as_str() == own)?;
    Some((id, error))
}

/// Refuses an unreadable root, unless the user takes responsibility. One that the storage does not return now may
/// be a good one.
fn refuse_unreadable(args: &ForgetArgs, id: &ObjectId, error: &Error) -> Result<(), Failure> {
    let message = format!(
        "snapshot {} cannot be read ({}), so it is unknown whether it is on hold or the last of its source; nothing \
         was forgotten",
        id.short(),
        format_error_chain(error)
    );
    let passing = matches!(
        error,
        Error::Backend { .. } | Error::LocalIo { .. } | Error::Internal(_) | Error::Interrupted
    );
    let hint = match (passing, args.unreadable) {
        (false, true) => return Ok(()),
        (false, false) => {
            "`reprise verify --repair --from COPY --replace` may repair it; to forget it anyway, give --unreadable"
        }
        (true, _) => "the storage failed, and the snapshot may be intact: try again",
    };
    Err(Failure::new(Exit::Refused, message, hint))
}

fn print_forgotten(
    context: &Context,
    args: &ForgetArgs,
    repository: &Repository,
    ids: &[ObjectId],
    written: &[ObjectId],
) {
    if context.global.json {
        output::print_json(&json!({
            "dry_run": args.dry_run,
            "repository": repository.location(),
            "forgotten": ids,
            "tombstones": written,
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

/// A snapshot by its ID prefix and by nothing else: a source's name must not mean its newest one here.
pub(super) fn find_by_id<'a>(all: &'a [Snapshot], name: &str) -> Result<&'a Snapshot, Failure> {
    let matches = |one: &&Snapshot| name.len() >= 4 && one.id.to_string().starts_with(name);
    let found: Vec<&Snapshot> = all.iter().filter(matches).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::new(
            Exit::NotFound,
            format!("no readable snapshot has an ID that begins with `{name}`"),
            "four characters of an ID are enough; `reprise snapshots --all` lists IDs; give the full ID of a snapshot that \
             cannot be read; sources need --policies",
        )),
        several => Err(reprise_repository::Error::AmbiguousSnapshot {
            name: name.to_owned(),
            count: several.len(),
        }
        .into()),
    }
}

fn refuse_held(args: &ForgetArgs, chosen: &[&Snapshot]) -> Result<(), Failure> {
    for one in chosen.iter().filter(|_| !args.release_holds) {
        // Without a policy, a day ends when it has ended everywhere.
        let hold = one
            .root
            .tags
            .get(HOLD_TAG)
            .map(|text| Hold::parse(text, Tz::Etc__GMTPlus12));
        if let Some(hold) = hold.filter(|hold| hold.is_active(current_time())) {
            let message = format!(
                "snapshot {} is {hold}; nothing was forgotten",
                one.id.short()
            );
            let hint = "leave it out, or give --release-holds";
            return Err(Failure::new(Exit::Refused, message, hint));
        }
    }
    Ok(())
}

/// Refuses to forget the last snapshot of a source that is as good as its best.
fn refuse_last(
    args: &ForgetArgs,
    repository: &Repository,
    all: &[Snapshot],
    chosen: &[&Snapshot],
) -> Result<(), Failure> {
    if args.allow_empty {
        return Ok(());
    }
    let wanted = retention_parameters(args);
    let hurt = repository.degraded_snapshots()?;
    let goes = |one: &Snapshot| chosen.iter().any(|gone| gone.id == one.id);
    let sources: BTreeSet<&str> = chosen
        .iter()
        .filter(|one| !one.forgotten)
        .map(|one| one.root.source.as_str())
        .collect();
    for source in sources {
        let there = all
            .iter()
            .filter(|one| !one.forgotten && one.root.source == source);
        let there = there.map(|one| {
            (
                retention::candidate_without_hold(one, &hurt, wanted),
                !goes(one),
            )
        });
        let there: Vec<_> = there.collect();
        let there: Vec<_> = there.iter().map(|(one, stays)| (one, *stays)).collect();
        if leaves_nothing(&there) {
            return Err(left_empty_failure(source));
        }
    }
    Ok(())
}
