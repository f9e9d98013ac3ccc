//! What is stored of a server.

use reprise_mysql::{Address, Filter};

/// A server to store.
#[derive(Debug, Clone)]
pub struct MysqlSource {
    /// Its address and account.
    pub address: Address,
    /// What is included.
    pub filter: Filter,
    /// How many connections read rows.
    pub connections: usize,
    /// Whether users and roles are stored.
    pub accounts: bool,
    /// Lock non-transactional tables while they are read, so that they are consistent with the others too. Writers to
    /// them wait.
    pub hold_nontransactional: bool,
}
