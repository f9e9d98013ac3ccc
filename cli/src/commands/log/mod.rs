//! Logs of database servers: `archive` archives one, `list` tells its transactions.

pub(crate) mod archive;
pub(crate) mod list;
