//! The settings and the database of an applier session: only what a statement needs and the session does not have yet is
//! set.

use reprise_mysql::DatabaseError;

use crate::error::Result;
use crate::mysql::replay::applier::session::ApplierSession;
use crate::mysql::replay::statement::{self, LoggedStatement};

impl ApplierSession {
    /// Sets those settings of a statement that the session does not have yet.
    pub(crate) fn apply_settings(
        &mut self,
        statement: &LoggedStatement,
    ) -> Result<(), DatabaseError> {
        let wrong = DatabaseError::UnexpectedResponse;
        let wanted =
            statement::session_assignments(statement, self.config.flavour, &self.config.collations)
                .map_err(wrong)?;
        self.use_database(statement)?;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (name, value) in &wanted {
            if self.settings.get(name) != Some(value) {
                parts.push(format!("@@session.{name}={value}").into_bytes());
            }
        }
        for variable in &statement.variables {
            let part =
                statement::variable_assignment(variable, &self.config.collations).map_err(wrong)?;
            if !part.is_ascii() {
                self.use_utf8mb4()?;
            }
            parts.push(part);
        }
        if !parts.is_empty() {
            self.execute_plain([&b"SET "[..], &parts.join(&b","[..])].concat())?;
        }
        self.settings.extend(wanted);
        Ok(())
    }

    fn use_database(&mut self, statement: &LoggedStatement) -> Result<(), DatabaseError> {
        let Some(database) = &statement.database else {
            return Ok(());
        };
        if self.database.as_ref() == Some(database) {
            return Ok(());
        }
        if !database.is_ascii() {
            self.use_utf8mb4()?;
        }
        let name = String::from_utf8_lossy(database).replace('`', "``");
        self.execute_plain(format!("USE `{name}`"))?;
        self.database = Some(database.clone());
        // It has changed with the database.
        self.settings.remove("collation_database");
        Ok(())
    }

    /// Sets the session to read names in the character set of the log.
    fn use_utf8mb4(&mut self) -> Result<(), DatabaseError> {
        self.settings.remove("character_set_client");
        self.execute_plain("SET @@session.character_set_client=utf8mb4")
    }

    /// Forgets the database where a statement may have changed it.
    pub(crate) fn invalidate_database(&mut self, statement: &LoggedStatement) {
        if statement.is_database_ddl || statement.is_ddl() {
            self.database = None;
            self.settings.remove("collation_database");
        }
    }
}
