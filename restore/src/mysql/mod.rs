//! Restores to MySQL and MariaDB servers.

pub(crate) mod ddl;
pub(crate) mod definer;
