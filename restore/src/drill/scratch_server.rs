//! A dedicated drill server: acquired, queried, and left as empty as it was.

use std::sync::Arc;

use reprise_mysql::sql::{quote_list, quote_name, quote_text};
use reprise_mysql::{Address, DatabaseError, SYSTEM_DATABASES, Session, TextRow};
use reprise_repository::Progress;

use crate::error::{Error, Result};
use crate::mysql::replay::xa;
use crate::mysql::restore_state::{self, DRILL_DATABASE};

/// A server that this drill uses exclusively.
#[derive(Debug)]
pub(crate) struct DrillServer {
    address: Address,
    session: Session,
}

impl DrillServer {
    /// Acquires the server. Leftovers of a drill that died are removed.
    ///
    /// # Errors
    /// When it has databases of its own, another drill uses it, or the server reports an error.
    pub(crate) fn acquire(address: &Address, progress: &Arc<Progress>) -> Result<Self> {
        let failed =
            |error| Error::from_database(format!("reserve {address} for the drill"), error);
        let mut session = Session::open(address, progress).map_err(failed)?;
        session
            .execute("SET SESSION time_zone = '+00:00', SESSION sql_log_bin = 0")
            .map_err(failed)?;
        let locked = session.query_row(format!("SELECT GET_LOCK('{DRILL_DATABASE}', 0)"));
        if locked.map_err(failed)?.text(0) != Some("1") {
            return Err(Error::RestoreInProgress);
        }
        let mut scratch = Self {
            address: address.clone(),
            session,
        };
        if scratch.has_drill_database().map_err(failed)? {
            tracing::warn!(server = %address, "deleting the data that an earlier drill left");
            scratch.clean()?;
        }
        if let Some(found) = scratch.user_databases().map_err(failed)?.first() {
            return Err(Error::ScratchInUse {
                server: address.to_string(),
                found: quote_name(found),
            });
        }
        scratch.record_initial_state().map_err(failed)?;
        Ok(scratch)
    }

    /// The single value that a statement returns; `None` for NULL.
    ///
    /// # Errors
    /// The error of the server; also when it returns anything else.
    pub(crate) fn query_value(&mut self, sql: &str) -> Result<Option<String>, DatabaseError> {
        let rows = self.session.query_rows(sql)?;
        match rows.as_slice() {
            [row] if row.column_count() == 1 => Ok(row.text(0).map(str::to_owned)),
            rows => Err(DatabaseError::UnexpectedResponse(format!(
                "the query must return exactly one value (rows: {}, columns: {})",
                rows.len(),
                rows.first().map_or(0, TextRow::column_count)
            ))),
        }
    }

    /// Removes everything that the drill created.
    ///
    /// # Errors
    /// The error of the server. The next drill continues the removal.
    pub(crate) fn clean(&mut self) -> Result<()> {
        let address = self.address.clone();
        let failed = |error| {
            Error::from_database(
                format!("delete the data of the drill from {address}"),
                error,
            )
        };
        self.remove_everything().map_err(failed)
    }

    fn has_drill_database(&mut self) -> Result<bool, DatabaseError> {
        let rows = self
            .session
            .query_rows(format!("SHOW DATABASES LIKE '{DRILL_DATABASE}'"))?;
        Ok(!rows.is_empty())
    }

    /// Databases that belong neither to the server nor to this program.
    fn user_databases(&mut self) -> Result<Vec<String>, DatabaseError> {
        let own = [DRILL_DATABASE, restore_state::STATE_DATABASE];
        let known = quote_list(SYSTEM_DATABASES.into_iter().chain(own));
        let rows = self.session.query_rows(format!(
            "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN {known}"
        ))?;
        Ok(rows.iter().map(|row| row.string(0)).collect())
    }

    /// Accounts and roles, as statements name them.
    fn accounts(&mut self) -> Result<Vec<String>, DatabaseError> {
        let rows = self
            .session
            .query_rows("SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM mysql.user")?;
        Ok(rows.iter().map(|row| row.string(0)).collect())
    }

    /// Records what exists before the drill. Events of the restored databases must not run.
    fn record_initial_state(&mut self) -> Result<(), DatabaseError> {
        let accounts = self.accounts()?;
        let scheduler = self.session.query_row("SELECT @@GLOBAL.event_scheduler")?;
        let scheduler = scheduler.text(0) == Some("ON");
        self.session
            .execute(format!("CREATE DATABASE {DRILL_DATABASE}"))?;
        self.session.execute(format!(
            "CREATE TABLE {DRILL_DATABASE}.accounts (account VARCHAR(400) PRIMARY KEY) ENGINE = InnoDB"
        ))?;
        self.session.execute(format!(
            "CREATE TABLE {DRILL_DATABASE}.scheduler (held TINYINT PRIMARY KEY) ENGINE = InnoDB"
        ))?;
        if scheduler {
            self.session
                .execute(format!("INSERT INTO {DRILL_DATABASE}.scheduler VALUES (1)"))?;
            self.session.execute("SET GLOBAL event_scheduler = OFF")?;
        }
        let rows: Vec<String> = accounts
            .iter()
            .map(|account| format!("({})", quote_text(account)))
            .collect();
        // Last: without it no account is taken for the drill's.
        self.session
            .execute(format!(
                "INSERT INTO {DRILL_DATABASE}.accounts VALUES {}",
                rows.join(", ")
            ))
            .map(drop)
    }

    fn remove_everything(&mut self) -> Result<(), DatabaseError> {
        for xid in xa::prepared_transactions(&mut self.session)? {
            self.session.execute(format!("XA ROLLBACK {xid}"))?;
        }
        self.session.execute("SET SESSION foreign_key_checks = 0")?;
        for name in self
            .user_databases()?
            .into_iter()
            .chain([restore_state::STATE_DATABASE.to_owned()])
        {
            // A read-only database cannot be dropped either; servers that do not know this option have none.
            let name = quote_name(&name);
            drop(
                self.session
                    .execute(format!("ALTER DATABASE {name} READ ONLY = 0")),
            );
            self.session
                .execute(format!("DROP DATABASE IF EXISTS {name}"))?;
        }
        self.drop_accounts()?;
        self.drop_tablespaces()?;
        let held = self
            .session
            .query_rows(format!("SELECT held FROM {DRILL_DATABASE}.scheduler"));
        if held.is_ok_and(|rows| !rows.is_empty()) {
            self.session.execute("SET GLOBAL event_scheduler = ON")?;
        }
        self.session
            .execute(format!("DROP DATABASE {DRILL_DATABASE}"))
            .map(drop)
    }

    fn drop_accounts(&mut self) -> Result<(), DatabaseError> {
        let before = match self
            .session
            .query_rows(format!("SELECT account FROM {DRILL_DATABASE}.accounts"))
        {
            Ok(rows) if rows.is_empty() => return Ok(()),
            Ok(rows) => rows.iter().map(|row| row.string(0)).collect::<Vec<_>>(),
            // The drill died before it had recorded them, and so before it created any.
            Err(DatabaseError::Server { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        for account in self.accounts()? {
            if !before.contains(&account) {
                let dropped = self.session.execute(format!("DROP USER {account}"));
                // MariaDB has its roles in the same table, without a host.
                match (dropped, account.strip_suffix("@''")) {
                    (Err(DatabaseError::Server { .. }), Some(role)) => {
                        self.session.execute(format!("DROP ROLE {role}"))?;
                    }
                    (dropped, _) => drop(dropped?),
                }
            }
        }
        Ok(())
    }

    fn drop_tablespaces(&mut self) -> Result<(), DatabaseError> {
        let general = "SELECT NAME FROM information_schema.INNODB_TABLESPACES \
                       WHERE SPACE_TYPE = 'General' AND NAME <> 'mysql'";
        // MariaDB has no such tablespaces, and no such column.
        let rows = match self.session.query_rows(general) {
            Err(DatabaseError::Server { .. }) => return Ok(()),
            rows => rows?,
        };
        for row in rows {
            let name = quote_name(&row.string(0));
            self.session.execute(format!("DROP TABLESPACE {name}"))?;
        }
        Ok(())
    }
}
