//! `reprise pause` and `reprise resume`: a source is not due for a time.

use chrono::{DateTime, Utc};
use clap::Args;
use reprise_scheduler::ledger::{Ledger, SourcePause};
use reprise_times::DayMeaning;
use serde_json::json;

use super::open_ledger;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::time_input::parse_moment;

#[derive(Debug, Args)]
#[command(after_help = "\
A pause ends by itself. Slots that were due meanwhile are skipped, and its end starts nothing: the next slot does.

Example:
  reprise pause prod/jenkins --until 2026-12-01T08:00 --why 'restored, being checked'")]
pub(crate) struct PauseArgs {
    /// POLICY/SOURCE, or the source's name if only one policy has it.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// When the pause ends.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: String,
    /// Why, for whoever asks what is missing.
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// POLICY/SOURCE, or the source's name if only one policy has it.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
}

pub(crate) fn pause(context: &Context, args: &PauseArgs) -> Result<Exit, Failure> {
    let now = current_time();
    let source = find_source_name(context, &args.source)?;
    let name = source.rsplit('/').next().unwrap_or(&source);
    let until = parse_moment(context, name, &args.until, DayMeaning::Unclear)?;
    if until <= now {
        let message = format!("--until {} is over", output::format_time(&until));
        return Err(Failure::usage(message, "give a time in the future"));
    }
    if args.why.trim().is_empty() || args.why.contains(char::is_control) {
        return Err(Failure::usage(
            "--why is empty or has control characters",
            "say in a line why nothing is stored",
        ));
    }
    let pause = SourcePause {
        source,
        from: now,
        until,
        reason: args.why.clone(),
        user: context.environment.user.clone(),
    };
    record(
        context,
        &*open_ledger(context)?,
        &pause,
        &format!(
            "{} is paused until {}",
            pause.source,
            output::format_time(&until)
        ),
    )
}

pub(crate) fn resume(context: &Context, args: &ResumeArgs) -> Result<Exit, Failure> {
    let source = find_source_name(context, &args.source)?;
    let now: DateTime<Utc> = current_time();
    let ledger = open_ledger(context)?;
    let Some(pause) = ledger
        .find_pause(&source)?
        .filter(|pause| pause.until > now)
    else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{source} is not paused"),
            "",
        ));
    };
    let ended = SourcePause {
        until: now,
        ..pause
    };
    record(
        context,
        &ledger,
        &ended,
        &format!("{source} is no longer paused; its next slot runs"),
    )
}

fn record(
    context: &Context,
    ledger: &Ledger,
    pause: &SourcePause,
    said: &str,
) -> Result<Exit, Failure> {
    ledger.record_pause(pause)?;
    if context.global.json {
        output::print_json(&json!({"event": "pause", "pause": pause}));
    } else if !context.global.quiet {
        output::print_line(said);
    }
    Ok(Exit::Ok)
}

fn find_source_name(context: &Context, name: &str) -> Result<String, Failure> {
    let policies = context.load_policies()?;
    let (policy, source) = policies.find_source(name)?;
    Ok(format!("{}/{}", policy.name, source.name))
}
