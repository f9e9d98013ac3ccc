//! `reprise key add` and `key remove`: changes that a keeper signs.

use std::collections::BTreeMap;

use reprise_repository::{
    ChangedKeys, KeyChange, KeyRecord, Keyring, KnownSigner, ObjectId, Repository, Role, SignerId,
    Snapshot, has_recipient, mask_secret,
};
use serde_json::json;

use crate::args::{KeyAddArgs, KeyChoice, KeyRemoveArgs};
use crate::context::{Context, now};
use crate::failure::{Exit, Failure};
use crate::output;

use super::key::PublicHost;

/// What the keeper's key is wanted for.
const ACTION: &str = "change keys";

pub(crate) fn add(context: &Context, args: &KeyAddArgs) -> Result<Exit, Failure> {
    let repository = context.open_to_write()?;
    let mut change = KeyChange {
        by: context.person(),
        reason: args.reason.clone(),
        ..KeyChange::default()
    };
    addition(&mut change, &args.what, args.name.as_deref())?;
    let keeper = context.keeper(&repository, ACTION)?;
    let changes = repository.change_keys(&keeper, &change, now())?;
    let record = changes.record;
    // What a keeper just locked everybody out of must be known now.
    let changed = context.open()?;
    let older = match args.what.recipient {
        Some(_) => repository.snapshots_lossy()?.0,
        None => Vec::new(),
    };
    if context.global.json {
        let older: Vec<_> = older.iter().map(|snapshot| snapshot.id).collect();
        output::json_line(&json!({
            "event": "key_added", "record": record, "add": change.add, "not_read": older,
            "keys": changed.keyring().recipients(), "not_handed_over": changes.not_handed_over,
        }));
        return Ok(handed_over(&changes));
    }
    output::line(&format!("added by keys/{record}"));
    if args.what.recipient.is_some() {
        say_what_it_does_not_read(&older);
    }
    Ok(handed_over(&changes))
}

/// Says what of the catalog could not be handed over.
fn handed_over(changes: &ChangedKeys) -> Exit {
    let count = changes.not_handed_over;
    if count == 0 {
        return Exit::Ok;
    }
    output::error(&format!(
        "{} could not be wrapped for the changed keys: this host cannot decrypt them, or they are damaged.\n\
         Run `reprise key rotate` where they can be decrypted: on an older host, or with a recovery identity (--identity).",
        output::format_count(count, "object of the catalog", "objects of the catalog")
    ));
    Exit::Degraded
}

fn addition(change: &mut KeyChange, what: &KeyChoice, name: Option<&str>) -> Result<(), Failure> {
    let signer = |key, role, name: &str| KnownSigner {
        key,
        roles: vec![role],
        name: name.to_owned(),
    };
    let add = &mut change.add;
    match what {
        KeyChoice {
            recipient: Some(recipient),
            ..
        } => add.recipients.data.push(recipient.clone()),
        KeyChoice {
            host: Some(host), ..
        } => {
            let host = public_host(host)?;
            let name = name.or(host.name.as_deref()).unwrap_or("host");
            add.signers.push(signer(host.signer, Role::Writer, name));
            add.recipients.writers.push(host.recipient);
        }
        KeyChoice {
            keeper_key: Some(key),
            ..
        } => {
            let key = signer_id(key)?;
            add.signers
                .push(signer(key, Role::Keeper, name.unwrap_or("keeper")));
        }
        // The command line demands one of them.
        _ => return Err(Failure::usage("no key is given", "")),
    }
    Ok(())
}

/// A host's public keys, from the line that `key show` prints, or the file with it.
fn public_host(text: &str) -> Result<PublicHost, Failure> {
    let path = std::path::Path::new(text);
    let found = match path.is_file() {
        true => std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))?,
        false => text.to_owned(),
    };
    PublicHost::parse(&found).ok_or_else(|| {
        Failure::usage(
            format!(
                "`{}` is neither a host's public keys nor a file with them",
                mask_secret(text)
            ),
            "run `reprise key show` on that host, and give its output",
        )
    })
}

fn signer_id(text: &str) -> Result<SignerId, Failure> {
    text.parse().map_err(|reason| {
        let text = mask_secret(text);
        Failure::usage(format!("`{text}` is not a public key: {reason}"), "")
    })
}

/// Encryption happened when things were stored: a new recipient does not open them.
fn say_what_it_does_not_read(older: &[Snapshot]) {
    output::line("New data is encrypted to it from now on. It does not read:");
    let newest = older.iter().map(|snapshot| snapshot.root.data_time).max();
    match newest {
        Some(newest) => output::line(&format!(
            "  - {} taken before, the newest at {};",
            output::format_count(older.len(), "snapshot", "snapshots"),
            output::time(&newest)
        )),
        None => output::line("  - nothing: there is no snapshot yet."),
    }
    if newest.is_some() {
        output::line("  - data of later snapshots that is already stored and not stored again;");
    }
    output::line("  - log segments archived before, if a log is archived.");
    output::line(
        "Keep the other recovery identities. After `reprise key rotate --reencrypt` it reads these snapshots, but",
    );
    output::line(
        "never those log segments: take a new snapshot of each source with a log, and forget what is older.",
    );
}

/// For a host that was added while runs were under way that had not heard of it.
pub(crate) fn rotate(context: &Context) -> Result<Exit, Failure> {
    let repository = context.open_to_write()?;
    let keeper = context.keeper(&repository, ACTION)?;
    let change = KeyChange {
        hand_over: true,
        by: context.person(),
        ..KeyChange::default()
    };
    let changes = repository.change_keys(&keeper, &change, now())?;
    let record = changes.record;
    if context.global.json {
        output::json_line(&json!({
            "event": "keys_rotated", "record": record, "not_handed_over": changes.not_handed_over,
        }));
    } else {
        output::line(&format!("wrapped again by keys/{record}"));
        output::line("Contents stay encrypted to those who were recipients when they were stored;");
        output::line("`reprise key rotate --reencrypt` re-encrypts them.");
    }
    Ok(handed_over(&changes))
}

pub(crate) fn remove(context: &Context, args: &KeyRemoveArgs) -> Result<Exit, Failure> {
    let repository = context.open_to_write()?;
    let mut change = KeyChange {
        by: context.person(),
        reason: args.reason.clone(),
        received_until: args.received_until,
        ..KeyChange::default()
    };
    for id in &args.except {
        let parsed = id.parse::<ObjectId>();
        let error = |_| Failure::usage(format!("`{id}` is not the full ID of an object"), "");
        change.except.push(parsed.map_err(error)?);
    }
    let what = removal(&repository, &mut change, &args.what)?;
    let keeper = context.keeper(&repository, ACTION)?;
    let (planned, _) = repository.plan_key_change(&keeper, &change, now())?;
    let lost = no_longer_counted(&repository, &planned)?;
    let (made, accepts) = match args.yes {
        true => {
            let changed = repository.change_keys(&keeper, &change, now())?;
            (Some(changed.record), changed.accepted)
        }
        false => (None, planned.accepted()),
    };
    if context.global.json {
        output::json_line(&json!({
            "event": "key_removed", "record": made, "what": what, "objects_that_count": accepts,
            "snapshots_that_count_no_longer": lost,
        }));
    } else {
        for line in &what {
            output::line(line);
        }
        if let Some(count) = accepts {
            output::line(&format!(
                "  {} stored so far and signed by it stay valid; everything else it has signed is rejected.",
                output::format_count(count, "object", "objects")
            ));
        }
        for (source, ids) in &lost {
            output::line(&format!(
                "  LOST: {} of {source} no longer valid, which can never be restored again: {}",
                output::format_count(ids.len(), "snapshot", "snapshots"),
                ids.iter()
                    .map(ObjectId::short)
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        output::line("  A removed key can never be added again.");
    }
    match made {
        Some(record) => {
            context.note(&format!("removed by keys/{record}"));
            Ok(Exit::Ok)
        }
        None => Err(Failure::new(
            Exit::Refused,
            "nothing was changed: this is only the plan",
            "give --yes to remove it",
        )),
    }
}

fn recovery_removal(change: &mut KeyChange, recipient: &str) -> Vec<String> {
    change.revoke_recipients.data.push(recipient.to_owned());
    vec![
        format!("remove recovery recipient {recipient}"),
        "  New data is not encrypted to it. Its identity still reads what is stored now;"
            .to_owned(),
        "  `reprise key rotate --reencrypt`, then `reprise prune`, end that.".to_owned(),
    ]
}

/// A recipient of the catalog goes with its host or keeper, unless those went before.
fn catalog_removal(
    ring: &Keyring,
    change: &mut KeyChange,
    recipient: &str,
) -> Result<Vec<String>, Failure> {
    if let Some(holder) = ring.holder_of(recipient) {
        let option = match holder.roles.contains(&Role::Writer) {
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

/// Snapshots of a source that a revocation does not accept, by source.
fn no_longer_counted(
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
            revoked.key == snapshot.signer && revoked.roles.contains(&Role::Writer)
        });
        if revoked.any(|revoked| revoked.accepts.binary_search(&key).is_err()) {
            lost.entry(snapshot.root.source)
                .or_default()
                .push(snapshot.id);
        }
    }
    Ok(lost)
}

/// Fills in what is taken away; says it in words.
fn removal(
    repository: &Repository,
    change: &mut KeyChange,
    what: &KeyChoice,
) -> Result<Vec<String>, Failure> {
    let ring = repository.keyring();
    let unknown = |key: &str, sort: &str| {
        let message = format!("the repository has no {sort} `{}`", mask_secret(key));
        Failure::new(Exit::NotFound, message, "`reprise key list` lists all keys")
    };
    if let Some(recipient) = &what.recipient {
        return match has_recipient(&ring.recipients().data, recipient) {
            true => Ok(recovery_removal(change, recipient)),
            false if has_recipient(&ring.recipients().writers, recipient) => {
                catalog_removal(ring, change, recipient)
            }
            false => Err(unknown(recipient, "recipient")),
        };
    }
    let signers = ring.trust().signers();
    let find = |text: &str, role: Role| {
        let named = |s: &&KnownSigner| s.name == text || s.key.to_string() == text;
        let mut found = signers
            .iter()
            .filter(|s| s.roles.contains(&role))
            .filter(named);
        found.next().cloned().filter(|_| found.next().is_none())
    };
    if let Some(key) = &what.keeper_key {
        let signer = find(key, Role::Keeper).ok_or_else(|| unknown(key, "unique keeper"))?;
        change.revoke_signers.push((signer.key, vec![Role::Keeper]));
        return Ok(vec![
            format!("revoke keeper {} ({})", signer.key, signer.name),
            "  It can no longer change keys or forget snapshots; unless it is a host as well, the catalog is no"
                .to_owned(),
            "  longer encrypted to it.".to_owned(),
        ]);
    }
    let host = what.host.as_deref().unwrap_or_default();
    let public = PublicHost::parse(host).map_or_else(|| host.to_owned(), |h| h.signer.to_string());
    let signer = find(&public, Role::Writer).ok_or_else(|| unknown(host, "unique host"))?;
    change
        .revoke_signers
        .push((signer.key, signer.roles.clone()));
    Ok(vec![
        format!(
            "revoke host {} ({}), {}",
            signer.name,
            signer.key,
            super::key::roles(&signer)
        ),
        "  It can no longer add anything, and the catalog is no longer encrypted to it.".to_owned(),
    ])
}
