//! Giving a fresh server the history of the one whose snapshot it holds.

use reprise_snapshotters::mysql::{DatabaseError, Session};

use super::ExecutedSet;
use crate::error::{Error, Result};

/// Lets a server believe that it has executed these transactions, so that what follows keeps its numbers. `reset`:
/// a history of its own is thrown away first.
///
/// # Errors
/// When the server has a history of its own, or what it says.
pub fn seed_gtid_history(session: &mut Session, history: &ExecutedSet, reset: bool) -> Result<()> {
    let failed =
        |error| Error::from_database("set the GTID history of the source on the target", error);
    let (own, set) = match history {
        ExecutedSet::Mysql(set) => (
            "SELECT @@global.gtid_executed",
            format!("SET GLOBAL gtid_purged = '{set}'"),
        ),
        ExecutedSet::Mariadb(position) => (
            "SELECT @@global.gtid_binlog_pos",
            format!("SET GLOBAL gtid_slave_pos = '{position}'"),
        ),
        ExecutedSet::Unnumbered => return Ok(()),
    };
    let executed = session.query_row(own).map_err(failed)?.string(0);
    if !executed.is_empty() {
        if !reset {
            return Err(Error::ServerHasOwnTransactions { executed });
        }
        reset_gtid_history(session).map_err(failed)?;
    }
    session.execute(set).map(drop).map_err(failed)
}

fn reset_gtid_history(session: &mut Session) -> Result<(), DatabaseError> {
    /// Not known by older servers, and by MariaDB.
    const SYNTAX: u16 = 1064;
    match session.execute("RESET BINARY LOGS AND GTIDS") {
        Err(error) if error.code() == Some(SYNTAX) => session.execute("RESET MASTER").map(drop),
        result => result.map(drop),
    }
}
