//! What has a body, and accounts: made after the rows, in the surroundings in which they were first made.

use reprise_repository::{RawText, Warning};
use reprise_snapshotters::mysql::script::{SURROUNDINGS_END, set_collation, surroundings};
use reprise_snapshotters::mysql::sql::{qualified, quoted, text};
use reprise_snapshotters::mysql::{Account, Code, DatabaseError, Session, format_account};

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

/// A word of `sql_mode` that another version or vendor had.
const UNKNOWN_MODE: u16 = 1231;

const UNKNOWN_COLLATION: u16 = 1273;

/// A view to be made.
#[derive(Debug)]
pub(super) struct WaitingView<'a> {
    chosen: &'a Selected,
    view: &'a Code,
    /// Why it could not be made yet.
    reason: String,
}

impl<'a> WaitingView<'a> {
    fn all(chosen: &'a Selected) -> impl Iterator<Item = Self> {
        chosen.database.views.iter().map(move |view| Self {
            chosen,
            view,
            reason: String::new(),
        })
    }
}

/// A statement that gives an account a right.
pub(super) type Grant<'a> = (&'a Account, &'a RawText);

/// Makes objects.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    pub(super) session: &'a mut Session,
    /// Who owns what is made; `None`: whoever did.
    pub(super) definer: Option<&'a str>,
    pub(super) warnings: Vec<Warning>,
}

impl Maker<'_> {
    /// Routines, then views, then triggers, of all databases. Returns the views that cannot be made yet: a view
    /// of another one needs that one's owner to have its rights.
    pub(super) fn code<'a>(&mut self, selected: &'a [Selected]) -> Result<Vec<WaitingView<'a>>> {
        for chosen in selected {
            for routine in &chosen.database.routines {
                self.make(chosen, routine)?;
            }
        }
        let views = selected.iter().flat_map(WaitingView::all).collect();
        let waiting = self.views(views)?;
        for chosen in selected {
            for trigger in &chosen.database.triggers {
                self.make(chosen, trigger)?;
            }
        }
        Ok(waiting)
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
    /// Returns what is left.
    fn views<'a>(&mut self, mut waiting: Vec<WaitingView<'a>>) -> Result<Vec<WaitingView<'a>>> {
        loop {
            let before = waiting.len();
            let mut again = Vec::new();
            for WaitingView { chosen, view, .. } in waiting {
                match self.try_make(chosen, view) {
                    Ok(()) => {}
                    Err(DatabaseError::Server { code, message }) if VIEW_MISSES.contains(&code) => {
                        again.push(WaitingView {
                            chosen,
                            view,
                            reason: message,
                        });
                    }
                    Err(error) => return Err(self.failed(chosen, view, error)),
                }
            }
            if again.is_empty() || again.len() == before {
                return Ok(again);
            }
            waiting = again;
        }
    }

    /// Makes what had to wait for its owner's rights, and names what cannot be made at all.
    pub(super) fn last_views(&mut self, waiting: Vec<WaitingView<'_>>) -> Result<()> {
        for left in self.views(waiting)? {
            let name = qualified(&left.chosen.target, &left.view.name);
            self.warn(format!(
                "view {name} was not created because an object that it uses is missing: {}",
                left.reason
            ));
        }
        Ok(())
    }

    fn make(&mut self, chosen: &Selected, code: &Code) -> Result<()> {
        self.try_make(chosen, code)
            .map_err(|error| self.failed(chosen, code, error))
    }

    fn failed(&self, chosen: &Selected, code: &Code, error: DatabaseError) -> Error {
        let name = qualified(&chosen.target, &code.name);
        Error::database(format!("create {} {name}", code.kind.to_lowercase()), error)
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
                    "{} {name} has the restoring account as its definer, because its original definer could not be set: {message}",
                    code.kind.to_lowercase()
                ));
                Ok(())
            }
            result => result,
        }
    }

    fn run(&mut self, chosen: &Selected, code: &Code, sql: &[u8]) -> Result<(), DatabaseError> {
        self.session
            .execute(format!("USE {}", quoted(&chosen.target)))?;
        let own = &chosen.database.collation;
        let other = code.other_collation(&chosen.database);
        if let Some(collation) = other {
            self.session
                .execute(set_collation(&chosen.target, collation))?;
        }
        self.surround(chosen, code)?;
        let session = &mut *self.session;
        let made = session.execute(sql);
        for statement in SURROUNDINGS_END {
            session.execute(statement)?;
        }
        if other.is_some() {
            session.execute(set_collation(&chosen.target, own))?;
        }
        match made {
            Ok(_) => Ok(()),
            Err(DatabaseError::Server { code, .. }) if EXISTS.contains(&code) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets the session as it was when something was made, as far as the target can.
    fn surround(&mut self, chosen: &Selected, code: &Code) -> Result<(), DatabaseError> {
        for statement in surroundings(code) {
            let result = self.session.execute(statement);
            match (result.as_ref().map_err(DatabaseError::code), &code.sql_mode) {
                (Err(Some(UNKNOWN_MODE)), Some(modes)) => self.set_known_modes(modes)?,
                (Err(Some(UNKNOWN_COLLATION)), _) => self.warn(format!(
                    "{} {} was created with {}, a collation that the target does not support: it may compare strings differently",
                    code.kind.to_lowercase(),
                    qualified(&chosen.target, &code.name),
                    code.collation
                )),
                _ => drop(result?),
            }
        }
        Ok(())
    }

    /// Modes that a server has no more are those that changed nothing, or gave others, which are named too.
    fn set_known_modes(&mut self, modes: &str) -> Result<(), DatabaseError> {
        let mut known = Vec::new();
        for mode in modes.split(',') {
            let set = format!("SET sql_mode = {}", text(mode));
            match self.session.execute(set) {
                Ok(_) => known.push(mode),
                Err(error) if error.code() == Some(UNKNOWN_MODE) => {}
                Err(error) => return Err(error),
            }
        }
        let set = format!("SET sql_mode = {}", text(&known.join(",")));
        self.session.execute(set).map(drop)
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
            .map_err(|error| Error::database("check whether an event was created", error))?;
        if rows.is_empty() {
            let name = qualified(database, &event.name);
            self.warn(format!("event {name} was not created: it has expired"));
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
            let step = progress::account(&format_account(account));
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
                        "account {} was not created: {message}",
                        format_account(account)
                    ));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(made)
    }

    /// Gives new accounts their rights. Returns those that could not be given, as they name what is not there yet.
    pub(super) fn grants<'a>(&mut self, accounts: &[&'a Account]) -> Result<Vec<Grant<'a>>> {
        let mut refused = Vec::new();
        for grant in grants_of(accounts) {
            if self.grant(grant)?.is_some() {
                refused.push(grant);
            }
        }
        Ok(refused)
    }

    /// Gives the rights that could not be given before, and names those that cannot be given at all.
    pub(super) fn last_grants(&mut self, refused: &[Grant<'_>]) -> Result<()> {
        for (account, sql) in refused {
            if let Some(message) = self.grant((account, sql))? {
                self.warn(format!(
                    "could not grant a privilege to account {}: {message}: {}",
                    format_account(account),
                    sql.display()
                ));
            }
        }
        Ok(())
    }

    /// Gives a right; says why when the server refuses.
    fn grant(&mut self, (_, sql): Grant<'_>) -> Result<Option<String>> {
        match self.session.execute(sql.as_bytes()) {
            Ok(_) => Ok(None),
            Err(DatabaseError::Server { message, .. }) => Ok(Some(message)),
            Err(error) => Err(Error::database("grant privileges", error)),
        }
    }
}

/// All rights, default roles last, as these must have been granted.
fn grants_of<'a>(accounts: &[&'a Account]) -> Vec<Grant<'a>> {
    let grants = accounts
        .iter()
        .flat_map(|account| account.grants.iter().map(move |grant| (*account, grant)));
    let roles = accounts
        .iter()
        .flat_map(|account| account.default_roles.iter().map(move |set| (*account, set)));
    grants.chain(roles).collect()
}
