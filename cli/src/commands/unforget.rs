//! `reprise unforget`: takes back that snapshots are forgotten, until a sweep has deleted them.

use reprise_repository::{ObjectId, Repository, UnreadableRoot};
use serde_json::json;

use crate::args::UnforgetArgs;
use crate::context::{Context, now};
use crate::failure::{Exit, Failure};
use crate::output;

use super::forget::{by_id, unreadable, why};

pub(crate) fn run(context: &Context, args: &UnforgetArgs) -> Result<Exit, Failure> {
    let repository = context.open()?;
    let (all, errors) = repository.all_snapshots_lossy()?;
    let mut ids: Vec<ObjectId> = Vec::new();
    for name in &args.snapshots {
        if let Some((id, _)) = unreadable(&errors, name) {
            ids.push(id);
            continue;
        }
        let found = by_id(&all, name);
        let found = found.map_err(|failure| why_gone(&repository, &errors, name, failure))?;
        ids.push(found.id);
    }
    let keeper = context.keeper(&repository, "unforget snapshots")?;
    let why = why(context, "brought back".to_owned(), None, now());
    let mut written = Vec::new();
    if !ids.is_empty() {
        written = repository.unforget(&keeper, &ids, &why)?;
    }
    for source in &args.log {
        written.extend(repository.unforget_log(&keeper, source, &why)?);
    }
    if context.global.json {
        output::json_line(&json!({
            "repository": repository.location(),
            "brought_back": ids,
            "logs": args.log,
            "tombstones": written,
        }));
    } else if !context.global.quiet {
        for id in ids {
            output::line(&format!("snapshot {} is no longer forgotten", id.short()));
        }
        for source in &args.log {
            output::line(&format!("the log of {source} is no longer forgotten"));
        }
    }
    Ok(Exit::Ok)
}

/// A snapshot that is named in vain may have been swept.
fn why_gone(
    repository: &Repository,
    errors: &[UnreadableRoot],
    name: &str,
    failure: Failure,
) -> Failure {
    let Ok(tombstones) = repository.tombstones() else {
        return failure;
    };
    let forgotten = tombstones.forgotten();
    let swept = |id: &&ObjectId| name.len() >= 4 && id.to_string().starts_with(name);
    match forgotten.iter().find(swept) {
        Some(id) if unreadable(errors, &id.to_string()).is_some() => Failure::new(
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
