//! `reprise unforget`: keeps forgotten snapshots again, until a prune has deleted them.

use clap::Args;
use reprise_repository::{ObjectId, Repository, UnreadableRoot};
use reprise_scheduler::jobs::{find_by_id, find_unreadable, tombstone_metadata};
use serde_json::json;

use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct UnforgetArgs {
    /// Beginnings of snapshot IDs; `reprise snapshots --all` lists them.
    #[arg(value_name = "SNAPSHOT", required_unless_present = "log")]
    pub(crate) snapshots: Vec<String>,
    /// Undo that the beginning of this source's log is forgotten.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) log: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &UnforgetArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository()?;
    let (all, errors) = repository.all_snapshots_lossy()?;
    let mut ids: Vec<ObjectId> = Vec::new();
    for name in &args.snapshots {
        if let Some((id, _)) = find_unreadable(&errors, name) {
            ids.push(id);
            continue;
        }
        let found = find_by_id(&all, name).map_err(Failure::from);
        let found = found
            .map_err(|failure| explain_missing_snapshot(&repository, &errors, name, failure))?;
        ids.push(found.id);
    }
    let keeper = context.load_keeper(&repository, "unforget snapshots")?;
    let why = tombstone_metadata(
        &context.environment,
        "brought back".to_owned(),
        None,
        current_time(),
    );
    let mut written = Vec::new();
    if !ids.is_empty() {
        written = repository.unforget_snapshots(&keeper, &ids, &why)?;
    }
    for source in &args.log {
        written.extend(repository.unforget_log(&keeper, source, &why)?);
    }
    if context.global.json {
        output::print_json(&json!({
            "repository": repository.location(),
            "unforgotten": ids,
            "logs": args.log,
            "tombstones": written,
        }));
    } else if !context.global.quiet {
        for id in ids {
            output::print_line(&format!("snapshot {} is no longer forgotten", id.short()));
        }
        for source in &args.log {
            output::print_line(&format!("the log of {source} is no longer forgotten"));
        }
    }
    Ok(Exit::Ok)
}

/// A snapshot that is not found may have been deleted by a prune.
fn explain_missing_snapshot(
    repository: &Repository,
    errors: &[UnreadableRoot],
    name: &str,
    failure: Failure,
) -> Failure {
    let Ok(tombstones) = repository.read_tombstones() else {
        return failure;
    };
    let forgotten = tombstones.forgotten_snapshots();
    let swept = |id: &&ObjectId| name.len() >= 4 && id.to_string().starts_with(name);
    match forgotten.iter().find(swept) {
        Some(id) if find_unreadable(errors, &id.to_string()).is_some() => Failure::new(
            Exit::Refused,
            format!("snapshot {} is forgotten and cannot be read", id.short()),
            format!("give its full ID to unforget it anyway: {id}"),
        ),
        Some(id) if failure.exit == Exit::NotFound => Failure::new(
            Exit::Refused,
            format!(
                "snapshot {} was forgotten and has been deleted by prune: it cannot be recovered",
                id.short()
            ),
            "a repository copy may still have it: run `reprise snapshots --all` there",
        ),
        _ => failure,
    }
}
