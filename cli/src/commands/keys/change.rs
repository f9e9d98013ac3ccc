//! `reprise key add` and `key rotate`: changes that a keeper signs.

use std::path::PathBuf;

use clap::Args;
use reprise_repository::{
    Keeper, KeyChange, KeyChangeResult, KnownSigner, Repository, SignerId, SignerRole, Snapshot,
    mask_secret,
};
use reprise_scheduler::repositories::create_identity;
use serde_json::json;

use crate::commands::keys::list::{HostPublicKeys, format_roles};
use crate::commands::keys::replacement::add_continuation;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Data is encrypted when it is stored, so a new recovery identity reads only what is stored from now on. A new host
can use the existing data at once: the catalog is wrapped for its key.

Examples:
  reprise key add --generate-identity recovery-3.txt
  reprise key add --recipient age1… --reason 'second safe'
  reprise key show > web2.keys                  on the new host
  reprise key add --host web2.keys --name web2  with the key of a keeper
  reprise key add --host new.keys --name web1 --replaces web1  when web1 was installed again
  reprise key add --keeper-key 3b6a27bc… --name safe")]
pub(crate) struct KeyAddArgs {
    #[command(flatten)]
    pub(crate) what: KeyChoiceArgs,
    /// Create a new recovery identity, write it to this file, and add its public key.
    #[arg(long, value_name = "FILE", group = "KeyChoiceArgs")]
    pub(crate) generate_identity: Option<PathBuf>,
    /// Only print what would change.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Name of the host or the keeper.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Host whose snapshots the new one continues, by its name or signer: one history, though it has new keys.
    #[arg(long, value_name = "OLD", requires = "host")]
    pub(crate) replaces: Option<String>,
    /// Reason for the change. It is stored unencrypted.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// One key.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct KeyChoiceArgs {
    /// Public key of a recovery identity: age1…, an SSH public key, or a plugin's recipient.
    #[arg(long, value_name = "KEY")]
    pub(crate) recipient: Option<String>,
    /// Host: the file or the line that `key show` printed there. For `key remove` also its name or signer.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Public key of a keeper. For `key remove` also its name.
    #[arg(long, value_name = "KEY")]
    pub(crate) keeper_key: Option<String>,
}

/// The action that needs the keeper's key, for messages.
pub(super) const ACTION: &str = "change keys";

pub(crate) fn add(context: &Context, args: &KeyAddArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository_for_writing()?;
    let mut change = KeyChange {
        by: context.environment.user.clone(),
        reason: args.reason.clone(),
        ..KeyChange::default()
    };
    let keeper = context.load_keeper(&repository, ACTION)?;
    if let Some(file) = &args.generate_identity {
        let recipient = match args.dry_run {
            true => format!("a new identity in {}", file.display()),
            false => create_identity(&context.environment, file)?,
        };
        change.add.recipients.data.push(recipient);
    } else {
        add_key_to_change(&mut change, &args.what, args.name.as_deref())?;
        if let Some(replaced) = &args.replaces {
            add_continuation(&repository, &mut change, replaced)?;
        }
    }
    if args.dry_run {
        return plan_addition(context, &repository, &keeper, &change);
    }
    let changes = repository.change_keys(&keeper, &change, current_time())?;
    let record = changes.record;
    // A change that locks everybody out must be noticed now.
    let changed = context.open_repository()?;
    let adds_recipient = !change.add.recipients.data.is_empty();
    let older = match adds_recipient {
        true => repository.snapshots_lossy()?.0,
        false => Vec::new(),
    };
    if context.global.json {
        let older: Vec<_> = older.iter().map(|snapshot| snapshot.id).collect();
        output::print_json(&json!({
            "event": "key_added", "record": record, "add": change.add, "unreadable_snapshots": older,
            "keys": changed.keyring().recipients(), "not_rewrapped": changes.keys_not_wrapped,
        }));
        return Ok(report_not_rewrapped(&changes));
    }
    output::print_line(&format!("added by keys/{record}"));
    if adds_recipient {
        if !changed.keyring().recipients_without_escrow().is_empty() {
            output::print_line(
                "Its identity does not open the escrow key: replace that with `reprise key escrow`.",
            );
        }
        print_unreadable_data(&older);
    }
    if let Some(file) = &args.generate_identity {
        let file = file.display();
        output::print_line(&format!(
            "Move {file} off this host now, to two places: it reads what is stored from now on."
        ));
    }
    Ok(report_not_rewrapped(&changes))
}

/// What `key add` would do. A key that could not be added is refused here already.
fn plan_addition(
    context: &Context,
    repository: &Repository,
    keeper: &Keeper,
    change: &KeyChange,
) -> Result<Exit, Failure> {
    let generated = |text: &String| text.starts_with("a new identity in ");
    if !change.add.recipients.data.iter().any(generated) {
        repository.plan_key_change(keeper, change, current_time())?;
    }
    if context.global.json {
        output::print_json(&json!({
            "event": "key_added", "record": null, "add": change.add, "dry_run": true,
        }));
        return Ok(Exit::Ok);
    }
    let recipients = change.add.recipients.data.iter();
    let lines = recipients.map(|key| format!("would add recovery recipient {key}"));
    let signers = change.add.signers.iter();
    let lines = lines.chain(signers.map(|signer| {
        let roles = format_roles(signer);
        format!("would add {} ({roles}), signer {}", signer.name, signer.key)
    }));
    lines.for_each(|line| output::print_line(&line));
    for continued in &change.add.continues {
        output::print_line(&format!(
            "would continue the snapshots of {} ({}) as {}",
            repository.signer_name(&continued.replaces),
            continued.replaces,
            continued.signer
        ));
    }
    Ok(Exit::Ok)
}

/// Reports which keys of the catalog could not be wrapped.
fn report_not_rewrapped(changes: &KeyChangeResult) -> Exit {
    let count = changes.keys_not_wrapped;
    if count == 0 {
        return Exit::Ok;
    }
    output::print_notes(&format!(
        "{} could not be wrapped for the changed keys: this host cannot decrypt them, or they are damaged.\n\
         Run `reprise key rotate` where they can be decrypted: on an older host, or with a recovery identity (--identity).",
        output::format_count(count, "object of the catalog", "objects of the catalog")
    ));
    Exit::Degraded
}

fn add_key_to_change(
    change: &mut KeyChange,
    what: &KeyChoiceArgs,
    name: Option<&str>,
) -> Result<(), Failure> {
    let signer = |key, role, name: &str| KnownSigner {
        key,
        roles: vec![role],
        name: name.to_owned(),
    };
    let add = &mut change.add;
    match what {
        KeyChoiceArgs {
            recipient: Some(recipient),
            ..
        } => add.recipients.data.push(recipient.clone()),
        KeyChoiceArgs {
            host: Some(host), ..
        } => {
            let host = parse_host_keys(host)?;
            let name = name.or(host.name.as_deref()).unwrap_or("host");
            add.signers
                .push(signer(host.signer, SignerRole::Writer, name));
            add.recipients.writers.push(host.recipient);
        }
        KeyChoiceArgs {
            keeper_key: Some(key),
            ..
        } => {
            let key = parse_signer_id(key)?;
            add.signers
                .push(signer(key, SignerRole::Keeper, name.unwrap_or("keeper")));
        }
        // The command line requires one of them.
        _ => return Err(Failure::usage("no key is given", "")),
    }
    Ok(())
}

/// A host's public keys, from the line that `key show` prints, or the file with it.
fn parse_host_keys(text: &str) -> Result<HostPublicKeys, Failure> {
    let path = std::path::Path::new(text);
    let found = match path.is_file() {
        true => std::fs::read_to_string(path).map_err(|e| Failure::file_error("read", path, &e))?,
        false => text.to_owned(),
    };
    HostPublicKeys::parse(&found).ok_or_else(|| {
        Failure::usage(
            format!(
                "`{}` is neither a host's public keys nor a file with them",
                mask_secret(text)
            ),
            "run `reprise key show` on that host, and give its output",
        )
    })
}

fn parse_signer_id(text: &str) -> Result<SignerId, Failure> {
    text.parse().map_err(|reason| {
        let text = mask_secret(text);
        Failure::usage(format!("`{text}` is not a public key: {reason}"), "")
    })
}

/// Data is encrypted when it is stored: a new recipient does not decrypt older data.
fn print_unreadable_data(older: &[Snapshot]) {
    output::print_line("New data is encrypted to it from now on. It does not read:");
    let newest = older.iter().map(|snapshot| snapshot.effective_time()).max();
    match newest {
        Some(newest) => output::print_line(&format!(
            "  - {} taken before, the newest at {};",
            output::format_count(older.len(), "snapshot", "snapshots"),
            output::format_time(&newest)
        )),
        None => output::print_line("  - nothing: there is no snapshot yet."),
    }
    if newest.is_some() {
        output::print_line(
            "  - data of later snapshots that is already stored and not stored again;",
        );
    }
    output::print_line("  - log segments archived before, if a log is archived.");
    output::print_line(
        "Keep the other recovery identities. After `reprise key rotate --reencrypt` it reads these snapshots, but",
    );
    output::print_line(
        "never those log segments: take a new snapshot of each source with a log, and forget what is older.",
    );
}

/// For a host that was added while runs that did not know it were active.
pub(crate) fn rotate(context: &Context, dry_run: bool) -> Result<Exit, Failure> {
    let repository = context.open_repository_for_writing()?;
    let keeper = context.load_keeper(&repository, ACTION)?;
    if dry_run {
        let recipients = repository.keyring().recipients();
        let (recovery, hosts) = (recipients.data.len(), recipients.writers.len());
        let (recovery, hosts) = (recovery as u64, hosts as u64);
        context.print_note(&format!(
            "would wrap secrets and catalog again for {} and {}",
            output::format_count(recovery, "recovery recipient", "recovery recipients"),
            output::format_count(hosts, "host", "hosts"),
        ));
        return Ok(Exit::Ok);
    }
    let change = KeyChange {
        wrap_catalog_keys: true,
        by: context.environment.user.clone(),
        ..KeyChange::default()
    };
    let changes = repository.change_keys(&keeper, &change, current_time())?;
    let record = changes.record;
    if context.global.json {
        output::print_json(&json!({
            "event": "keys_rotated", "record": record, "not_rewrapped": changes.keys_not_wrapped,
        }));
    } else {
        output::print_line(&format!("wrapped again by keys/{record}"));
        output::print_line(
            "Contents stay encrypted to those who were recipients when they were stored;",
        );
        output::print_line("`reprise key rotate --reencrypt` re-encrypts them.");
    }
    Ok(report_not_rewrapped(&changes))
}
