//! Stored objects and accounts: created after the rows, with the session settings of their first creation.

use reprise_mysql::load_statements::{
    SESSION_SETTINGS_RESET, session_settings_for, set_collation_statement,
};
use reprise_mysql::sql::{format_account, qualify_name, quote_name, quote_text};
use reprise_mysql::{DatabaseError, MysqlAccount, MysqlStoredObject, Session};
use reprise_repository::{RawText, Warning};

use crate::error::{Error, Result};
use crate::mysql::load::definer::{with_definer, without_definer};
use crate::mysql::load::selection::SelectedDatabase;
use crate::mysql::restore_state::{self, RestoreState};

/// The account may not create an object that belongs to another account, or to one that does not exist.
const DEFINER_REFUSED: [u16; 4] = [1227, 1449, 4154, 1698];

/// It exists: an interrupted restore created it.
const ALREADY_EXISTS: [u16; 6] = [1050, 1304, 1359, 1537, 1826, 4162];

/// What a view can lack: a table, a column, a function, what an invalid one always lacks.
const VIEW_DEPENDENCY_MISSING: [u16; 5] = [1146, 1054, 1305, 1356, 1049];

/// A `sql_mode` word that another version or vendor had.
const UNKNOWN_MODE: u16 = 1231;

const UNKNOWN_COLLATION: u16 = 1273;

/// A view to be created.
#[derive(Debug)]
pub(crate) struct PendingView<'a> {
    chosen: &'a SelectedDatabase,
    view: &'a MysqlStoredObject,
    /// Why it could not be created yet.
    reason: String,
}

impl<'a> PendingView<'a> {
    fn for_database(chosen: &'a SelectedDatabase) -> impl Iterator<Item = Self> {
        chosen.database.views.iter().map(move |view| Self {
            chosen,
            view,
            reason: String::new(),
        })
    }
}

/// A statement that grants a privilege to an account.
pub(crate) type AccountGrant<'a> = (&'a MysqlAccount, &'a RawText);

/// Creates objects.
#[derive(Debug)]
pub(crate) struct ObjectCreator<'a> {
    pub(crate) session: &'a mut Session,
    /// The definer of created objects; `None`: the original one.
    pub(crate) definer: Option<&'a str>,
    pub(crate) warnings: Vec<Warning>,
}

impl ObjectCreator<'_> {
    /// Creates routines, then views, then triggers, of all databases. Returns the views that cannot be created yet: a
    /// view on another one needs that one's owner to have its privileges.
    pub(crate) fn create_code<'a>(
        &mut self,
        selected: &'a [SelectedDatabase],
    ) -> Result<Vec<PendingView<'a>>> {
        for chosen in selected {
            for routine in &chosen.database.routines {
                self.create_object(chosen, routine)?;
            }
        }
        let views = selected
            .iter()
            .flat_map(PendingView::for_database)
            .collect();
        let waiting = self.create_views(views)?;
        for chosen in selected {
            for trigger in &chosen.database.triggers {
                self.create_object(chosen, trigger)?;
            }
        }
        Ok(waiting)
    }

    /// Events are created last: they begin to run.
    pub(crate) fn create_events(&mut self, selected: &[SelectedDatabase]) -> Result<()> {
        for chosen in selected {
            for event in &chosen.database.events {
                self.create_object(chosen, event)?;
                self.check_event(&chosen.target, event)?;
            }
        }
        Ok(())
    }

    /// Views may use each other across databases: failed ones are retried as long as others succeed. Returns the
    /// remaining ones.
    fn create_views<'a>(
        &mut self,
        mut waiting: Vec<PendingView<'a>>,
    ) -> Result<Vec<PendingView<'a>>> {
        loop {
            let before = waiting.len();
            let mut again = Vec::new();
            for PendingView { chosen, view, .. } in waiting {
                match self.try_create(chosen, view) {
                    Ok(()) => {}
                    Err(DatabaseError::Server { code, message })
                        if VIEW_DEPENDENCY_MISSING.contains(&code) =>
                    {
                        again.push(PendingView {
                            chosen,
                            view,
                            reason: message,
                        });
                    }
                    Err(error) => return Err(self.creation_error(chosen, view, error)),
                }
            }
            if again.is_empty() || again.len() == before {
                return Ok(again);
            }
            waiting = again;
        }
    }

    /// Creates the views that waited for their owners' privileges, and names those that cannot be created at all.
    pub(crate) fn create_pending_views(&mut self, waiting: Vec<PendingView<'_>>) -> Result<()> {
        for left in self.create_views(waiting)? {
            let name = qualify_name(&left.chosen.target, &left.view.name);
            self.add_warning(format!(
                "view {name} was not created because an object that it uses is missing: {}",
                left.reason
            ));
        }
        Ok(())
    }

    fn create_object(&mut self, chosen: &SelectedDatabase, code: &MysqlStoredObject) -> Result<()> {
        self.try_create(chosen, code)
            .map_err(|error| self.creation_error(chosen, code, error))
    }

    fn creation_error(
        &self,
        chosen: &SelectedDatabase,
        code: &MysqlStoredObject,
        error: DatabaseError,
    ) -> Error {
        let name = qualify_name(&chosen.target, &code.name);
        Error::from_database(format!("create {} {name}", code.kind.to_lowercase()), error)
    }

    fn try_create(
        &mut self,
        chosen: &SelectedDatabase,
        code: &MysqlStoredObject,
    ) -> Result<(), DatabaseError> {
        let sql = code.sql.as_bytes();
        let wanted = match self.definer {
            Some(definer) => with_definer(sql, definer),
            None => sql.to_vec(),
        };
        let name = qualify_name(&chosen.target, &code.name);
        match self.create_in_context(chosen, code, &wanted) {
            Err(DatabaseError::Server {
                code: number,
                message,
            }) if DEFINER_REFUSED.contains(&number) => {
                self.create_in_context(chosen, code, &without_definer(sql))?;
                self.add_warning(format!(
                    "{} {name} has the restoring account as its definer, because its original definer could not be set: {message}",
                    code.kind.to_lowercase()
                ));
                Ok(())
            }
            result => result,
        }
    }

    fn create_in_context(
        &mut self,
        chosen: &SelectedDatabase,
        code: &MysqlStoredObject,
        sql: &[u8],
    ) -> Result<(), DatabaseError> {
        self.session
            .execute(format!("USE {}", quote_name(&chosen.target)))?;
        let own = &chosen.database.collation;
        let other = code.differing_database_collation(&chosen.database);
        if let Some(collation) = other {
            self.session
                .execute(set_collation_statement(&chosen.target, collation))?;
        }
        self.restore_session_context(chosen, code)?;
        let session = &mut *self.session;
        let made = session.execute(sql);
        for statement in SESSION_SETTINGS_RESET {
            session.execute(statement)?;
        }
        if other.is_some() {
            session.execute(set_collation_statement(&chosen.target, own))?;
        }
        match made {
            Ok(_) => Ok(()),
            Err(DatabaseError::Server { code, .. }) if ALREADY_EXISTS.contains(&code) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets the session variables as they were when an object was created, as far as the target can.
    fn restore_session_context(
        &mut self,
        chosen: &SelectedDatabase,
        code: &MysqlStoredObject,
    ) -> Result<(), DatabaseError> {
        for statement in session_settings_for(code) {
            let result = self.session.execute(statement);
            match (result.as_ref().map_err(DatabaseError::code), &code.sql_mode) {
                (Err(Some(UNKNOWN_MODE)), Some(modes)) => self.set_supported_modes(modes)?,
                (Err(Some(UNKNOWN_COLLATION)), _) => self.add_warning(format!(
                    "{} {} was created with {}, a collation that the target does not support: it may compare strings differently",
                    code.kind.to_lowercase(),
                    qualify_name(&chosen.target, &code.name),
                    code.collation
                )),
                _ => drop(result?),
            }
        }
        Ok(())
    }

    /// Modes that a server no longer has are those that changed nothing, or implied others, which are named too.
    fn set_supported_modes(&mut self, modes: &str) -> Result<(), DatabaseError> {
        let mut known = Vec::new();
        for mode in modes.split(',') {
            let set = format!("SET sql_mode = {}", quote_text(mode));
            match self.session.execute(set) {
                Ok(_) => known.push(mode),
                Err(error) if error.code() == Some(UNKNOWN_MODE) => {}
                Err(error) => return Err(error),
            }
        }
        let set = format!("SET sql_mode = {}", quote_text(&known.join(",")));
        self.session.execute(set).map(drop)
    }

    /// An expired event vanishes as soon as it is created.
    fn check_event(&mut self, database: &str, event: &MysqlStoredObject) -> Result<()> {
        let rows = self
            .session
            .query_rows(format!(
                "SELECT 1 FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} AND EVENT_NAME = {}",
                quote_text(database),
                quote_text(&event.name)
            ))
            .map_err(|error| Error::from_database("check whether an event was created", error))?;
        if rows.is_empty() {
            let name = qualify_name(database, &event.name);
            self.add_warning(format!("event {name} was not created: it has expired"));
        }
        Ok(())
    }

    fn add_warning(&mut self, message: String) {
        self.warnings.push(Warning {
            path: RawText::default(),
            message,
        });
    }

    /// Creates the missing accounts. Returns those that were created, also before an interruption.
    pub(crate) fn create_accounts<'a>(
        &mut self,
        accounts: &'a [MysqlAccount],
        done: &RestoreState,
    ) -> Result<Vec<&'a MysqlAccount>> {
        let failed = |error| Error::from_database("list the target's accounts", error);
        let known = self
            .session
            .query_rows("SELECT User, Host FROM mysql.user")
            .map_err(failed)?;
        let exists = |account: &MysqlAccount| {
            let host = account.host.as_deref().unwrap_or_default();
            known
                .iter()
                .any(|row| row.text(0) == Some(account.user.as_str()) && row.text(1) == Some(host))
        };
        let mut made = Vec::new();
        for account in accounts {
            let step = restore_state::account_step(&format_account(account));
            let begun = done.has_step(&step);
            // What every server has needs no statement, only its privileges.
            if account.create.as_bytes().is_empty() || (begun && exists(account)) {
                made.push(account);
                continue;
            }
            if exists(account) {
                continue;
            }
            // Before it is created: one that was created and not recorded would never get its privileges.
            if !begun {
                restore_state::record_step(self.session, &step).map_err(failed)?;
            }
            match self.session.execute(account.create.as_bytes()) {
                Ok(_) => made.push(account),
                Err(DatabaseError::Server { message, .. }) => {
                    self.add_warning(format!(
                        "account {} was not created: {message}",
                        format_account(account)
                    ));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(made)
    }

    /// Grants new accounts their privileges. Returns those that could not be granted, as they name missing objects.
    pub(crate) fn grant_privileges<'a>(
        &mut self,
        accounts: &[&'a MysqlAccount],
    ) -> Result<Vec<AccountGrant<'a>>> {
        let mut refused = Vec::new();
        for grant in collect_grants(accounts) {
            if self.try_grant(grant)?.is_some() {
                refused.push(grant);
            }
        }
        Ok(refused)
    }

    /// Grants the privileges that could not be granted before, and names those that cannot be granted at all.
    pub(crate) fn retry_grants(&mut self, refused: &[AccountGrant<'_>]) -> Result<()> {
        for (account, sql) in refused {
            if let Some(message) = self.try_grant((account, sql))? {
                self.add_warning(format!(
                    "could not grant a privilege to account {}: {message}: {}",
                    format_account(account),
                    sql.display()
                ));
            }
        }
        Ok(())
    }

    /// Grants a privilege; returns the reason when the server refuses.
    fn try_grant(&mut self, (_, sql): AccountGrant<'_>) -> Result<Option<String>> {
        match self.session.execute(sql.as_bytes()) {
            Ok(_) => Ok(None),
            Err(DatabaseError::Server { message, .. }) => Ok(Some(message)),
            Err(error) => Err(Error::from_database("grant privileges", error)),
        }
    }
}

/// All privileges, default roles last, as these must have been granted.
fn collect_grants<'a>(accounts: &[&'a MysqlAccount]) -> Vec<AccountGrant<'a>> {
    let grants = accounts
        .iter()
        .flat_map(|account| account.grants.iter().map(move |grant| (*account, grant)));
    let roles = accounts
        .iter()
        .flat_map(|account| account.default_roles.iter().map(move |set| (*account, set)));
    grants.chain(roles).collect()
}
