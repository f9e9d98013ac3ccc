//! `reprise init`: creates a repository.

use std::path::PathBuf;

use clap::Args;
use reprise_repository::{Passphrase, Repository, SignerRole};
use reprise_scheduler::repositories::{
    CreateRepositoryOptions, CreatedRepository, create_repository, describe_capabilities,
    probe_destination, replace_escrow_key,
};
use serde_json::json;

use crate::commands::keys::passphrase_args::PassphraseArgs;
use crate::commands::repository::access_policy;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
The recovery identities decrypt everything; store them off this host, in two places. The host itself gets a
writer identity and a signing key under $XDG_CONFIG_HOME/reprise (or REPRISE_CONFIG_DIR): with these it can
add snapshots and list them, but not read their contents.

The keeper is whoever may forget snapshots. Without --keeper this host is the keeper: an attacker on it can then
forget every snapshot, and the next prune deletes them. The key of a second keeper is then created beside the first
generated identity (recovery-1.keeper.txt): whoever has it can appoint a new host if this one is lost. With --escrow-keeper the repository keeps such a key instead,
encrypted to the recovery recipients and a passphrase. With --keeper FILE the keeper's key is created in FILE (or
used, if the file exists): move it to the machine that runs `reprise forget`.

Examples:
  reprise -r /srv/backup init --generate-identity recovery-1.txt --generate-identity recovery-2.txt
  reprise -r /srv/backup init --recipient age1… --recipient age1… --keeper keeper.txt
  reprise -r /srv/backup init --recipient age1… --recipient age1… --escrow-keeper
  reprise -r /srv/backup init --recipient age1… --recipient 'ssh-ed25519 AAAA…'")]
pub(crate) struct InitArgs {
    /// Public key of a recovery identity: age1…, an SSH public key, or a plugin's recipient.
    #[arg(long, value_name = "KEY")]
    pub(crate) recipient: Vec<String>,
    /// Create a new recovery identity and write it to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) generate_identity: Vec<PathBuf>,
    /// Accept a single recovery identity: if it is lost, the repository cannot be read.
    #[arg(long)]
    pub(crate) single_recipient: bool,
    /// Keep the key of a further keeper in the repository, encrypted to the recovery recipients and a passphrase.
    #[arg(long)]
    pub(crate) escrow_keeper: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// Only print the access policy with the least privileges that the destination must grant.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) print_policy: Option<crate::commands::repository::access_policy::AccessPolicyKind>,
    /// For whom: writer (a backup host), sweeper (`prune`, which deletes), or restore.
    #[arg(
        long,
        value_enum,
        value_name = "ROLE",
        default_value = "writer",
        requires = "print_policy"
    )]
    pub(crate) print_role: crate::commands::repository::access_policy::AccessRole,
}

fn role_name(role: SignerRole) -> &'static str {
    match role {
        SignerRole::Writer => "writer",
        SignerRole::Keeper => "keeper",
    }
}

/// Prints who reads, writes and keeps the new repository.
fn print_created(created: &CreatedRepository, location: &str, has_escrow: bool) {
    output::print_line(&format!(
        "repository {} at {}",
        created.config.repository, location
    ));
    output::print_line("recovery recipients (their identities read everything):");
    for recipient in &created.config.recipients.data {
        let made = created
            .identities
            .iter()
            .find(|(_, made)| made == recipient);
        let file = made.map_or_else(String::new, |(file, _)| format!("  in {}", file.display()));
        output::print_line(&format!("  {recipient}{file}"));
    }
    for signer in &created.config.signers {
        let roles: Vec<_> = signer.roles.iter().map(|role| role_name(*role)).collect();
        let (key, name, roles) = (signer.key, &signer.name, roles.join(" and "));
        output::print_line(&format!("signer {key} ({name}, {roles})"));
    }
    print_keepers(created, has_escrow);
}

/// Prints who may forget snapshots, and who appoints a new host when this one is lost.
fn print_keepers(created: &CreatedRepository, has_escrow: bool) {
    if has_escrow {
        output::print_lines(
            "The repository keeps the key of a further keeper (escrow key): if this host is lost, one recovery identity and the\npassphrase appoint a new one (`reprise key escrow --open`). Nobody can recover the passphrase.",
        );
    }
    if let Some(file) = &created.keeper {
        output::print_line(&format!(
            "The keeper's key, which may forget snapshots, is in {}: move it to the machine that runs `reprise forget`.",
            file.display()
        ));
        return;
    }
    output::print_lines(
        "This host is writer and keeper: an attacker on it can forget snapshots. `init --keeper FILE` puts the keeper's\nkey into a file that can be moved elsewhere.",
    );
    match &created.spare_keeper {
        Some(file) => output::print_lines(&format!(
            "The key of a second keeper is in {}: move it off this host together with the identities. If this host is\nlost, `reprise --keeper FILE key add --host` appoints a new one with it.",
            file.display()
        )),
        None if has_escrow => {}
        None => output::print_notes(
            "warning: if this host is lost, nobody can write to the repository, forget snapshots or change keys any more. Add a\nkeeper outside of it (on another machine `reprise key show`, here `reprise key add --keeper-key KEY --name safe`), or\ncreate the repository with --escrow-keeper, or with --keeper FILE and move that file off this host.",
        ),
    }
}

/// If it fails, the repository is there and has none.
fn make_escrow_key(
    context: &Context,
    repository: &Repository,
    passphrase: &Passphrase,
) -> Result<(), Failure> {
    let keeper = context.load_keeper(repository, "change keys")?;
    let reason = "the repository is new";
    replace_escrow_key(
        &context.environment,
        repository,
        &keeper,
        passphrase,
        reason,
    )?;
    Ok(())
}

pub(crate) fn run(context: &Context, args: &InitArgs) -> Result<Exit, Failure> {
    if let Some(kind) = args.print_policy {
        let location = context.global.repository.is_some();
        let location = location.then(|| context.target()).transpose()?;
        let location = location.map(|target| target.location);
        output::print_raw(
            access_policy::render_policy(kind, args.print_role, location.as_ref())?.trim_end(),
        );
        return Ok(Exit::Ok);
    }
    let target = context.target()?;
    let location = &target.location;
    // Before anything is created.
    let passphrase = match args.escrow_keeper {
        true => Some(args.passphrase.require(true)?),
        false => None,
    };
    let probed = probe_destination(&context.environment, location, &target.options())?;
    let backend = target.open_backend(context)?;
    let creation = CreateRepositoryOptions {
        recipients: &args.recipient,
        generate_identities: &args.generate_identity,
        single_recipient: args.single_recipient,
        keeper: None,
        has_escrow: passphrase.is_some(),
    };
    let created = create_repository(&context.environment, backend.as_ref(), &creation)?;
    // An identity that cannot be opened now could not be opened at 3 a.m. either.
    let mut opened = context.open_repository()?;
    if let Some(passphrase) = &passphrase {
        make_escrow_key(context, &opened, passphrase)?;
        opened = context.open_repository()?;
    }
    let config = &created.config;
    if context.global.json {
        let files: Vec<_> = created.identities.iter().map(|(file, _)| file).collect();
        output::print_json(&json!({
            "repository": config.repository,
            "location": backend.location(),
            "recipients": config.recipients.data,
            "writers": config.recipients.writers,
            "signers": config.signers,
            "generated_identities": files,
            "keeper": created.keeper,
            "spare_keeper": created.spare_keeper,
            "escrow": opened.keyring().escrow(),
            "destination": probed,
        }));
        return Ok(Exit::Ok);
    }
    print_created(&created, &backend.location(), passphrase.is_some());
    if location.directory().is_none() {
        output::print_line(&describe_capabilities(&probed));
    }
    if !created.identities.is_empty() {
        output::print_line(
            "Move the identity files off this host now, to two places. Without them nobody can",
        );
        output::print_line("read the repository; with them on this host, an attacker on it can.");
    }
    Ok(Exit::Ok)
}
