//! The keys of a repository: those of `reprise.json`, changed by signed records under `keys/`.
//!
//! A record adds or removes keys; nothing is ever rewritten. Records are applied in the order in which the
//! storage received them. One whose signer is not a keeper (yet) waits for those that may make it one; what is
//! still waiting at the end is ignored.

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::crypto::encryption::{Recipients, has_recipient};
use crate::crypto::signing::{KnownSigner, SignerId, SignerRole};
use crate::crypto::trust::TrustStore;
use crate::error::Result;
use crate::format::config::{Config, RecipientTexts};
use crate::id::ObjectId;

/// A change of keys, as stored in a record under `keys/`. Everybody can read it: it has only public keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The keys that are added.
    #[serde(default)]
    pub add: AddedKeys,
    /// The keys that are removed.
    #[serde(default)]
    pub revoke: RevokedKeys,
    /// When it was made, by the clock of its author.
    pub at: DateTime<Utc>,
    /// Who made it, as user@host.
    pub by: String,
    /// The reason.
    #[serde(default)]
    pub reason: String,
    /// The program that made it, with version.
    pub program: String,
}

impl KeyRecord {
    /// How many of the stored objects stay valid although their signer is revoked; `None` if none is.
    #[must_use]
    pub fn accepted_count(&self) -> Option<usize> {
        let signer = self.revoke.signers.first()?;
        Some(signer.accepts.len())
    }
}

/// Keys that a record adds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddedKeys {
    /// Signers with their roles.
    pub signers: Vec<KnownSigner>,
    /// Recipients.
    pub recipients: RecipientTexts,
    /// Objects under `keys/` that hold the repository's secrets, encrypted to further recipients.
    pub secrets: Vec<ObjectId>,
    /// Objects under `keys/` that let further hosts read the older catalog.
    pub catalogs: Vec<ObjectId>,
    /// Signers that continue the series of others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub continues: Vec<SeriesContinuation>,
    /// A keeper's key that is kept in the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escrow: Option<EscrowKey>,
}

/// A keeper's key that is kept in the repository, encrypted to recovery recipients and a passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowKey {
    /// The object under `escrow/` that holds it.
    pub object: ObjectId,
    /// The keeper.
    pub signer: SignerId,
    /// The recovery recipients of which one is needed.
    pub recipients: Vec<String>,
}

/// A signer that continues the series of another: a host with new keys, or one that took the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesContinuation {
    /// The signer that continues it.
    pub signer: SignerId,
    /// The signer whose snapshots were there before.
    pub replaces: SignerId,
}

/// Keys that a record removes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RevokedKeys {
    /// Signers, with what stays valid of what they signed.
    pub signers: Vec<RevokedSigner>,
    /// Recipients that nothing new is encrypted to.
    pub recipients: RecipientTexts,
}

/// A signer whose roles are revoked for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedSigner {
    /// Its public key.
    pub key: SignerId,
    /// The revoked roles.
    pub roles: Vec<SignerRole>,
    /// Keys of the objects that existed, and stay valid although it signed them.
    pub accepts: Vec<String>,
}

/// A record under `keys/` with a valid signature; whether its signer has the role is checked later.
#[derive(Debug, Clone)]
pub(crate) struct StoredKeyRecord {
    pub(crate) id: ObjectId,
    pub(crate) signer: SignerId,
    /// When the storage received it.
    pub(crate) received: Option<DateTime<Utc>>,
    pub(crate) record: KeyRecord,
}

/// A valid change of keys.
#[derive(Debug, Clone, Serialize)]
pub struct AppliedKeyRecord {
    /// The name of the record under `keys/`.
    pub id: ObjectId,
    /// The keeper who signed it.
    pub signer: SignerId,
    /// The change.
    pub record: KeyRecord,
}

/// The valid keys.
#[derive(Debug, Clone)]
pub struct Keyring {
    initial_recipients: RecipientTexts,
    initial_signers: Vec<KnownSigner>,
    trust: TrustStore,
    recipients: RecipientTexts,
    secret_objects: Vec<ObjectId>,
    catalog_objects: Vec<ObjectId>,
    applied: Vec<AppliedKeyRecord>,
    refused: Vec<(ObjectId, String)>,
}

impl Keyring {
    /// The keys that result from `reprise.json` and some records.
    pub(crate) fn new(config: &Config, mut records: Vec<StoredKeyRecord>) -> Self {
        let mut ring = Self {
            initial_recipients: config.recipients.clone(),
            initial_signers: config.signers.clone(),
            trust: config.initial_trust(),
            recipients: config.recipients.clone(),
            secret_objects: vec![config.keys],
            catalog_objects: Vec::new(),
            applied: Vec::new(),
            refused: Vec::new(),
        };
        records.sort_by_key(|record| (record.received, record.id));
        loop {
            let before = records.len();
            records = ring.apply_valid_records(records);
            if records.len() == before {
                break;
            }
        }
        let waiting = records.iter().map(|record| {
            let refusal = ring.refusal_reason(record).unwrap_or_default();
            (record.id, refusal)
        });
        ring.refused = waiting.collect();
        ring
    }

    /// Applies the records that are valid now; returns the others.
    fn apply_valid_records(&mut self, records: Vec<StoredKeyRecord>) -> Vec<StoredKeyRecord> {
        let mut waiting = Vec::new();
        for record in records {
            match self.refusal_reason(&record) {
                Some(_) => waiting.push(record),
                None => self.apply_record(record),
            }
        }
        waiting
    }

    /// Why a record is not valid in the present state.
    fn refusal_reason(&self, stored: &StoredKeyRecord) -> Option<String> {
        let object = format!("keys/{}", stored.id);
        if let Err(reason) = self
            .trust
            .check_signer(&stored.signer, &[SignerRole::Keeper], &object)
        {
            return Some(reason);
        }
        let mut after = self.clone();
        after.apply_record(stored.clone());
        after
            .missing_requirement()
            .map(|flaw| format!("it would leave the repository with {flaw}"))
    }

    /// What a repository with these keys would lack.
    fn missing_requirement(&self) -> Option<&'static str> {
        if self.recipients.data.is_empty() {
            return Some("no recovery recipient: nobody could decrypt new snapshots");
        }
        let signers = self.trust.signers();
        let keeps = signers
            .iter()
            .any(|s| s.roles.contains(&SignerRole::Keeper));
        (!keeps).then_some("no keeper: nobody could change keys or forget snapshots")
    }

    fn apply_record(&mut self, stored: StoredKeyRecord) {
        let KeyRecord { add, revoke, .. } = &stored.record;
        for signer in &add.signers {
            self.trust.add_signer(signer);
        }
        for continued in &add.continues {
            self.trust
                .add_continuation(continued.signer, continued.replaces);
        }
        for revoked in &revoke.signers {
            self.trust
                .revoke_roles(revoked.key, &revoked.roles, &revoked.accepts);
        }
        self.secret_objects.extend(&add.secrets);
        self.catalog_objects.extend(&add.catalogs);
        self.applied.push(AppliedKeyRecord {
            id: stored.id,
            signer: stored.signer,
            record: stored.record,
        });
        self.recipients = RecipientTexts {
            data: self.current_recipients(|texts| &texts.data),
            writers: self.current_recipients(|texts| &texts.writers),
        };
    }

    /// Recipients of one class: all that were ever added, without those revoked. A revoked one never comes back.
    fn current_recipients(&self, sort: impl Fn(&RecipientTexts) -> &Vec<String>) -> Vec<String> {
        let records = || self.applied.iter().map(|applied| &applied.record);
        let mut present: Vec<String> = Vec::new();
        let added = records().flat_map(|record| sort(&record.add.recipients));
        for recipient in sort(&self.initial_recipients).iter().chain(added) {
            let revoked =
                |record: &KeyRecord| has_recipient(sort(&record.revoke.recipients), recipient);
            if !has_recipient(&present, recipient) && !records().any(revoked) {
                present.push(recipient.clone());
            }
        }
        present
    }

    /// Recovery recipients that were removed: their identities read what was stored before, until it is re-encrypted.
    #[must_use]
    pub fn removed_recipients(&self) -> Vec<String> {
        let added = self.applied.iter();
        let added = added.flat_map(|applied| &applied.record.add.recipients.data);
        let mut removed: Vec<String> = Vec::new();
        for recipient in self.initial_recipients.data.iter().chain(added) {
            let here = has_recipient(&self.recipients.data, recipient);
            if !here && !has_recipient(&removed, recipient) {
                removed.push(recipient.clone());
            }
        }
        removed
    }

    /// Whether a recipient was removed.
    #[must_use]
    pub fn is_revoked_recipient(&self, recipient: &str) -> bool {
        self.applied.iter().any(|applied| {
            let revoked = &applied.record.revoke.recipients;
            has_recipient(revoked.data.iter().chain(&revoked.writers), recipient)
        })
    }

    /// The present keepers that are no hosts: with the key of one the repository stays in use when all hosts are lost.
    #[must_use]
    pub fn separate_keepers(&self) -> Vec<KnownSigner> {
        let is_separate = |signer: &KnownSigner| {
            signer.roles.contains(&SignerRole::Keeper)
                && !signer.roles.contains(&SignerRole::Writer)
        };
        let signers = self.trust.signers().into_iter();
        signers.filter(is_separate).collect()
    }

    /// The trust store.
    #[must_use]
    pub fn trust(&self) -> &TrustStore {
        &self.trust
    }

    /// The recipients of new objects.
    #[must_use]
    pub fn recipients(&self) -> &RecipientTexts {
        &self.recipients
    }

    /// Recipients of the catalog with the signers that they were added with: those of hosts come first, then those of
    /// keepers that are not hosts.
    #[must_use]
    pub fn recipient_owners(&self) -> Vec<(KnownSigner, String)> {
        let first = (&self.initial_signers, &self.initial_recipients.writers);
        let added = self.applied.iter().map(|applied| {
            let add = &applied.record.add;
            (&add.signers, &add.recipients.writers)
        });
        let mut holders = Vec::new();
        for (signers, recipients) in std::iter::once(first).chain(added) {
            let (hosts, others): (Vec<_>, Vec<_>) = signers
                .iter()
                .cloned()
                .partition(|signer| signer.roles.contains(&SignerRole::Writer));
            let signers = hosts.into_iter().chain(others);
            holders.extend(signers.zip(recipients.iter().cloned()));
        }
        holders
    }

    /// The signer with a role that owns a recipient of the catalog.
    #[must_use]
    pub fn owner_of_recipient(&self, recipient: &str) -> Option<KnownSigner> {
        let holders = self.recipient_owners().into_iter();
        let mut held = holders.filter(|(_, theirs)| has_recipient([theirs], recipient));
        held.find_map(|(holder, _)| {
            let mut present = self.trust.signers().into_iter();
            present.find(|signer| signer.key == holder.key && !signer.roles.is_empty())
        })
    }

    /// Recipients of the catalog that this orphans, because their signers lose their last roles.
    pub(crate) fn orphaned_recipients(
        &self,
        revoked: &[(SignerId, Vec<SignerRole>)],
    ) -> Vec<String> {
        let mut after = self.clone();
        for (key, roles) in revoked {
            after.trust.revoke_roles(*key, roles, &[]);
        }
        let of_revoked = |key: &SignerId| revoked.iter().any(|(theirs, _)| theirs == key);
        let mut left: Vec<String> = Vec::new();
        for (holder, recipient) in self.recipient_owners() {
            if of_revoked(&holder.key)
                && has_recipient(&self.recipients.writers, &recipient)
                && after.owner_of_recipient(&recipient).is_none()
                && !has_recipient(&left, &recipient)
            {
                left.push(recipient);
            }
        }
        left
    }

    /// The valid changes, in order.
    #[must_use]
    pub fn applied_records(&self) -> &[AppliedKeyRecord] {
        &self.applied
    }

    /// Ignored records, with the reasons.
    #[must_use]
    pub fn refused_records(&self) -> &[(ObjectId, String)] {
        &self.refused
    }

    pub(crate) fn secret_objects(&self) -> &[ObjectId] {
        &self.secret_objects
    }

    pub(crate) fn catalog_objects(&self) -> &[ObjectId] {
        &self.catalog_objects
    }

    /// Recipients of file contents and names.
    pub(crate) fn data_recipients(&self) -> Result<Recipients> {
        Recipients::parse(&self.recipients.data)
    }

    /// Recipients of the catalog.
    pub(crate) fn catalog_recipients(&self) -> Result<Recipients> {
        let RecipientTexts { data, writers } = &self.recipients;
        let all: Vec<_> = data.iter().chain(writers).cloned().collect();
        Recipients::parse(&all)
    }

    /// The keeper's key that is kept in the repository, if it is still that of a keeper.
    #[must_use]
    pub fn escrow(&self) -> Option<&EscrowKey> {
        let records = self.applied.iter().rev();
        let mut kept = records.filter_map(|applied| applied.record.add.escrow.as_ref());
        kept.find(|escrow| self.trust.has_role(&escrow.signer, SignerRole::Keeper))
    }

    /// Recovery recipients whose identities do not open the escrow key: they were added later.
    #[must_use]
    pub fn recipients_without_escrow(&self) -> Vec<String> {
        let Some(escrow) = self.escrow() else {
            return Vec::new();
        };
        let present = self.recipients.data.iter();
        present
            .filter(|recipient| !has_recipient(&escrow.recipients, recipient))
            .cloned()
            .collect()
    }

    /// All that contents may have been encrypted to, the present recipients first.
    pub(crate) fn data_readers(&self) -> Vec<String> {
        let present = self.recipients.data.iter().cloned();
        present.chain(self.removed_recipients()).collect()
    }

    /// All that the catalog may have been encrypted to, without removed hosts.
    pub(crate) fn catalog_readers(&self) -> Vec<String> {
        let writers = self.recipients.writers.iter().cloned();
        self.data_readers().into_iter().chain(writers).collect()
    }

    /// Whether a recovery recipient was one from the beginning, and still is.
    pub(crate) fn is_permanent_recipient(&self, recipient: &str) -> bool {
        has_recipient(&self.initial_recipients.data, recipient)
            && has_recipient(&self.recipients.data, recipient)
    }

    /// The keys after one more record, or the reason why it would not be valid.
    pub(crate) fn with_record(&self, record: StoredKeyRecord) -> Result<Self, String> {
        if let Some(reason) = self.refusal_reason(&record) {
            return Err(reason);
        }
        let mut after = self.clone();
        after.apply_record(record);
        Ok(after)
    }
}
