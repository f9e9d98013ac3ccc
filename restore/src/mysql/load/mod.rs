//! Loads a snapshot into a server.
//!
//! `opened_snapshot` is what is restored, `selection` says what goes where, `preflight` whether it fits, `renaming` what
//! still names the old database. `restore_run` does it: `target_settings` for the time of a restore, `target_session`,
//! `ddl` (parsed table definitions: keys and foreign keys come after the rows), `rows` (tables, rows, keys), `objects`
//! and `definer` (stored objects, accounts), `verify`.

pub(crate) mod ddl;
mod definer;
mod objects;
pub(crate) mod opened_snapshot;
pub(crate) mod preflight;
mod renaming;
pub(crate) mod restore_run;
mod rows;
pub(crate) mod selection;
pub(crate) mod target_session;
pub(crate) mod target_settings;
pub(crate) mod verify;
