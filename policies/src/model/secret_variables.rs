//! The variables of the environment in which a policy's secrets are.

use std::collections::BTreeSet;

use super::policy::Policy;
use super::source::PolicySourceKind;
use crate::values::secret::SecretRef;

impl Policy {
    /// Every variable that holds a password or another secret of this policy, so that a program gets only those that
    /// its own `env` names.
    #[must_use]
    pub fn secret_variables(&self) -> BTreeSet<String> {
        let sources = self.sources.values().flat_map(|source| match &source.kind {
            PolicySourceKind::Command(command) => command.env.values().collect(),
            PolicySourceKind::Mysql(server) => server.password.iter().collect(),
            _ => Vec::new(),
        });
        let drills = self
            .drills
            .values()
            .filter_map(|drill| drill.server.as_ref());
        let drills = drills.filter_map(|server| server.password.as_ref());
        let created = self.repositories.values();
        let created = created.filter_map(|repository| repository.create.as_ref()?.escrow.as_ref());
        let variable = |secret: &SecretRef| match secret {
            SecretRef::Env(name) => Some(name.clone()),
            SecretRef::File(_) | SecretRef::Literal(_) => None,
        };
        sources
            .chain(drills)
            .chain(created)
            .filter_map(variable)
            .collect()
    }
}
