//! The `reprise` binary: arguments, progress, output, exit codes. It contains no backup logic.

mod access_policy;
mod args;
mod commands;
mod context;
mod creation;
mod destination;
mod failure;
mod forget_limits;
mod mysql;
mod output;
mod policy_version;
mod progress;
mod quantities;
mod retention;
mod sources;
mod time_input;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, KeyCommand, PolicyCommand};
use context::Context;
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli);
    let json = cli.global.json;
    let context = Context::new(cli.global);
    match dispatch(&context, cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(json);
            failure.exit.into()
        }
    }
}

fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => commands::init::run(context, &args),
        Command::Snapshot(args) => commands::snapshot::run(context, args),
        Command::Run(args) => commands::run::run(context, &args),
        Command::Snapshots(args) => commands::snapshots::run(context, &args),
        Command::Show(args) => commands::show::run(context, &args),
        Command::Ls(args) => commands::ls::run(context, &args),
        Command::Diff(args) => commands::diff::run(context, &args),
        Command::Restore(args) => commands::restore::run(context, &args),
        Command::Verify(args) => commands::verify::run(context, &args),
        Command::Copy(args) => commands::copy::run(context, &args),
        Command::Key(KeyCommand::List) => commands::key::list(context),
        Command::Key(KeyCommand::Show) => commands::key::show(context),
        Command::Key(KeyCommand::Add(args)) => commands::key_change::add(context, &args),
        Command::Key(KeyCommand::Remove(args)) => commands::key_change::remove(context, &args),
        Command::Key(KeyCommand::Rotate(args)) if args.reencrypt => {
            commands::reencrypt::run(context, &args)
        }
        Command::Key(KeyCommand::Rotate(_)) => commands::key_change::rotate(context),
        Command::Key(KeyCommand::Sheet) => commands::key_sheet::run(context),
        Command::Archive(args) => commands::archive::run(context, &args),
        Command::Log(args) => commands::log::run(context, &args),
        Command::Forget(args) => commands::forget::run(context, &args),
        Command::Prune(args) => commands::prune::run(context, &args),
        Command::Unforget(args) => commands::unforget::run(context, &args),
        Command::Drill(args) => commands::drill::run(context, &args),
        Command::Policy(PolicyCommand::Check(args)) => commands::policy::check(context, &args),
        Command::Policy(PolicyCommand::Preview(args)) => commands::preview::run(context, &args),
        Command::Policy(PolicyCommand::Schema) => commands::policy::print_schema(),
        Command::Completions(args) => commands::completions::run(&args),
    }
}

fn start_logging(cli: &Cli) {
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
    ];
    let ours = ours.map(|target| format!(",{target}={level}")).concat();
    let others = if cli.global.quiet { "error" } else { "warn" };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::new(format!(
            "{others}{ours}"
        )))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .init();
}
