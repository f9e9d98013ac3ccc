//! `reprise key list` and `key show`: list keys.

use reprise_repository::{KeyRecord, Keyring, KnownSigner, Repository, SignerId, SignerRole};
use serde_json::{Value, json};

use crate::commands::keys::escrow::{describe_escrow, escrow_as_json};
use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;

/// The first word of the line that `key show` prints.
const HOST_LINE: &str = "reprise-host";

/// A host's public keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPublicKeys {
    pub(crate) signer: SignerId,
    pub(crate) recipient: String,
    /// The host's name, as it calls itself.
    pub(crate) name: Option<String>,
}

impl HostPublicKeys {
    /// Parses the output of `key show`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix(HOST_LINE))?;
        let mut words = line.split_whitespace();
        let signer = words.next()?.parse().ok()?;
        let recipient = words.next()?.to_owned();
        Some(Self {
            signer,
            recipient,
            name: words.next().map(str::to_owned),
        })
    }
}

pub(crate) fn show(context: &Context) -> Result<Exit, Failure> {
    let keys = context
        .environment
        .host
        .load_or_create_keys(&current_time().to_rfc3339())?;
    if context.global.json {
        output::print_json(&json!({
            "signer": keys.signer.id(), "recipient": keys.recipient, "name": context.environment.host_name,
        }));
    } else {
        let (signer, recipient) = (keys.signer.id(), keys.recipient);
        let name = &context.environment.host_name;
        output::print_line(&format!("{HOST_LINE} {signer} {recipient} {name}"));
    }
    Ok(Exit::Ok)
}

pub(crate) fn list(context: &Context) -> Result<Exit, Failure> {
    let repository = context.open_repository()?;
    let refused = repository.keyring().refused_records();
    if context.global.json {
        output::print_json(&keyring_as_json(&repository));
    } else {
        print_keyring(&repository);
    }
    for (id, reason) in refused {
        output::print_error(&format!("keys/{id} is ignored: {reason}"));
    }
    Ok(match refused.is_empty() {
        true => Exit::Ok,
        false => Exit::Damaged,
    })
}

fn keyring_as_json(repository: &Repository) -> Value {
    let ring = repository.keyring();
    let recipients = |keys: &[String], class: &str| -> Vec<Value> {
        let one = |key: &String| json!({"key": key, "class": class});
        keys.iter().map(one).collect()
    };
    let present = ring.recipients();
    let mut readers = recipients(&present.data, "data");
    readers.extend(recipients(&present.writers, "catalog"));
    let changes: Vec<Value> = ring
        .applied_records()
        .iter()
        .map(|applied| {
            json!({
                "record": applied.id,
                "signer": applied.signer,
                "at": applied.record.at,
                "by": applied.record.by,
                "reason": applied.record.reason,
                "add": applied.record.add,
                "revoke": {
                    "signers": revoked_signers_as_json(&applied.record),
                    "recipients": applied.record.revoke.recipients,
                },
            })
        })
        .collect();
    let refused: Vec<Value> = ring
        .refused_records()
        .iter()
        .map(|(id, reason)| json!({"record": id, "reason": reason}))
        .collect();
    json!({
        "repository": repository.config().repository,
        "recipients": readers,
        "signers": ring.trust().signers(),
        "changes": changes,
        "refused": refused,
        "escrow": escrow_as_json(ring),
    })
}

/// Without the objects that are still valid, which may be many.
fn revoked_signers_as_json(record: &KeyRecord) -> Vec<Value> {
    let one = |revoked: &reprise_repository::RevokedSigner| json!({"key": revoked.key, "roles": revoked.roles, "accepts": revoked.accepts.len()});
    record.revoke.signers.iter().map(one).collect()
}

/// Roles for people; a signer without any is revoked.
pub(crate) fn format_roles(signer: &KnownSigner) -> String {
    let names: Vec<&str> = signer.roles.iter().map(|role| role.name()).collect();
    match names.is_empty() {
        true => "revoked".to_owned(),
        false => names.join(" and "),
    }
}

/// The owner of a recipient of the catalog, and its name.
fn describe_holder(ring: &Keyring, recipient: &str) -> (&'static str, String) {
    match ring.owner_of_recipient(recipient) {
        None => (
            "no present holder: reads the catalog, `key remove --recipient` removes it",
            String::new(),
        ),
        Some(signer) if signer.roles.contains(&SignerRole::Writer) => {
            ("host: reads the catalog", signer.name)
        }
        Some(signer) => ("keeper: reads the catalog", signer.name),
    }
}

fn print_keyring(repository: &Repository) {
    let ring = repository.keyring();
    let present = ring.recipients();
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["KEY", "WHAT", "NAME"])];
    for key in &present.data {
        rows.push(row([
            key,
            "recovery recipient: its identity reads everything",
            "",
        ]));
    }
    for key in &present.writers {
        let (what, name) = describe_holder(ring, key);
        rows.push(row([key, what, &name]));
    }
    for signer in ring.trust().signers() {
        let what = format!("signer: {}", format_roles(&signer));
        rows.push(row([&signer.key.to_string(), &what, &signer.name]));
    }
    output::print_table(&rows);
    if ring.separate_keepers().is_empty() {
        output::print_notes(
            "Every keeper is a host: if they are lost, nobody can write to the repository, forget snapshots or change keys.\nAdd a keeper outside of them: `reprise key escrow`, or `reprise key add --keeper-key KEY --name safe`.",
        );
    }
    for line in describe_escrow(ring) {
        output::print_line(&line);
    }
    for applied in ring.applied_records() {
        let record = &applied.record;
        output::print_line(&format!(
            "changed {} by {}, signed by {}: {}{}",
            output::format_time(&record.at),
            record.by,
            repository.signer_name(&applied.signer),
            describe_changes(record),
            match record.reason.as_str() {
                "" => String::new(),
                reason => format!(" ({reason})"),
            },
        ));
    }
}

/// Describes what a record changes.
fn describe_changes(record: &KeyRecord) -> String {
    let (added, gone) = (&record.add, &record.revoke);
    let mut words = Vec::new();
    let signers = added.signers.iter();
    words.extend(signers.map(|signer| format!("+{} as {}", signer.name, format_roles(signer))));
    words.extend(added.recipients.data.iter().map(|key| format!("+{key}")));
    words.extend(added.escrow.iter().map(|_| "a new escrow key".to_owned()));
    let continued = added.continues.iter();
    words.extend(continued.map(|one| format!("{} continues {}", one.signer, one.replaces)));
    let role_names = |roles: &[SignerRole]| {
        let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        names.join(" and ")
    };
    let revoked = gone.signers.iter();
    words.extend(revoked.map(|signer| format!("-{} as {}", signer.key, role_names(&signer.roles))));
    words.extend(gone.recipients.data.iter().map(|key| format!("-{key}")));
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_prints_is_understood() {
        let signer = "0".repeat(64);
        let text = format!("# a comment\nreprise-host {signer} age1abc web2\n");
        let host = HostPublicKeys::parse(&text).unwrap();
        assert_eq!(host.recipient, "age1abc");
        assert_eq!(host.name.as_deref(), Some("web2"));
        for bad in ["", "reprise-host", "reprise-host 00 age1abc", "age1abc"] {
            assert_eq!(HostPublicKeys::parse(bad), None, "{bad}");
        }
    }
}
