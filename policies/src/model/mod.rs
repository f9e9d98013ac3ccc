//! What a policy consists of, each part with its decoder: repositories, sources (files, commands, MySQL servers), hosts,
//! copies, drills, schedules and maintenance. `policy` puts them together.

pub(crate) mod check;
pub(crate) mod copy;
mod defined_names;
pub(crate) mod drill;
pub(crate) mod host;
pub(crate) mod mysql;
mod mysql_url;
pub(crate) mod policy;
pub(crate) mod repository;
mod retention;
pub(crate) mod schedules;
pub(crate) mod scratch_server;
mod secret_variables;
pub(crate) mod source;
