//! Loads a snapshot into a server.
//!
//! `selection` (what goes where), `preflight` (does it fit?), `renaming` (what still names the old database),
//! `target_settings`, `ddl` (parsed table definitions: keys and foreign keys come after the rows), `rows` (tables, rows,
//! keys), `objects` and `definer` (stored objects, accounts), `verify`.

pub(crate) mod ddl;
pub(crate) mod definer;
pub(crate) mod objects;
pub(crate) mod preflight;
pub(crate) mod renaming;
pub(crate) mod rows;
pub(crate) mod selection;
pub(crate) mod target_settings;
pub(crate) mod verify;
