//! The trust store: the signers of a repository, what each may do, and which objects of revoked ones stay valid.

use std::collections::{BTreeMap, HashSet};

use crate::crypto::signing::{KnownSigner, SignerId, SignerRole};
use crate::id::{ObjectId, RepositoryId};

/// The signers of a repository and what each may do.
#[derive(Debug, Clone)]
pub struct TrustStore {
    repository: RepositoryId,
    signers: Vec<KnownSigner>,
    revocations: Vec<RoleRevocation>,
    /// Whose series a signer continues.
    continued: BTreeMap<SignerId, SignerId>,
}

#[derive(Debug, Clone)]
struct RoleRevocation {
    key: SignerId,
    roles: Vec<SignerRole>,
    accepted_objects: HashSet<String>,
}

impl TrustStore {
    pub(crate) fn new(repository: RepositoryId, signers: Vec<KnownSigner>) -> Self {
        Self {
            repository,
            signers,
            revocations: Vec::new(),
            continued: BTreeMap::new(),
        }
    }

    /// The repository that signatures are bound to.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.repository.as_str()
    }

    /// Whether a signer has a role now, so that it may sign new objects.
    #[must_use]
    pub fn has_role(&self, signer: &SignerId, role: SignerRole) -> bool {
        self.has_had_role(signer, role) && !self.is_revoked(signer, role)
    }

    /// Whether a signer has, or once had, a role.
    fn has_had_role(&self, signer: &SignerId, role: SignerRole) -> bool {
        let mut signers = self.signers.iter();
        signers.any(|known| known.key == *signer && known.roles.contains(&role))
    }

    /// The roles that a signer has lost.
    #[must_use]
    pub fn revoked_roles(&self, signer: &SignerId) -> Vec<SignerRole> {
        let roles = [SignerRole::Writer, SignerRole::Keeper].into_iter();
        roles
            .filter(|role| self.has_had_role(signer, *role) && self.is_revoked(signer, *role))
            .collect()
    }

    /// Whether a role of a signer was revoked. A revoked role never comes back.
    #[must_use]
    pub fn is_revoked(&self, signer: &SignerId, role: SignerRole) -> bool {
        self.revocations_of(signer, role).next().is_some()
    }

    fn revocations_of(
        &self,
        signer: &SignerId,
        role: SignerRole,
    ) -> impl Iterator<Item = &RoleRevocation> {
        let signer = *signer;
        self.revocations
            .iter()
            .filter(move |revoked| revoked.key == signer && revoked.roles.contains(&role))
    }

    /// Whether an object by a signer is valid: the signer has one of the roles, or had it and the object
    /// existed when the role was revoked, under this very key: an ID alone does not tell the kind of object.
    ///
    /// # Errors
    /// The reason why it is not valid, as a sentence.
    pub(crate) fn check_signer(
        &self,
        signer: &SignerId,
        roles: &[SignerRole],
        object: &str,
    ) -> Result<(), String> {
        let held: Vec<SignerRole> = roles
            .iter()
            .copied()
            .filter(|role| self.has_had_role(signer, *role))
            .collect();
        let counts = |role: &SignerRole| {
            self.revocations_of(signer, *role)
                .all(|revoked| revoked.accepted_objects.contains(object))
        };
        if held.iter().any(counts) {
            return Ok(());
        }
        Err(if !held.is_empty() {
            format!(
                "its signer {signer} ({}) was revoked, and the object is not one of those accepted at that time",
                self.signer_name(signer)
            )
        } else if self.signers.iter().any(|known| known.key == *signer) {
            format!(
                "its signer {signer} ({}) may not sign this: it is not a {}",
                self.signer_name(signer),
                roles.first().map_or("signer", |role| role.name())
            )
        } else {
            format!("its signer {signer} is not known to this repository")
        })
    }

    /// The signer whose series a signer continues, directly or through others; itself if it continues none.
    #[must_use]
    pub fn series_signer(&self, signer: &SignerId) -> SignerId {
        let mut first = *signer;
        while let Some(before) = self.continued.get(&first) {
            first = *before;
        }
        first
    }

    /// Whether no more than one signer was ever a writer.
    #[must_use]
    pub fn has_one_writer(&self) -> bool {
        let writers = self.signers.iter();
        let mut writers = writers.filter(|known| known.roles.contains(&SignerRole::Writer));
        let first = writers.next().map(|known| known.key);
        writers.all(|known| Some(known.key) == first)
    }

    /// Whether a signer was ever known.
    #[must_use]
    pub fn is_known(&self, signer: &SignerId) -> bool {
        self.signers.iter().any(|known| known.key == *signer)
    }

    /// A signer's display name, or its key.
    #[must_use]
    pub fn signer_name(&self, signer: &SignerId) -> String {
        let known = self.signers.iter().find(|known| known.key == *signer);
        known.map_or_else(|| signer.to_string(), |known| known.name.clone())
    }

    /// Every signer that was ever known, with its current roles: none, if all were revoked.
    #[must_use]
    pub fn signers(&self) -> Vec<KnownSigner> {
        let mut signers: Vec<KnownSigner> = Vec::new();
        for known in &self.signers {
            let allowed = |role: &&SignerRole| self.has_role(&known.key, **role);
            let roles: Vec<SignerRole> = known.roles.iter().filter(allowed).copied().collect();
            match signers.iter_mut().find(|other| other.key == known.key) {
                Some(other) => other.roles.extend(roles),
                None => signers.push(KnownSigner {
                    roles,
                    ..known.clone()
                }),
            }
        }
        signers
    }

    /// The part of the state that decides which stored objects are valid. Caches of objects hold for one such state.
    pub(crate) fn revocations_hash(&self) -> Option<ObjectId> {
        let mut lines: Vec<String> = self
            .revocations
            .iter()
            .flat_map(|revoked| {
                let mut keys: Vec<_> = revoked.accepted_objects.iter().cloned().collect();
                keys.sort_unstable();
                keys.push(format!("{} {:?}", revoked.key, revoked.roles));
                keys
            })
            .collect();
        lines.sort_unstable();
        (!lines.is_empty()).then(|| ObjectId::from_content(lines.join("\n").as_bytes()))
    }

    pub(crate) fn add_signer(&mut self, signer: &KnownSigner) {
        self.signers.push(signer.clone());
    }

    /// A signer continues one series for good: a second record about it, or one that leads in a circle, is ignored.
    pub(crate) fn add_continuation(&mut self, signer: SignerId, replaced: SignerId) {
        if self.series_signer(&replaced) != self.series_signer(&signer) {
            self.continued.entry(signer).or_insert(replaced);
        }
    }

    pub(crate) fn revoke_roles(&mut self, key: SignerId, roles: &[SignerRole], accepts: &[String]) {
        self.revocations.push(RoleRevocation {
            key,
            roles: roles.to_vec(),
            accepted_objects: accepts.iter().cloned().collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(n: u8) -> SignerId {
        hex::encode([n; 32]).parse().unwrap()
    }

    fn trust() -> TrustStore {
        let known = |n, roles: &[SignerRole]| KnownSigner {
            key: signer(n),
            roles: roles.to_vec(),
            name: format!("s{n}"),
        };
        let id = RepositoryId::try_from("0".repeat(32)).unwrap();
        TrustStore::new(
            id,
            vec![
                known(1, &[SignerRole::Writer, SignerRole::Keeper]),
                known(2, &[SignerRole::Writer]),
            ],
        )
    }

    #[test]
    fn a_revoked_signer_counts_for_what_was_there_and_nothing_else() {
        let mut trust = trust();
        let (there, later) = (
            ObjectId::from_content(b"there"),
            ObjectId::from_content(b"later"),
        );
        let keys = [format!("packs/aa/{there}"), format!("logs/x/01.{there}")];
        trust.revoke_roles(signer(2), &[SignerRole::Writer], &keys);
        assert!(!trust.has_role(&signer(2), SignerRole::Writer));
        let writer = [SignerRole::Writer];
        for key in &keys {
            assert_eq!(trust.check_signer(&signer(2), &writer, key), Ok(()));
        }
        // The same ID in another directory is another object.
        for object in [
            format!("index/{later}"),
            format!("index/{there}"),
            "reprise.json".to_owned(),
        ] {
            let reason = trust
                .check_signer(&signer(2), &writer, &object)
                .unwrap_err();
            assert!(reason.contains("was revoked"), "{reason}");
        }
        // Two revocations accept only what both accept; and nothing brings a role back.
        trust.revoke_roles(signer(2), &[SignerRole::Writer], &[]);
        trust.add_signer(&KnownSigner {
            key: signer(2),
            roles: vec![SignerRole::Writer],
            name: "again".to_owned(),
        });
        assert!(trust.check_signer(&signer(2), &writer, &keys[0]).is_err());
        assert!(!trust.has_role(&signer(2), SignerRole::Writer));
    }

    #[test]
    fn a_series_is_continued_through_many_signers_and_never_in_a_circle() {
        let mut trust = trust();
        assert_eq!(trust.series_signer(&signer(2)), signer(2));
        trust.add_continuation(signer(2), signer(1));
        trust.add_continuation(signer(3), signer(2));
        for n in 1..=3 {
            assert_eq!(trust.series_signer(&signer(n)), signer(1), "{n}");
        }
        trust.add_continuation(signer(1), signer(3));
        trust.add_continuation(signer(4), signer(4));
        // What it continues cannot be changed: its snapshots would pass to another series.
        trust.add_continuation(signer(3), signer(5));
        assert_eq!(trust.series_signer(&signer(3)), signer(1));
        assert_eq!(trust.series_signer(&signer(4)), signer(4));
    }

    #[test]
    fn one_role_can_be_revoked_and_the_other_kept() {
        let mut trust = trust();
        trust.revoke_roles(signer(1), &[SignerRole::Keeper], &[]);
        assert!(trust.has_role(&signer(1), SignerRole::Writer));
        assert!(!trust.has_role(&signer(1), SignerRole::Keeper));
        assert_eq!(trust.signers()[0].roles, [SignerRole::Writer]);
        let object = format!("keys/{}", ObjectId::from_content(b"x"));
        let refused = trust
            .check_signer(&signer(2), &[SignerRole::Keeper], &object)
            .unwrap_err();
        assert!(refused.contains("it is not a keeper"), "{refused}");
    }
}
