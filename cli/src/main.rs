//! The `reprise` binary: arguments, progress, output, exit codes. It contains no backup logic.

mod command_line;
mod commands;
mod context;
mod failure;
mod global_args;
mod host_args;
mod interruption;
mod memory_protection;
mod output;
mod progress;
mod quantities;
mod retention_args;
mod retention_output;
mod server_address;
mod time_input;
mod version;

use std::io::IsTerminal;
use std::process::ExitCode;

use command_line::Cli;
use context::Context;
use failure::Failure;
use reprise_scheduler::JobError;
use reprise_scheduler::isolation::{catch_panics, record_panics, take_recorded_panics};

fn main() -> ExitCode {
    let cli = command_line::parse();
    start_logging(&cli);
    memory_protection::forbid_core_dumps();
    let json = cli.global.json;
    record_panics();
    let ended = catch_panics(move || {
        Ok(Context::new(cli.global).and_then(|context| command_line::run(&context, cli.command)))
    });
    let failure = match ended {
        Ok(Ok(exit)) => match unreported_panic() {
            None => return exit.into(),
            Some(failure) => failure,
        },
        Ok(Err(failure)) => failure,
        Err(panicked) => panicked.into(),
    };
    failure.report(json);
    failure.exit.into()
}

/// A thread that panicked, though its work was not missed: what the command says of itself cannot be believed then.
fn unreported_panic() -> Option<Failure> {
    let reasons = take_recorded_panics();
    let reason = reasons.join("; ");
    (!reasons.is_empty()).then(|| JobError::Panicked { reason }.into())
}

fn start_logging(cli: &Cli) {
    let verbose = cli.global.verbose > 0;
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    // Only warnings of the libraries: at other levels some log whole requests, signatures included.
    let ours = [
        "reprise",
        "reprise_policies",
        "reprise_repository",
        "reprise_snapshotters",
        "reprise_restore",
        "reprise_mysql",
        "reprise_scheduler",
    ];
    let ours = ours.map(|target| format!(",{target}={level}")).concat();
    // Where it looks for regions and credentials and finds none is told by the error, if it matters.
    let others = if cli.global.quiet {
        "error"
    } else {
        "warn,aws_config=error"
    };
    tracing_subscriber::fmt()
        .with_writer(move || output::TerminalLog { once: !verbose })
        .with_env_filter(tracing_subscriber::EnvFilter::new(format!(
            "{others}{ours}"
        )))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .init();
}
