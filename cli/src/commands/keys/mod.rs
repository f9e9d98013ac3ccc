//! `reprise key`: `list`, `change` (add, rotate), `replacement` (of a host), `removal` (whom `live_writers` may not have
//! followed yet), `escrow` (of a keeper's key, with `passphrase_args`), `reencrypt` (with new secrets), `sheet` (for a safe).

pub(crate) mod change;
mod escrow;
pub(crate) mod list;
mod live_writers;
pub(crate) mod passphrase_args;
pub(crate) mod reencrypt;
pub(crate) mod removal;
mod replacement;
pub(crate) mod sheet;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use change::KeyAddArgs;
use escrow::KeyEscrowArgs;
use reencrypt::KeyRotateArgs;
use removal::KeyRemoveArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List all keys (recovery recipients, hosts and keepers) and all changes of keys.
    List,
    /// Print this host's public keys, for `key add --host`. Missing keys are created.
    Show,
    /// Add a recovery recipient, a host or a keeper. Needs a keeper's key.
    Add(KeyAddArgs),
    /// Remove a key permanently. Needs a keeper's key. Without --yes: only print the consequences.
    Remove(KeyRemoveArgs),
    /// Wrap secrets and catalog again for the present hosts and recovery recipients. Needs a keeper's key.
    Rotate(KeyRotateArgs),
    /// Keep a keeper's key in the repository, for a recovery identity and a passphrase. Needs a keeper's key.
    Escrow(KeyEscrowArgs),
    /// Print a recovery sheet: everything that is needed to restore, to be kept in a safe.
    Sheet,
}

pub(crate) fn run(context: &Context, command: KeyCommand) -> Result<Exit, Failure> {
    match command {
        KeyCommand::List => list::list(context),
        KeyCommand::Show => list::show(context),
        KeyCommand::Add(args) => change::add(context, &args),
        KeyCommand::Remove(args) => removal::remove(context, &args),
        KeyCommand::Rotate(args) if args.reencrypt => reencrypt::run(context, &args),
        KeyCommand::Rotate(args) => change::rotate(context, args.dry_run),
        KeyCommand::Escrow(args) => escrow::run(context, &args),
        KeyCommand::Sheet => sheet::run(context),
    }
}
