//! A host in a policy: the public key by which its snapshots are known, and its roles.

use crate::model::repository::{SignerKey, decode_hex64};
use crate::schema::policy_keys::{HOST, HOST_ROLES};
use crate::yaml::decoder::{Decoder, Field};

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyHost {
    /// Its name in the policy.
    pub name: String,
    /// Its public signing key.
    pub signer: SignerKey,
    /// What it does.
    pub roles: Vec<HostRole>,
}

/// What a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostRole {
    /// Takes snapshots and archives logs.
    Writer,
    /// Forgets, prunes, and changes keys.
    Keeper,
    /// Runs drills.
    Prover,
    /// Watches.
    Watcher,
}

/// Decodes `hosts.NAME`.
pub(crate) fn decode(
    decoder: &mut Decoder<'_>,
    name: &str,
    field: Field<'_>,
) -> Option<PolicyHost> {
    let fields = decoder.object(field, &HOST)?;
    let roles = decoder.list(fields.get("roles"), |decoder, item| {
        decoder.word(item, ("role", "role"), HOST_ROLES, role_of_word)
    });
    let signer = decoder.value(&fields, "signer", decode_hex64)?;
    Some(PolicyHost {
        name: name.to_owned(),
        signer: SignerKey::from(signer),
        roles,
    })
}

fn role_of_word(word: &str) -> Option<HostRole> {
    Some(match word {
        "writer" => HostRole::Writer,
        "keeper" => HostRole::Keeper,
        "prover" => HostRole::Prover,
        "watcher" => HostRole::Watcher,
        _ => return None,
    })
}
