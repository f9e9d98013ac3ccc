//! `reprise completions`: prints a completion script for a shell.

use clap::Args;

use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to print the script for.
    pub(crate) shell: clap_complete::Shell,
}

/// Prints the script for a shell that completes this command line.
pub(crate) fn run(
    args: &CompletionsArgs,
    mut command_line: clap::Command,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line, "reprise", &mut script);
    output::print_raw(String::from_utf8_lossy(&script).trim_end());
    Ok(Exit::Ok)
}
