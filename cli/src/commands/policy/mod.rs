//! `reprise policy`: `check`, `preview` (what would be kept and forgotten), and the schema for editors.

pub(crate) mod check;
pub(crate) mod preview;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use check::PolicyCheckArgs;
use preview::PreviewArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check policy files. Needs no secrets and no repository.
    Check(PolicyCheckArgs),
    /// Show what policies would keep and forget now. Changes nothing, and needs no keeper's key.
    Preview(PreviewArgs),
    /// Print the JSON Schema of policy files, for editors.
    Schema,
}

pub(crate) fn run(context: &Context, command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check(args) => check::check(context, &args),
        PolicyCommand::Preview(args) => preview::run(context, &args),
        PolicyCommand::Schema => check::print_schema(),
    }
}
