//! What has a body, and accounts: made after the rows, in the surroundings in which they were first made.

use reprise_repository::{RawText, Warning};
use reprise_snapshotters::mysql::script::{SURROUNDINGS_END, surroundings};
use reprise_snapshotters::mysql::sql::{qualified, quoted, text};
use reprise_snapshotters::mysql::{Account, Code, DatabaseError, Session, shown_account};

use super::definer::{with_definer, without_definer};
use super::progress::{self, Done};
use super::selection::Selected;
use crate::error::{Error, Result};

/// The account may not make something that belongs to another, or to nobody that exists.
const DEFINER_REFUSED: [u16; 4] = [1227, 1449, 4154, 1698];

/// It exists: an interrupted restore made it.
const EXISTS: [u16; 6] = [1050, 1304, 1359, 1537, 1826, 4162];

/// What a view can miss: a table, a column, a function, what an invalid one always misses.
const VIEW_MISSES: [u16; 5] = [1146, 1054, 1305, 1356, 1049];

/// Makes objects.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    pub(super) session: &'a mut Session,
    /// Who owns what is made; `None`: whoever did.
    pub(super) definer: Option<&'a str>,
    pub(super) warnings: Vec<Warning>,
}

impl Maker<'_> {
    /// Routines, then views, then triggers, of all databases.
    pub(super) fn code(&mut self, selected: &[Selected]) -> Result<()> {
        for chosen in selected {
            for routine in &chosen.database.routines {
                self.make(chosen, routine)?;
            }
        }
        self.views(selected)?;
        for chosen in selected {
            for trigger in &chosen.database.triggers {
                self.make(chosen, trigger)?;
            }
        }
        Ok(())
    }

    /// Events come last of all: they begin to run.
    pub(super) fn events(&mut self, selected: &[Selected]) -> Result<()> {
        for chosen in selected {
            for event in &chosen.database.events {
                self.make(chosen, event)?;
                self.check_event(&chosen.target, event)?;
            }
        }
        Ok(())
    }

    /// Views may use each other across databases: whatever fails is tried again as long as others succeed.
    fn views(&mut self, selected: &[Selected]) -> Result<()> {
        let mut waiting: Vec<(&Selected, &Code)> = selected
            .iter()
            .flat_map(|chosen| chosen.database.views.iter().map(move |view| (chosen, view)))
            .collect();
        loop {
            let before = waiting.len();
            let mut again = Vec::new();
            let mut reason = String::new();
            for (chosen, view) in waiting {
                match self.try_make(chosen, view) {
                    Ok(()) => {}
                    Err(DatabaseError::Server { code, message }) if VIEW_MISSES.contains(&code) => {
                        reason = message;
                        again.push((chosen, view));
                    }
                    Err(error) => return Err(self.failed(chosen, view, error)),
                }
            }
            if again.is_empty() {
                return Ok(());
            }
            if again.len() == before {
                for (chosen, view) in again {
                    let name = qualified(&chosen.target, &view.name);
                    self.warn(format!(
                        "view {name} is left out, as what it uses is not there: {reason}"
                    ));
                }
                return Ok(());
            }
            waiting = again;
        }
    }

    fn make(&mut self, chosen: &Selected, code: &Code) -> Result<()> {
        self.try_make(chosen, code)
            .map_err(|error| self.failed(chosen, code, error))
    }

    fn failed(&self, chosen: &Selected, code: &Code, error: DatabaseError) -> Error {
        let name = qualified(&chosen.target, &code.name);
        Error::database(format!("make {} {name}", code.kind.to_lowercase()), error)
    }

    fn try_make(&mut self, chosen: &Selected, code: &Code) -> Result<(), DatabaseError> {
        let sql = code.sql.as_bytes();
        let wanted = match self.definer {
            Some(definer) => with_definer(sql, definer),
            None => sql.to_vec(),
        };
        let name = qualified(&chosen.target, &code.name);
        match self.run(chosen, code, &wanted) {
            Err(DatabaseError::Server {
                code: number,
                message,
            }) if DEFINER_REFUSED.contains(&number) => {
                self.run(chosen, code, &without_definer(sql))?;
                self.warn(format!(
                    "{} {name} belongs to the account that restored it, as it could not be given to its owner: {message}",
                    code.kind.to_lowercase()
                ));
                Ok(())
            }
            result => result,
        }
    }

    fn run(&mut self, chosen: &Selected, code: &Code, sql: &[u8]) -> Result<(), DatabaseError> {
        let session = &mut *self.session;
        session.execute(format!("USE {}", quoted(&chosen.target)))?;
        let own = &chosen.database.collation;
        let other = code
            .database_collation
            .as_ref()
            .filter(|collation| *collation != own);
        if let Some(collation) = other {
            set_collation(session, &chosen.target, collation)?;
        }
        for statement in surroundings(code) {
            session.execute(statement)?;
        }
        let made = session.execute(sql);
        for statement in SURROUNDINGS_END {
            session.execute(statement)?;
        }
        if other.is_some() {
            set_collation(session, &chosen.target, own)?;
        }
        match made {
            Ok(_) => Ok(()),
            Err(DatabaseError::Server { code, .. }) if EXISTS.contains(&code) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An event whose time is over vanishes as soon as it is made.
    fn check_event(&mut self, database: &str, event: &Code) -> Result<()> {
        let rows = self
            .session
            .rows(format!(
                "SELECT 1 FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} AND EVENT_NAME = {}",
                text(database),
                text(&event.name)
            ))
            .map_err(|error| Error::database("look for an event", error))?;
        if rows.is_empty() {
            let name = qualified(database, &event.name);
            self.warn(format!(
                "event {name} is not there: its time is over, and it was to vanish then"
            ));
        }
        Ok(())
    }

    fn warn(&mut self, message: String) {
        self.warnings.push(Warning {
            path: RawText::default(),
            message,
        });
    }

    /// Makes the accounts that are not there. Returns those that were made, also before an interruption.
    pub(super) fn accounts<'a>(
        &mut self,
        accounts: &'a [Account],
        done: &Done,
    ) -> Result<Vec<&'a Account>> {
        let failed = |error| Error::database("list the target's accounts", error);
        let known = self
            .session
            .rows("SELECT User, Host FROM mysql.user")
            .map_err(failed)?;
        let exists = |account: &Account| {
            let host = account.host.as_deref().unwrap_or_default();
            known
                .iter()
                .any(|row| row.text(0) == Some(account.user.as_str()) && row.text(1) == Some(host))
        };
        let mut made = Vec::new();
        for account in accounts {
            let step = progress::account(&shown_account(account));
            let begun = done.has(&step);
            // What every server has needs no statement, only its rights.
            if account.create.as_bytes().is_empty() || (begun && exists(account)) {
                made.push(account);
                continue;
            }
            if exists(account) {
                continue;
            }
            // Before it is made: one that was made and not noted would never get its rights.
            if !begun {
                progress::note(self.session, &step).map_err(failed)?;
            }
            match self.session.execute(account.create.as_bytes()) {
                Ok(_) => made.push(account),
                Err(DatabaseError::Server { message, .. }) => {
                    self.warn(format!(
                        "account {} is left out: {message}",
                        shown_account(account)
                    ));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(made)
    }

    /// Gives new accounts their rights, once everything that these name is there.
    pub(super) fn grants(&mut self, accounts: &[&Account]) -> Result<()> {
        let statements = accounts.iter().flat_map(|account| {
            let defaults = account.default_roles.iter();
            account
                .grants
                .iter()
                .map(move |grant| (account, grant))
                .chain(defaults.map(move |roles| (account, roles)))
        });
        // Default roles must have been granted.
        let (last, first): (Vec<_>, Vec<_>) =
            statements.partition(|(_, sql)| sql.as_bytes().starts_with(b"SET DEFAULT ROLE"));
        for (account, sql) in first.into_iter().chain(last) {
            match self.session.execute(sql.as_bytes()) {
                Ok(_) => {}
                Err(DatabaseError::Server { message, .. }) => self.warn(format!(
                    "account {} lacks a right: {message}: {}",
                    shown_account(account),
                    sql.display()
                )),
                Err(error) => return Err(Error::database("grant rights", error)),
            }
        }
        Ok(())
    }
}

fn set_collation(
    session: &mut Session,
    database: &str,
    collation: &str,
) -> Result<(), DatabaseError> {
    session
        .execute(format!(
            "ALTER DATABASE {} COLLATE {collation}",
            quoted(database)
        ))
        .map(drop)
}
