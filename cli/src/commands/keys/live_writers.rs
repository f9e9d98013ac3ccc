//! Who may still encrypt to a recovery recipient that was removed, because it was at work at that time.

use reprise_repository::{ActiveRun, LogWriter, Repository};
use serde_json::{Value, json};

use crate::context::{Context, current_time};
use crate::failure::Failure;
use crate::output;

/// Reports them to people, and returns them for scripts. The repository was opened after the removal.
pub(super) fn report_live_writers(
    context: &Context,
    repository: &Repository,
) -> Result<Value, Failure> {
    let (logs, runs) = (repository.log_writers()?, repository.active_runs()?);
    if !context.global.json {
        logs.iter()
            .map(describe_log)
            .for_each(|line| output::print_line(&line));
        runs.iter()
            .map(describe_run)
            .for_each(|line| output::print_line(&line));
    }
    Ok(json!({ "logs": logs, "runs": runs }))
}

fn describe_log(log: &LogWriter) -> String {
    let age = current_time() - log.written;
    let written = output::format_time(&log.written);
    let follows = match log.has_current_recipients {
        true => "is encrypted to the present recipients only",
        false => {
            "is not encrypted to the present recipients: a running archiver follows with its next segment"
        }
    };
    format!(
        "  log of {}, by {}: its newest segment, of {written} ({} ago), {follows}",
        log.source,
        log.program,
        output::format_seconds(age.to_std().unwrap_or_default().as_secs_f64())
    )
}

fn describe_run(run: &ActiveRun) -> String {
    format!(
        "  a run is active: `{}` on {}; what it stores until it ends may be encrypted to earlier recipients",
        run.command, run.host
    )
}
