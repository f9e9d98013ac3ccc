//! Whether a server is a replica, and whether replicated changes are in its own log.

use reprise_mysql::{DatabaseError, Flavour, Session};

/// The replication state of a server, as far as known.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplicationStatus {
    /// Whether it replicates from another server; `None` when the account lacks the privilege to see it.
    is_replica: Option<bool>,
    /// Whether it ever replicated, as far as the server knows.
    was_replica: bool,
    /// Whether replicated changes are in its log.
    is_logged: bool,
}

/// Which replicated changes are missing from a server's log; and the variable that controls it.
#[derive(Debug, Clone, Copy)]
pub(super) enum UnloggedChanges {
    None,
    /// Unknown whether it replicates.
    Unknown(&'static str),
    All(&'static str),
}

/// Queries a server.
pub(super) fn query_replication(
    session: &mut Session,
    flavour: Flavour,
) -> Result<ReplicationStatus, DatabaseError> {
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
    let variables = first_supported_query(session, variables)?;
    let row = variables.as_ref().and_then(|rows| rows.first());
    let text = |column| row.and_then(|row| row.text(column));
    Ok(ReplicationStatus {
        is_replica: first_supported_query(session, statements)?.map(|rows| !rows.is_empty()),
        was_replica: text(1).is_some_and(|position| !position.is_empty()),
        is_logged: text(0) != Some("0"),
    })
}

/// The result of the first statement that the server knows and the account may run.
fn first_supported_query(
    session: &mut Session,
    statements: &[&str],
) -> Result<Option<Vec<reprise_mysql::TextRow>>, DatabaseError> {
    for statement in statements {
        match session.query_rows(statement) {
            Ok(rows) => return Ok(Some(rows)),
            Err(DatabaseError::Server { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl ReplicationStatus {
    /// Whether it replicates, or may do so.
    pub(super) fn may_be_replica(self) -> bool {
        self.is_replica.unwrap_or(self.was_replica)
    }

    /// Which replicated changes are missing from the log.
    pub(super) fn unlogged_changes(self, flavour: Flavour) -> UnloggedChanges {
        let variable = match flavour {
            Flavour::Mariadb => "log_slave_updates",
            Flavour::Mysql => "log_replica_updates",
        };
        match self.is_replica {
            _ if self.is_logged => UnloggedChanges::None,
            Some(true) => UnloggedChanges::All(variable),
            Some(false) => UnloggedChanges::None,
            None if flavour == Flavour::Mariadb && !self.was_replica => UnloggedChanges::None,
            None => UnloggedChanges::Unknown(variable),
        }
    }
}
