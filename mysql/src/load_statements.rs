//! Statements with which rows and stored objects are loaded as they were, by a restore and by the script in a snapshot.

use crate::manifest::{MysqlStoredObject, Sequence};
use crate::sql::{qualify_name, quote_name, quote_text};

/// Settings of a session that loads rows.
pub const LOAD_SESSION_SETTINGS: [&str; 5] = [
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'",
    "SET SESSION foreign_key_checks = 0",
    "SET SESSION unique_checks = 0",
];

/// Continues a sequence where it was.
#[must_use]
pub fn set_sequence_statement(database: &str, sequence: &Sequence) -> String {
    format!(
        "DO SETVAL({}, {}, 0, {})",
        qualify_name(database, &sequence.name),
        sequence.next,
        sequence.cycle
    )
}

/// Session settings before a stored object is created.
#[must_use]
pub fn session_settings_for(code: &MysqlStoredObject) -> Vec<String> {
    let mut set = vec![
        format!("SET character_set_client = {}", code.charset),
        format!("SET collation_connection = {}", code.collation),
    ];
    if let Some(mode) = &code.sql_mode {
        set.push(format!("SET sql_mode = {}", quote_text(mode)));
    }
    if let Some(zone) = &code.time_zone {
        set.push(format!("SET time_zone = {}", quote_text(zone)));
    }
    set
}

/// Sets a database's collation: a stored object keeps that of its creation.
#[must_use]
pub fn set_collation_statement(database: &str, collation: &str) -> String {
    format!(
        "ALTER DATABASE {} COLLATE {collation}",
        quote_name(database)
    )
}

/// Restores the session settings from before [`session_settings_for`].
pub const SESSION_SETTINGS_RESET: [&str; 3] = [
    "SET NAMES utf8mb4",
    "SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'",
    "SET time_zone = '+00:00'",
];
