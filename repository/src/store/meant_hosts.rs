//! What policies and the command line say of hosts.

use std::collections::{BTreeMap, BTreeSet};

use crate::crypto::signing::SignerId;

/// Whom the names of sources mean, as policies and the command line say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeantHosts {
    /// The one host that the command line chooses: its name, or the beginning of its signer.
    pub chosen: Option<String>,
    /// The signers of hosts, by name, as policies declare them.
    pub declared: BTreeMap<String, BTreeSet<SignerId>>,
    /// The names of the hosts that policies mean by a source.
    pub by_source: BTreeMap<String, BTreeSet<String>>,
}
