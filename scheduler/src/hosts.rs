//! What policies say of hosts, as repositories need to know it.

use reprise_policies::PolicySet;
use reprise_repository::{MeantHosts, SignerId};

/// The hosts of policies, and by which sources they are meant.
#[must_use]
pub fn meant_hosts(policies: &PolicySet) -> MeantHosts {
    let mut meant = MeantHosts::default();
    for policy in policies.policies() {
        for host in policy.hosts.values() {
            // Both are 32 bytes in hexadecimal digits.
            if let Ok(signer) = host.signer.to_string().parse::<SignerId>() {
                let declared = meant.declared.entry(host.name.clone()).or_default();
                declared.insert(signer);
            }
        }
        for source in policy.sources.values().filter(|one| !one.hosts.is_empty()) {
            let hosts = meant.by_source.entry(source.name.clone()).or_default();
            hosts.extend(source.hosts.iter().cloned());
        }
    }
    meant
}
