//! Restoring: `directory` (with `problem_output`), `server` (MySQL and MariaDB, points in time), with the `args` of both;
//! `cat` for one file; and `drill`.

pub(crate) mod args;
pub(crate) mod cat;
pub(crate) mod directory;
pub(crate) mod drill;
pub(crate) mod problem_output;
pub(crate) mod server;
