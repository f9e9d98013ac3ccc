//! Sets the executed GTIDs of a fresh server to those of the snapshot's source.

use reprise_mysql::log::ExecutedSet;
use reprise_mysql::{DatabaseError, Session};

use crate::error::{Error, Result};

/// Makes a server regard these transactions as executed, so that later ones keep their GTIDs. `reset`: its own history
/// is discarded first.
///
/// # Errors
/// When the server has a history of its own, or the server's error.
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
