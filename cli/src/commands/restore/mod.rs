//! Restoring: `directory`, `server` (MySQL and MariaDB, points in time), with the `args` of both; and `drill`.

pub(crate) mod args;
pub(crate) mod directory;
pub(crate) mod drill;
pub(crate) mod server;
