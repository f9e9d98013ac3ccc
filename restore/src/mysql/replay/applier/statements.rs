//! Applies statements of a transaction.

use reprise_mysql::{DatabaseError, Flavour};

use crate::error::Result;
use crate::mysql::replay::applier::session::ApplierSession;
use crate::mysql::replay::statement::LoggedStatement;
use crate::mysql::replay::{checkpoint, pending_change};

impl ApplierSession {
    /// Applies a statement of the open transaction.
    pub(crate) fn apply_statement(&mut self, statement: &LoggedStatement) -> Result<()> {
        let left_out = self.config.skip_account_changes && statement.is_about_accounts();
        if self.already_applied || left_out || statement.is_repeated_later() {
            return Ok(());
        }
        if let Some(other) = &mut self.xa_session {
            return other.apply_statement(statement);
        }
        let shown = format_statement(&statement.text);
        self.send_prefix()?;
        let set = self.apply_settings(statement);
        set.map_err(|error| {
            self.step_error(&format!("setting the session variables for {shown}"), error)
        })?;
        let result = self.execute_statement(statement);
        self.invalidate_database(statement);
        match (result, statement.error) {
            (Ok(()), 0) => {}
            (Err(error), expected) if expected != 0 && error.code() == Some(expected) => {}
            (Err(error), _)
                if self.was_interrupted()
                    && pending_change::is_already_in_effect(statement, &error) =>
            {
                // Where a table and its rows are created by one statement, the rows exist too.
                self.already_applied = self.config.flavour == Flavour::Mysql;
            }
            (Err(error), _) if self.accounts_may_be_ahead(statement, &error) => {}
            (Err(error), _) => {
                self.clear_pending(&error);
                return Err(self.step_error(&shown, error));
            }
            (Ok(()), expected) => {
                let reason =
                    format!("it succeeded, but failed with error {expected} on the source");
                return Err(self.step_error(&shown, DatabaseError::UnexpectedResponse(reason)));
            }
        }
        self.restart_after_ddl(statement)
    }

    /// Whether an account statement fails because the snapshot, which reads accounts after the consistent snapshot of
    /// its rows, already includes its effect, or that of a later statement.
    fn accounts_may_be_ahead(&self, statement: &LoggedStatement, error: &DatabaseError) -> bool {
        let committed = self.transaction.as_ref().and_then(|about| about.committed);
        // An account that is created and already exists must come from the snapshot, not be the target's own.
        let known =
            !statement.starts_with(&["CREATE"]) || statement.mentions_any(&self.config.accounts);
        committed.is_some_and(|time| time <= self.config.accounts_until)
            && known
            && statement.is_about_accounts()
            && pending_change::is_account_error(error)
    }

    /// DDL that the server rejected did not take effect: its record must not say that it may have.
    fn clear_pending(&mut self, error: &DatabaseError) {
        if self.config.keeps_gtids() || !matches!(error, DatabaseError::Server { .. }) {
            return;
        }
        if let Err(error) = self.execute_plain(checkpoint::clear_pending_statement()) {
            tracing::warn!(%error, "could not delete the record of a statement that the server rejected");
        }
    }

    /// An XA transaction that this session prepared can be ended by its own session only.
    fn execute_statement(&mut self, statement: &LoggedStatement) -> Result<(), DatabaseError> {
        let text = String::from_utf8_lossy(&statement.text).into_owned();
        let ends = |word: &str| {
            text.trim()
                .strip_prefix(word)
                .map(str::trim)
                .map(str::to_owned)
        };
        let xid = ends("XA COMMIT").or_else(|| ends("XA ROLLBACK"));
        match xid.and_then(|xid| self.prepared_sessions.remove(&xid)) {
            Some(mut other) => {
                let prefix = self
                    .transaction
                    .as_ref()
                    .map(|about| other.gtid_assignment(about))
                    .unwrap_or_default();
                other.execute_plain(format!("{prefix}{text}"))
            }
            None => match self.execute_plain(statement.runnable_text()) {
                // Unknown XID: it was ended, and only the record of it is missing.
                Err(error) if error.code() == Some(1397) && self.was_interrupted() => Ok(()),
                result => result,
            },
        }
    }

    /// In MariaDB, DDL in the middle of a transaction has committed it.
    fn restart_after_ddl(&mut self, statement: &LoggedStatement) -> Result<()> {
        let group = self.transaction.as_ref().is_some_and(|about| about.group);
        if self.config.flavour == Flavour::Mariadb && group && statement.is_ddl() {
            self.prefix = match self.transaction.clone() {
                Some(about) => format!("{}BEGIN", self.gtid_assignment(&about)),
                None => String::new(),
            };
        }
        Ok(())
    }

    fn was_interrupted(&self) -> bool {
        let about = self.transaction.as_ref();
        about.is_some_and(|about| about.pending.is_some())
    }
}

/// The beginning of a statement.
fn format_statement(text: &[u8]) -> String {
    const LENGTH: usize = 200;
    let whole = String::from_utf8_lossy(text);
    let end = whole.floor_char_boundary(LENGTH);
    let more = if end < whole.len() { "…" } else { "" };
    format!("`{}{more}`", &whole[..end])
}
