//! The command line. Scripts rely on it: names are added, never changed.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::commands::completions::CompletionsArgs;
use crate::commands::keys::KeyCommand;
use crate::commands::log::archive::ArchiveArgs;
use crate::commands::log::list::LogArgs;
use crate::commands::policy::PolicyCommand;
use crate::commands::repository::copy::CopyArgs;
use crate::commands::repository::init::InitArgs;
use crate::commands::repository::prune::PruneArgs;
use crate::commands::repository::verify::VerifyArgs;
use crate::commands::restore::args::RestoreArgs;
use crate::commands::restore::cat::CatArgs;
use crate::commands::restore::drill::DrillArgs;
use crate::commands::schedule::pause::{PauseArgs, ResumeArgs};
use crate::commands::schedule::runs::RunsArgs;
use crate::commands::schedule::status::StatusArgs;
use crate::commands::snapshots::diff::DiffArgs;
use crate::commands::snapshots::forget::ForgetArgs;
use crate::commands::snapshots::list::SnapshotsArgs;
use crate::commands::snapshots::ls::LsArgs;
use crate::commands::snapshots::run::RunArgs;
use crate::commands::snapshots::show::ShowArgs;
use crate::commands::snapshots::snapshot::SnapshotArgs;
use crate::commands::snapshots::unforget::UnforgetArgs;
use crate::context::{Context, current_time, refuse_policies};
use crate::failure::{Exit, Failure};
use crate::global_args::GlobalArgs;
use crate::version;

/// Encrypted snapshots of volumes, databases, Terraform state and program output, with verified restores.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Create a repository and two recovery identities, to be stored off this host:
    reprise -r /srv/backup init --generate-identity recovery-1.txt --generate-identity recovery-2.txt
  Take a snapshot of a directory, and list snapshots:
    reprise -r /srv/backup snapshot volume /var/lib/jenkins
    reprise -r /srv/backup snapshots
  Restore the newest snapshot:
    reprise -r /srv/backup --identity recovery-1.txt restore jenkins --to /restored
  Run a restore drill with sample data:
    reprise drill --policies policies/examples/quickstart.yaml

Times are shown with their offset, in the time zone of the policies if they have one and the same, else in that of TZ or the
system; in JSON always in UTC.

Exit codes:
  0 ok   1 failed   2 usage or policy error   3 degraded: finished, but something named was skipped
  4 data is damaged or differs from what was expected   5 not found
  6 refused: target not empty, identity or permission missing   130 interrupted";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a repository.
    Init(InitArgs),
    /// Take a snapshot.
    Snapshot(SnapshotArgs),
    /// Take the snapshots that policies define, once, now; or with --due run what their schedules say is due.
    Run(RunArgs),
    /// Show what is protected, how fresh it is, what ran last and what is due next.
    Status(StatusArgs),
    /// List what schedules ran and left out, and explain a run.
    Runs(RunsArgs),
    /// Keep a source from being due for a time.
    Pause(PauseArgs),
    /// End the pause of a source.
    Resume(ResumeArgs),
    /// List snapshots.
    Snapshots(SnapshotsArgs),
    /// Show the details of a snapshot.
    Show(ShowArgs),
    /// List the entries of a snapshot.
    Ls(LsArgs),
    /// Compare two snapshots.
    Diff(DiffArgs),
    /// Write one file of a snapshot to standard output.
    Cat(CatArgs),
    /// Restore a snapshot to a directory or a database server.
    Restore(RestoreArgs),
    /// Check that the repository is complete and undamaged.
    Verify(VerifyArgs),
    /// Copy the snapshots to another repository.
    Copy(CopyArgs),
    /// List, add and remove recovery recipients, hosts and keepers.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Forget the snapshots that policies no longer keep. `prune` deletes their data later.
    Forget(ForgetArgs),
    /// Undo `forget`, until `prune` has deleted the data.
    Unforget(UnforgetArgs),
    /// Archive the binary log of a MySQL or MariaDB server, for point-in-time recovery.
    Archive(ArchiveArgs),
    /// List the transactions of an archived binary log.
    Log(LogArgs),
    /// Delete data that no snapshot needs any more, in two phases: condemn it, then delete it after a grace period.
    Prune(PruneArgs),
    /// Run restore drills: restore, check the data, and report whether it passed.
    Drill(DrillArgs),
    /// Work with policy files.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
}

/// Reads the command line; ends the program when it is wrong, or only asks for help.
pub(crate) fn parse() -> Cli {
    let matches = Cli::command().try_get_matches().unwrap_or_else(|error| {
        version::exit_with(&suggest_command(error), arguments(), current_time())
    });
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let source = matches.value_source("policies");
    cli.global.policies_on_command_line = source == Some(ValueSource::CommandLine);
    cli
}

#[expect(clippy::disallowed_methods, reason = "the command line is read here")]
fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// The words of other tools for what a command does.
const COMMANDS_OF_OTHER_TOOLS: [(&[&str], &str); 9] = [
    (&["backup", "create", "save"], "snapshot"),
    (&["list", "backups", "ls-snapshots"], "snapshots"),
    (&["check", "fsck", "test"], "verify"),
    (&["extract", "recover", "restore-mysql"], "restore"),
    (&["delete", "remove", "rm", "expire"], "forget"),
    (&["gc", "compact", "clean", "purge"], "prune"),
    (&["sync", "replicate", "mirror"], "copy"),
    (&["keys", "passwd", "rekey"], "key"),
    (&["validate", "lint", "config"], "policy"),
];

/// Adds the command that was probably meant.
fn suggest_command(mut error: clap::Error) -> clap::Error {
    let typed = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) => typed.as_str(),
        _ => return error,
    };
    let mut known = COMMANDS_OF_OTHER_TOOLS.iter();
    if let Some((_, meant)) = known.find(|(words, _)| words.contains(&typed)) {
        let suggestion = ContextValue::Strings(vec![(*meant).to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, suggestion);
    }
    error
}

/// Runs a command.
pub(crate) fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => commands::repository::init::run(context, &args),
        Command::Snapshot(args) => commands::snapshots::snapshot::run(context, args),
        Command::Run(args) => commands::snapshots::run::run(context, &args),
        Command::Status(args) => commands::schedule::status::run(context, &args),
        Command::Runs(args) => commands::schedule::runs::run(context, &args),
        Command::Pause(args) => commands::schedule::pause::pause(context, &args),
        Command::Resume(args) => commands::schedule::pause::resume(context, &args),
        Command::Snapshots(args) => commands::snapshots::list::run(context, &args),
        Command::Show(args) => commands::snapshots::show::run(context, &args),
        Command::Ls(args) => commands::snapshots::ls::run(context, &args),
        Command::Diff(args) => commands::snapshots::diff::run(context, &args),
        Command::Cat(args) => commands::restore::cat::run(context, &args),
        Command::Restore(args) => commands::restore::directory::run(context, &args),
        Command::Verify(args) => commands::repository::verify::run(context, &args),
        Command::Copy(args) => commands::repository::copy::run(context, &args),
        Command::Key(command) => commands::keys::run(context, command),
        Command::Archive(args) => commands::log::archive::run(context, &args),
        Command::Log(args) => commands::log::list::run(context, &args),
        Command::Forget(args) => commands::snapshots::forget::run(context, &args),
        Command::Prune(args) => commands::repository::prune::run(context, &args),
        Command::Unforget(args) => commands::snapshots::unforget::run(context, &args),
        Command::Drill(args) => commands::restore::drill::run(context, &args),
        Command::Policy(command) => commands::policy::run(context, command),
        Command::Completions(args) => {
            refuse_policies(context, "completions")?;
            commands::completions::run(&args, Cli::command())
        }
    }
}
