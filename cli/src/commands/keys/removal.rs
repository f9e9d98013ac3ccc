//! `reprise key remove`: what it means is shown before a keeper signs it.

use std::collections::BTreeMap;

use clap::Args;
use reprise_repository::{
    KeyChange, KeyRecord, Keyring, KnownSigner, ObjectId, Repository, SignerRole, has_recipient,
    mask_secret,
};
use serde_json::json;

use crate::commands::keys::change::{ACTION, KeyChoiceArgs};
use crate::commands::keys::list::HostPublicKeys;
use crate::commands::keys::live_writers::report_live_writers;
use crate::commands::keys::passphrase_args::PassphraseArgs;
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
A removed key can never be added again. What a removed host has stored so far stays valid; what it adds later is
rejected.

Examples:
  reprise key remove --host web2 --reason decommissioned
  reprise key remove --host web2 --received-until 2026-11-20T00:00:00Z --yes   reject what was received later
  reprise key remove --recipient age1… --yes")]
pub(crate) struct KeyRemoveArgs {
    #[command(flatten)]
    pub(crate) what: KeyChoiceArgs,
    /// Reject what the host or keeper signed and the storage received after this time (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "recipient")]
    pub(crate) received_until: Option<chrono::DateTime<chrono::Utc>>,
    /// Reject this object as well, although it is stored now. May be repeated.
    #[arg(long, value_name = "ID", conflicts_with = "recipient")]
    pub(crate) except: Vec<String>,
    /// Reason for the change. It is stored unencrypted.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// Only print the consequences.
    #[arg(long, short = 'n', conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Carry out the removal.
    #[arg(long)]
    pub(crate) yes: bool,
}

pub(crate) fn remove(context: &Context, args: &KeyRemoveArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository_for_writing()?;
    let mut change = KeyChange {
        by: context.environment.user.clone(),
        reason: args.reason.clone(),
        received_until: args.received_until,
        ..KeyChange::default()
    };
    for id in &args.except {
        let parsed = id.parse::<ObjectId>();
        let error = |_| Failure::usage(format!("`{id}` is not the full ID of an object"), "");
        change.excluded_objects.push(parsed.map_err(error)?);
    }
    let mut what = plan_removal(&repository, &mut change, &args.what)?;
    let keeper = context.load_keeper(&repository, ACTION)?;
    let escrow_is_lost = revoke_opened_escrow(&repository, &mut change, args, &mut what)?;
    let (planned, _) = repository.plan_key_change(&keeper, &change, current_time())?;
    let lost = find_invalidated_snapshots(&repository, &planned)?;
    let (made, accepts) = match args.yes {
        true => {
            let changed = repository.change_keys(&keeper, &change, current_time())?;
            (Some(changed.record), changed.accepted_count)
        }
        false => (None, planned.accepted_count()),
    };
    let writers = match made.is_some() && !change.revoke_recipients.data.is_empty() {
        true => Some(report_live_writers(context, &context.open_repository()?)?),
        false => None,
    };
    if context.global.json {
        output::print_json(&json!({
            "event": "key_removed", "record": made, "what": what, "valid_objects": accepts,
            "invalidated_snapshots": lost, "writers": writers,
        }));
    } else {
        for line in &what {
            output::print_line(line);
        }
        if let Some(count) = accepts {
            output::print_line(&format!(
                "  {} stored so far and signed by it stay valid; everything else it has signed is rejected.",
                output::format_count(count, "object", "objects")
            ));
        }
        for (source, ids) in &lost {
            output::print_line(&format!(
                "  LOST: {} of {source} no longer valid, which can never be restored again: {}",
                output::format_count(ids.len(), "snapshot", "snapshots"),
                ids.iter()
                    .map(ObjectId::short)
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        output::print_line("  A removed key can never be added again.");
    }
    match made {
        Some(record) => {
            context.print_note(&format!("removed by keys/{record}"));
            Ok(match escrow_is_lost {
                true => Exit::Degraded,
                false => Exit::Ok,
            })
        }
        None if args.dry_run => Ok(Exit::Ok),
        None => Err(Failure::new(
            Exit::Refused,
            "nothing was changed: this is only the plan",
            "give --yes to remove it, or --dry-run if only the plan was wanted",
        )),
    }
}

/// A removed recipient may know the passphrase: the escrow key is revoked with it, and made anew for the others if the
/// passphrase is given. Whether the repository is left without one.
fn revoke_opened_escrow(
    repository: &Repository,
    change: &mut KeyChange,
    args: &KeyRemoveArgs,
    what: &mut Vec<String>,
) -> Result<bool, Failure> {
    if change.revoke_recipients.data.is_empty() || !repository.revoke_escrow(change) {
        return Ok(false);
    }
    what.push(
        "  The escrow key is revoked: that identity opens it with the passphrase.".to_owned(),
    );
    let passphrase = match args.yes {
        true => args.passphrase.find(true)?,
        false => None,
    };
    match (args.yes, passphrase) {
        (true, Some(passphrase)) => {
            repository.add_escrow(change, &passphrase, current_time())?;
            what.push(
                "  A new one is made for the others; take another passphrase if it may be known."
                    .to_owned(),
            );
            Ok(false)
        }
        (true, None) => {
            what.push("  There is no escrow key now, as no passphrase is given: make one with `reprise key escrow`.".to_owned());
            Ok(true)
        }
        (false, _) => {
            what.push("  With the passphrase (asked for, or --passphrase-file) a new one is made for the others.".to_owned());
            Ok(false)
        }
    }
}

fn remove_recovery_recipient(change: &mut KeyChange, recipient: &str) -> Vec<String> {
    change.revoke_recipients.data.push(recipient.to_owned());
    vec![
        format!("remove recovery recipient {recipient}"),
        "  New data is not encrypted to it. Its identity still reads what is stored now;"
            .to_owned(),
        "  `reprise key rotate --reencrypt`, then `reprise prune`, end that.".to_owned(),
    ]
}

/// A recipient of the catalog is removed with its host or keeper, unless those were removed before.
fn remove_catalog_recipient(
    ring: &Keyring,
    change: &mut KeyChange,
    recipient: &str,
) -> Result<Vec<String>, Failure> {
    if let Some(holder) = ring.owner_of_recipient(recipient) {
        let option = match holder.roles.contains(&SignerRole::Writer) {
            true => "--host",
            false => "--keeper-key",
        };
        let message = format!("{recipient} belongs to {}", holder.name);
        let hint = format!("`reprise key remove {option} {}` removes both", holder.key);
        return Err(Failure::new(Exit::Refused, message, &hint));
    }
    change.revoke_recipients.writers.push(recipient.to_owned());
    Ok(vec![
        format!("remove recipient {recipient} of the catalog, which has no holder any more"),
        "  New data is not encrypted to it. Its identity still reads the catalog as it is now."
            .to_owned(),
    ])
}

/// Snapshots, by source, that a revocation does not accept.
fn find_invalidated_snapshots(
    repository: &Repository,
    planned: &KeyRecord,
) -> Result<BTreeMap<String, Vec<ObjectId>>, Failure> {
    let mut lost: BTreeMap<String, Vec<ObjectId>> = BTreeMap::new();
    if planned.revoke.signers.is_empty() {
        return Ok(lost);
    }
    for snapshot in repository.snapshots_lossy()?.0 {
        let key = format!("snapshots/{}", snapshot.id);
        let revoked = planned.revoke.signers.iter();
        let mut revoked = revoked.filter(|revoked| {
            revoked.key == snapshot.signer && revoked.roles.contains(&SignerRole::Writer)
        });
        if revoked.any(|revoked| revoked.accepts.binary_search(&key).is_err()) {
            lost.entry(snapshot.root.source)
                .or_default()
                .push(snapshot.id);
        }
    }
    Ok(lost)
}

/// Fills in what is removed; returns its description.
fn plan_removal(
    repository: &Repository,
    change: &mut KeyChange,
    what: &KeyChoiceArgs,
) -> Result<Vec<String>, Failure> {
    let ring = repository.keyring();
    let unknown = |key: &str, sort: &str| {
        let message = format!("the repository has no {sort} `{}`", mask_secret(key));
        Failure::new(Exit::NotFound, message, "`reprise key list` lists all keys")
    };
    if let Some(recipient) = &what.recipient {
        return match has_recipient(&ring.recipients().data, recipient) {
            true => Ok(remove_recovery_recipient(change, recipient)),
            false if has_recipient(&ring.recipients().writers, recipient) => {
                remove_catalog_recipient(ring, change, recipient)
            }
            false => Err(unknown(recipient, "recipient")),
        };
    }
    let signers = ring.trust().signers();
    let find = |text: &str, role: SignerRole| {
        let named = |s: &&KnownSigner| s.name == text || s.key.to_string() == text;
        let mut found = signers
            .iter()
            .filter(|s| s.roles.contains(&role))
            .filter(named);
        found.next().cloned().filter(|_| found.next().is_none())
    };
    if let Some(key) = &what.keeper_key {
        let signer = find(key, SignerRole::Keeper).ok_or_else(|| unknown(key, "unique keeper"))?;
        change
            .revoke_signers
            .push((signer.key, vec![SignerRole::Keeper]));
        return Ok(vec![
            format!("revoke keeper {} ({})", signer.key, signer.name),
            "  It can no longer change keys or forget snapshots; unless it is a host as well, the catalog is no"
                .to_owned(),
            "  longer encrypted to it.".to_owned(),
        ]);
    }
    let host = what.host.as_deref().unwrap_or_default();
    let public =
        HostPublicKeys::parse(host).map_or_else(|| host.to_owned(), |h| h.signer.to_string());
    let Some(signer) = find(&public, SignerRole::Writer) else {
        let removed = plan_second_removal(repository, change, &public)?;
        return removed.ok_or_else(|| unknown(host, "unique host"));
    };
    change
        .revoke_signers
        .push((signer.key, signer.roles.clone()));
    Ok(vec![
        format!(
            "revoke host {} ({}), {}",
            signer.name,
            signer.key,
            crate::commands::keys::list::format_roles(&signer)
        ),
        "  It can no longer add anything, and the catalog is no longer encrypted to it.".to_owned(),
    ])
}

/// A host that was removed before is removed again to reject more of what it stored. `None`: there is no such host.
fn plan_second_removal(
    repository: &Repository,
    change: &mut KeyChange,
    text: &str,
) -> Result<Option<Vec<String>>, Failure> {
    let trust = repository.keyring().trust();
    let named = |s: &KnownSigner| s.name == text || s.key.to_string() == text;
    let signers = trust.signers().into_iter();
    let mut found =
        signers.filter(|s| named(s) && trust.revoked_roles(&s.key).contains(&SignerRole::Writer));
    let Some(signer) = found.next().filter(|_| found.next().is_none()) else {
        return Ok(None);
    };
    if change.excluded_objects.is_empty() && change.received_until.is_none() {
        let message = format!("host {} ({}) was removed before", signer.name, signer.key);
        let hint = "to reject more of what it stored, give --except ID or --received-until TIME";
        return Err(Failure::new(Exit::Refused, message, hint));
    }
    let roles = trust.revoked_roles(&signer.key);
    change.revoke_signers.push((signer.key, roles));
    Ok(Some(vec![
        format!("revoke host {} ({}) again", signer.name, signer.key),
        "  Of what was accepted when it was removed, less stays valid.".to_owned(),
    ]))
}
