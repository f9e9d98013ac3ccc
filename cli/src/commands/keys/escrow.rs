//! `reprise key escrow`: a keeper's key that the repository keeps, for a recovery identity and a passphrase.

use std::path::{Path, PathBuf};

use clap::Args;
use reprise_repository::{Keyring, write_secret_file};
use reprise_scheduler::repositories::replace_escrow_key;
use serde_json::{Value, json};

use crate::commands::keys::change::ACTION;
use crate::commands::keys::passphrase_args::PassphraseArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
The escrow key is the key of a keeper of its own, encrypted to all recovery recipients AND a passphrase. When all hosts are
lost, one recovery identity and the passphrase appoint a new one. Nobody can recover the passphrase: keep it apart from
the identities. A new key revokes the one before it.

Examples:
  reprise key escrow                                                      make it, or replace it
  reprise --identity recovery-1.txt key escrow --open keeper.txt          on a new machine
  reprise --keeper keeper.txt key add --host new.keys --name web1 --replaces web1")]
pub(crate) struct KeyEscrowArgs {
    /// Open the escrow key with --identity and the passphrase, and write it to this file, for --keeper.
    #[arg(long, value_name = "FILE")]
    pub(crate) open: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// Reason for the change. It is stored unencrypted.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Only print what would change.
    #[arg(long, short = 'n', conflicts_with = "open")]
    pub(crate) dry_run: bool,
}

pub(crate) fn run(context: &Context, args: &KeyEscrowArgs) -> Result<Exit, Failure> {
    if let Some(file) = &args.open {
        return open_key(context, args, file);
    }
    let repository = context.open_repository_for_writing()?;
    let keeper = context.load_keeper(&repository, ACTION)?;
    let ring = repository.keyring();
    let lines = describe_plan(ring);
    if args.dry_run {
        print_change(context, &lines, None);
        return Ok(Exit::Ok);
    }
    let passphrase = args.passphrase.require(true)?;
    let environment = &context.environment;
    let record = replace_escrow_key(environment, &repository, &keeper, &passphrase, &args.reason)?;
    print_change(context, &lines, Some(record.to_string()));
    Ok(Exit::Ok)
}

fn describe_plan(ring: &Keyring) -> Vec<String> {
    let mut lines = vec![
        "a new escrow key: the key of a further keeper, for the passphrase and one identity of"
            .to_owned(),
    ];
    let recipients = ring.recipients().data.iter();
    lines.extend(recipients.map(|recipient| format!("  {recipient}")));
    if let Some(old) = ring.escrow() {
        lines.push(format!("revokes the escrow key before it ({})", old.signer));
    }
    lines
}

fn print_change(context: &Context, lines: &[String], record: Option<String>) {
    if context.global.json {
        let event = json!({"event": "escrow_key", "record": record, "what": lines});
        output::print_json(&event);
        return;
    }
    lines.iter().for_each(|line| output::print_line(line));
    if let Some(record) = record {
        output::print_line(&format!("stored by keys/{record}"));
        context.print_note(
            "Keep the passphrase apart from the identities: nobody can recover it. Print the sheet again: `reprise key sheet`.",
        );
    }
}

/// The keeper's key in a file that must not exist yet.
fn open_key(context: &Context, args: &KeyEscrowArgs, file: &Path) -> Result<Exit, Failure> {
    let repository = context.open_repository()?;
    let passphrase = args.passphrase.require(false)?;
    let text = repository.open_escrow(&passphrase)?;
    write_secret_file(file, &text)?;
    if context.global.json {
        output::print_json(&json!({"event": "escrow_key_opened", "file": file}));
        return Ok(Exit::Ok);
    }
    let file = file.display();
    output::print_line(&format!(
        "the escrow key is in {file}: give it with --keeper {file}"
    ));
    context.print_note(
        "Appoint the new host with it (`key add --host`, and `key add --keeper-key` for the right to forget), then replace it \
         with `reprise key escrow`, and delete the file.",
    );
    Ok(Exit::Ok)
}

/// The escrow key for people; empty without one.
pub(super) fn describe_escrow(ring: &Keyring) -> Vec<String> {
    let Some(escrow) = ring.escrow() else {
        return Vec::new();
    };
    let mut lines = vec![format!(
        "escrow key: {} of keeper {}, for the passphrase and an identity of {}",
        escrow.object.short(),
        escrow.signer,
        output::format_count(escrow.recipients.len(), "recipient", "recipients")
    )];
    for recipient in ring.recipients_without_escrow() {
        lines.push(format!(
            "  not for {recipient}, which was added later: `reprise key escrow` makes a new one"
        ));
    }
    let removed = escrow.recipients.iter();
    for recipient in removed.filter(|recipient| ring.is_revoked_recipient(recipient)) {
        lines.push(format!(
            "  also for {recipient}, which was removed: replace it with `reprise key escrow`"
        ));
    }
    lines
}

/// The escrow key as JSON.
pub(super) fn escrow_as_json(ring: &Keyring) -> Value {
    json!(ring.escrow().map(|escrow| json!({
        "object": escrow.object,
        "signer": escrow.signer,
        "recipients": escrow.recipients,
        "recipients_without": ring.recipients_without_escrow(),
    })))
}
