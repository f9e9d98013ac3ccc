//! Whether a server is a replica, and whether what it replicates is in its own log.

use crate::mysql::error::DatabaseError;
use crate::mysql::manifest::Flavour;
use crate::mysql::session::Session;

/// What is known of a server's replication.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replication {
    /// Whether it replicates from another server; `None` when the account may not know.
    is_replica: Option<bool>,
    /// Whether it has ever replicated, as far as it remembers.
    was_replica: bool,
    /// Whether what it replicates is in its log.
    is_logged: bool,
}

/// How much of what a server replicates is not in its log; and the variable that says so.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unlogged {
    Nothing,
    /// Nobody knows whether it replicates.
    Perhaps(&'static str),
    Everything(&'static str),
}

/// Asks a server.
pub(super) fn asked(session: &mut Session, flavour: Flavour) -> Result<Replication, DatabaseError> {
    let (statements, variables) = match flavour {
        Flavour::Mariadb => (
            ["SHOW ALL SLAVES STATUS"].as_slice(),
            ["SELECT @@GLOBAL.log_slave_updates, @@GLOBAL.gtid_slave_pos"].as_slice(),
        ),
        Flavour::Mysql => (
            ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"].as_slice(),
            [
                "SELECT @@GLOBAL.log_replica_updates, ''",
                "SELECT @@GLOBAL.log_slave_updates, ''",
            ]
            .as_slice(),
        ),
    };
    let variables = first_answer(session, variables)?;
    let row = variables.as_ref().and_then(|rows| rows.first());
    let text = |column| row.and_then(|row| row.text(column));
    Ok(Replication {
        is_replica: first_answer(session, statements)?.map(|rows| !rows.is_empty()),
        was_replica: text(1).is_some_and(|position| !position.is_empty()),
        is_logged: text(0) != Some("0"),
    })
}

/// The answer to the first statement that the server knows and the account may use.
fn first_answer(
    session: &mut Session,
    statements: &[&str],
) -> Result<Option<Vec<crate::mysql::session::Cells>>, DatabaseError> {
    for statement in statements {
        match session.rows(statement) {
            Ok(rows) => return Ok(Some(rows)),
            Err(DatabaseError::Server { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Replication {
    /// Whether it replicates, or nobody knows that it does not.
    pub(super) fn may_be(self) -> bool {
        self.is_replica.unwrap_or(self.was_replica)
    }

    /// How much of what is replicated is not in the log.
    pub(super) fn unlogged(self, flavour: Flavour) -> Unlogged {
        let variable = match flavour {
            Flavour::Mariadb => "log_slave_updates",
            Flavour::Mysql => "log_replica_updates",
        };
        match self.is_replica {
            _ if self.is_logged => Unlogged::Nothing,
            Some(true) => Unlogged::Everything(variable),
            Some(false) => Unlogged::Nothing,
            None if flavour == Flavour::Mariadb && !self.was_replica => Unlogged::Nothing,
            None => Unlogged::Perhaps(variable),
        }
    }
}
