//! A session that applies: it keeps the settings that it was given, and knows what it is doing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reprise_repository::Progress;
use reprise_snapshotters::mysql::binlog::{
    Events, Format, Gtid, GtidSet, MappedTable, MariadbPosition, TransactionStart, kind,
};
use reprise_snapshotters::mysql::{Address, Bytes, Cells, DatabaseError, Session, set_if_known};

use super::batch::{Batch, Run};
use super::course::Noted;
use super::interrupted::{self, Pending, What};
use super::order::Order;
use super::statement::{self, Statement};
use super::{Coverage, Mode, Replay, named, record};
use crate::error::{Error, Result};
use crate::mysql::xa;

/// What every session of a replay needs.
const NEEDED: [&str; 3] = [
    "SET SESSION autocommit = 1",
    "SET SESSION completion_type = 0",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// What it needs where the server knows it and lets this account set it.
const IF_KNOWN: [&str; 14] = [
    "SET SESSION pseudo_slave_mode = 1",
    "SET SESSION rbr_exec_mode = 'STRICT'",
    "SET SESSION sql_require_primary_key = 0",
    "SET SESSION sql_generate_invisible_primary_key = 0",
    "SET SESSION restrict_fk_on_non_standard_key = 0",
    "SET SESSION innodb_strict_mode = 0",
    "SET SESSION sql_safe_updates = 0",
    "SET SESSION sql_log_off = 0",
    "SET SESSION max_statement_time = 0",
    "SET SESSION max_execution_time = 0",
    "SET SESSION wait_timeout = 86400",
    "SET SESSION net_read_timeout = 86400",
    "SET SESSION net_write_timeout = 86400",
    UNNUMBERED,
];

/// Where transactions have numbers, the server waits for one after another was used.
const UNNUMBERED: &str = "SET SESSION gtid_next = 'AUTOMATIC'";

/// So much of a packet is not for rows, in bytes.
const PACKET_REST: usize = 16 << 10;

/// Rows go to the server in pieces of this size, in bytes, if it takes such.
const PIECE_BYTES: usize = 6 << 20;

/// So often a transaction that lost against another one is applied again.
const ATTEMPTS_MAX: usize = 10;

/// What all sessions have in common.
#[derive(Debug)]
pub(super) struct Setup {
    address: Address,
    progress: Arc<Progress>,
    pub(super) mariadb: bool,
    accounts_until: u64,
    accounts: Vec<String>,
    leave_accounts: bool,
    mode: Mode,
    write_binlog: bool,
    /// Character set and name of each collation.
    collations: HashMap<u32, (String, String)>,
    /// The settings that a session has to begin with and that not everyone may set.
    initial: Vec<(&'static str, String)>,
    /// The largest event that the server takes.
    pub(super) event_bytes_max: usize,
}

impl Setup {
    /// Asks the server what it is.
    pub(super) fn look(replay: &Replay<'_>) -> Result<Self> {
        let failed = |error| Error::database(format!("connect to {}", replay.address), error);
        let mut session = Session::open(replay.address, replay.progress).map_err(failed)?;
        let version = session.row("SELECT VERSION()").map_err(failed)?.string(0);
        let mariadb = version.to_ascii_lowercase().contains("mariadb");
        let packet: usize = session
            .row("SELECT @@session.max_allowed_packet")
            .map_err(failed)?
            .number(0)
            .unwrap_or(1 << 20);
        let mut initial = Vec::new();
        for name in [
            "default_table_encryption",
            "explicit_defaults_for_timestamp",
        ] {
            if let Ok(row) = session.row(format!("SELECT @@session.{name}")) {
                initial.push((name, row.string(0)));
            }
        }
        let collations = collations(&mut session, mariadb).map_err(failed)?;
        Ok(Self {
            address: replay.address.clone(),
            progress: Arc::clone(replay.progress),
            mariadb,
            accounts_until: replay.accounts_until,
            accounts: replay.accounts.to_vec(),
            leave_accounts: replay.leave_accounts,
            mode: replay.mode,
            write_binlog: replay.write_binlog,
            collations,
            initial,
            event_bytes_max: packet.saturating_sub(PACKET_REST) / 4 * 3,
        })
    }

    /// How long a piece of rows may become.
    pub(super) fn piece_bytes(&self) -> usize {
        PIECE_BYTES.min(self.event_bytes_max)
    }

    /// Whether transactions keep their numbers.
    pub(super) fn keeps_numbers(&self) -> bool {
        self.mode == Mode::Gtid
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

fn collations(
    session: &mut Session,
    mariadb: bool,
) -> Result<HashMap<u32, (String, String)>, DatabaseError> {
    let newer = "SELECT id, character_set_name, full_collation_name FROM information_schema.collation_character_set_applicability";
    let older = "SELECT id, character_set_name, collation_name FROM information_schema.collations";
    let mut rows = Vec::new();
    if mariadb {
        rows = match session.rows(newer) {
            Err(DatabaseError::Server { .. }) => Vec::new(),
            rows => rows?,
        };
    }
    if rows.is_empty() {
        rows = session.rows(older)?;
    }
    let named = |row: &Cells| Some((row.number(0)?, (row.string(1), row.string(2))));
    Ok(rows.iter().filter_map(named).collect())
}

/// A transaction, before it is applied.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) gtid: Gtid,
    pub(super) committed: Option<u64>,
    /// What the log says of it.
    pub(super) start: Option<TransactionStart>,
    /// Its place in the events.
    pub(super) number: u64,
    /// The format of its events.
    pub(super) format: Bytes,
    /// Whether it has a begin and a commit.
    pub(super) group: bool,
    /// What of it cannot share a transaction with the record.
    pub(super) alone: Option<Alone>,
    /// Its name, if it is one in two phases.
    pub(super) xid: Option<String>,
    /// What an interrupted attempt noted of it.
    pub(super) pending: Option<Pending>,
}

impl About {
    /// Its place in the order of commits; 0 when the log does not tell.
    pub(super) fn place(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.place)
    }

    /// The place up to which everything must be there before it.
    pub(super) fn after(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.last_committed)
    }
}

/// Why something cannot share a transaction with the record.
#[derive(Debug, Clone)]
pub(super) enum Alone {
    /// It is a definition.
    Definition(Box<Statement>),
    /// A table has no transactions.
    Rows,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Commit,
    Rollback,
    /// It is a single statement.
    Itself,
    /// The first phase is over.
    Prepare,
    /// Both phases are over.
    OnePhase,
}

/// A session, and what it is doing.
#[derive(Debug)]
pub(super) struct Target {
    session: Session,
    setup: Arc<Setup>,
    settings: BTreeMap<&'static str, String>,
    database: Option<Vec<u8>>,
    format: Bytes,
    about: Option<About>,
    /// What goes before the first step of a transaction.
    prefix: String,
    /// An interrupted attempt had done it.
    done_before: bool,
    /// The session of the transaction in two phases that is under way.
    two_phase: Option<Box<Self>>,
    /// Sessions of those that are prepared. Some servers let no other one commit them.
    prepared: HashMap<String, Box<Self>>,
}

impl Target {
    pub(super) fn open(setup: &Arc<Setup>) -> Result<Self> {
        let open = || {
            let mut session = Session::open(&setup.address, &setup.progress)?;
            for statement in NEEDED {
                session.execute(statement)?;
            }
            for statement in IF_KNOWN {
                set_if_known(&mut session, statement)?;
            }
            if setup.mode == Mode::Merged && !setup.write_binlog {
                set_if_known(&mut session, "SET SESSION sql_log_bin = 0")?;
            }
            Ok(session)
        };
        let failed = |error| Error::database(format!("connect to {}", setup.address), error);
        Ok(Self {
            session: open().map_err(failed)?,
            setup: Arc::clone(setup),
            settings: setup.initial.iter().cloned().collect(),
            database: None,
            format: Bytes::new(),
            about: None,
            prefix: String::new(),
            done_before: false,
            two_phase: None,
            prepared: HashMap::new(),
        })
    }

    pub(super) fn is_mariadb(&self) -> bool {
        self.setup.mariadb
    }

    /// Runs a statement that means the same under all settings.
    pub(super) fn plain(&mut self, sql: impl AsRef<[u8]>) -> Result<(), DatabaseError> {
        self.session.execute(sql).map(drop)
    }

    /// The rows of such a statement.
    pub(super) fn plain_rows(
        &mut self,
        sql: impl AsRef<[u8]>,
    ) -> Result<Vec<Cells>, DatabaseError> {
        self.session.rows(sql)
    }

    /// The transactions in the server's own log.
    pub(super) fn history(&mut self) -> Result<Coverage> {
        let failed = |error| Error::database("read the executed GTIDs of the target", error);
        let unexpected = |reason| failed(DatabaseError::Unexpected(reason));
        if self.setup.mariadb {
            let row = self.session.row("SELECT @@global.gtid_binlog_pos");
            let position: MariadbPosition =
                row.map_err(failed)?.string(0).parse().map_err(unexpected)?;
            return Ok(Coverage::Mariadb(position));
        }
        let row = self.session.row("SELECT @@global.gtid_executed");
        let set: GtidSet = row.map_err(failed)?.string(0).parse().map_err(unexpected)?;
        Ok(Coverage::Mysql(set))
    }

    /// Transactions in two phases that wait for the second.
    pub(super) fn unresolved(&mut self) -> Result<Vec<String>> {
        let failed = |error| Error::database("list prepared transactions", error);
        // Whoever prepared them must have gone for others to see them.
        self.prepared.clear();
        let unnumbered = set_if_known(&mut self.session, UNNUMBERED);
        unnumbered.map_err(failed)?;
        let xids = xa::prepared(&mut self.session).map_err(failed)?;
        let warn = |xid| {
            format!(
                "XA transaction {xid} is prepared but neither committed nor rolled back: end it with XA COMMIT or XA ROLLBACK"
            )
        };
        Ok(xids.into_iter().map(warn).collect())
    }

    /// Whether a table takes part in transactions. One that is not known will be missed when rows come.
    pub(super) fn is_transactional(&mut self, table: &MappedTable) -> Result<bool> {
        let sql = format!(
            "SELECT e.transactions FROM information_schema.tables t JOIN information_schema.engines e \
             ON e.engine = t.engine WHERE t.table_schema = CONVERT(X'{}' USING utf8mb4) \
             AND t.table_name = CONVERT(X'{}' USING utf8mb4)",
            hex::encode(&table.database),
            hex::encode(&table.name)
        );
        let rows = self
            .session
            .rows(sql)
            .map_err(|error| Error::database("look up the storage engine of a table", error))?;
        Ok(rows.first().is_none_or(|row| row.text(0) == Some("YES")))
    }

    /// Applies transactions of rows as one.
    pub(super) fn batch(&mut self, batch: &Batch, format: &Bytes, noted: &Noted) -> Result<()> {
        self.know(format)?;
        if !batch.bytes.is_empty() {
            let applied = self.session.execute(binlog("BEGIN;", &batch.bytes));
            if let Err(error) = applied {
                return Err(self.diagnose(batch, error));
            }
        }
        let note = format!("{};COMMIT", record::update(noted, None));
        self.session
            .execute(note)
            .map_err(|error| Error::database("write the replay checkpoint", error))?;
        Progress::add(&self.setup.progress.items, batch.members.len() as u64);
        Ok(())
    }

    /// Finds the transaction that the server refuses.
    fn diagnose(&mut self, batch: &Batch, error: DatabaseError) -> Error {
        if error.code().is_some() && self.plain("ROLLBACK").is_ok() && self.plain("BEGIN").is_ok() {
            for (ended, rows) in batch.parts().filter(|(_, rows)| !rows.is_empty()) {
                if let Err(error) = self.session.execute(binlog("", rows)) {
                    let name = named(&ended.gtid, Some(ended.committed));
                    drop(self.plain("ROLLBACK"));
                    return refused(name, tables_in(rows, &self.format), error);
                }
            }
            drop(self.plain("ROLLBACK"));
        }
        let ends = [batch.members.first(), batch.members.last()];
        let names = ends.into_iter().flatten();
        let names: Vec<String> = names
            .map(|member| named(&member.ended.gtid, Some(member.ended.committed)))
            .collect();
        refused(
            names.join(" to "),
            tables_in(&batch.bytes, &self.format),
            error,
        )
    }

    /// Applies transactions of rows, each under its number and when those that it depends on are there. The commit of
    /// one and the rows of the next are one packet, unless the next has to wait.
    pub(super) fn numbered(&mut self, run: &Run, order: &Order) -> Result<()> {
        let mut open = None;
        for (n, (about, rows)) in run.members.iter().enumerate() {
            self.know(&about.format)?;
            if let Some(before) = open.take_if(|open| !order.allows(about.after(), *open)) {
                if let Err(error) = self.session.execute("COMMIT") {
                    return self.one_by_one(run, order, (n - 1, n - 1), error);
                }
                order.land(before);
            }
            order.wait(about.after(), open.unwrap_or(about.place()))?;
            let commit = if open.is_some() { "COMMIT;" } else { "" };
            let begin = format!("{commit}{}BEGIN", self.identity(about));
            let applied = match rows.is_empty() {
                true => self.session.execute(begin),
                false => self.session.execute(binlog(&format!("{begin};"), rows)),
            };
            if let Err(error) = applied {
                let first = n - usize::from(open.is_some());
                return self.one_by_one(run, order, (first, n), error);
            }
            if let Some(before) = open.replace(about.place()) {
                order.land(before);
            }
        }
        if let Err(error) = self.session.execute("COMMIT") {
            let last = run.members.len().saturating_sub(1);
            return self.one_by_one(run, order, (last, last), error);
        }
        open.into_iter().for_each(|last| order.land(last));
        Progress::add(&self.setup.progress.items, run.members.len() as u64);
        Ok(())
    }

    /// Goes on where a packet failed, with the first transaction that it was to commit. If that was done, the server
    /// passes over it because of its number. MariaDB does not, but there nothing else is under way that could be in the way.
    fn one_by_one(
        &mut self,
        run: &Run,
        order: &Order,
        (first, refused): (usize, usize),
        error: DatabaseError,
    ) -> Result<()> {
        if error.code().is_none() || self.setup.mariadb {
            let (about, rows) = &run.members[refused];
            return Err(self.wrong(about, &tables_in(rows, &about.format), error));
        }
        for (about, rows) in run.members.iter().skip(first) {
            order.wait(about.after(), about.place())?;
            self.again(about, rows)?;
            order.land(about.place());
        }
        Progress::add(&self.setup.progress.items, run.members.len() as u64);
        Ok(())
    }

    /// Applies a transaction of rows under its number, once more if it lost against another one.
    fn again(&mut self, about: &About, rows: &[u8]) -> Result<()> {
        let begin = format!("{}BEGIN;", self.identity(about));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let rolled_back = self.plain("ROLLBACK");
            rolled_back.map_err(|error| self.wrong(about, "", error))?;
            let sql = match rows.is_empty() {
                true => begin.trim_end_matches(';').as_bytes().to_vec(),
                false => binlog(&begin, rows),
            };
            let applied = self.session.execute(sql);
            match applied.and_then(|_| self.session.execute("COMMIT")) {
                Ok(_) => return Ok(()),
                Err(DatabaseError::Server {
                    code: 1205 | 1213, ..
                }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => {
                    let tables = tables_in(rows, &about.format);
                    return Err(self.wrong(about, &tables, error));
                }
            }
        }
    }

    /// Begins a transaction that is applied step by step.
    pub(super) fn begin(&mut self, about: About) -> Result<()> {
        self.know(&about.format)?;
        self.done_before = false;
        self.prefix.clear();
        self.note(&about)
            .map_err(|error| self.wrong(&about, "writing the replay checkpoint", error))?;
        if let Some(xid) = &about.xid {
            self.begin_two_phases(&about, xid)?;
        } else {
            self.prefix = self.identity(&about);
            if about.group {
                self.prefix.push_str("BEGIN");
            }
        }
        self.about = Some(about);
        Ok(())
    }

    /// Notes what is about to be done, or finds out whether an interrupted attempt did it.
    fn note(&mut self, about: &About) -> Result<(), DatabaseError> {
        if self.setup.keeps_numbers() {
            return Ok(());
        }
        if let Some(pending) = &about.pending {
            self.done_before = match &pending.what {
                What::Definition(before) => match &about.alone {
                    Some(Alone::Definition(statement)) => {
                        interrupted::state(self, statement)? != *before
                    }
                    _ => false,
                },
                What::Prepare if about.xid.is_some() => self.is_prepared(about)?,
                What::Commit => true,
                _ => false,
            };
            return Ok(());
        }
        let what = match (&about.alone, &about.xid) {
            (_, Some(_)) => What::Prepare,
            (Some(Alone::Definition(statement)), None) => {
                What::Definition(interrupted::state(self, statement)?)
            }
            (Some(Alone::Rows), None) => What::Rows,
            (None, None) => return Ok(()),
        };
        self.announce(about, what)
    }

    fn announce(&mut self, about: &About, what: What) -> Result<(), DatabaseError> {
        let pending = Pending {
            transaction: named(&about.gtid, about.committed),
            number: about.number,
            what,
        };
        self.plain(record::announce(&pending))
    }

    fn is_prepared(&mut self, about: &About) -> Result<bool, DatabaseError> {
        let wanted = about.xid.as_deref().unwrap_or_default();
        let known = xa::prepared(&mut self.session)?;
        Ok(known.iter().any(|xid| xid.eq_ignore_ascii_case(wanted)))
    }

    fn begin_two_phases(&mut self, about: &About, xid: &str) -> Result<()> {
        if self.done_before {
            return Ok(());
        }
        let mut other = Self::open(&self.setup)?;
        other.know(&about.format)?;
        let identity = other.identity(about);
        let started = other.session.execute(format!("{identity}XA START {xid}"));
        started.map_err(|error| other.wrong(about, "", error))?;
        other.about = Some(about.clone());
        self.two_phase = Some(Box::new(other));
        Ok(())
    }

    /// Rows of the transaction that was begun.
    pub(super) fn rows(&mut self, rows: &[u8]) -> Result<()> {
        if self.done_before {
            return Ok(());
        }
        if let Some(other) = &mut self.two_phase {
            return other.rows(rows);
        }
        let mut prefix = std::mem::take(&mut self.prefix);
        if !prefix.is_empty() && !prefix.ends_with(';') {
            prefix.push(';');
        }
        match self.session.execute(binlog(&prefix, rows)) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&tables_in(rows, &self.format), error)),
        }
    }

    /// A statement of the transaction that was begun.
    pub(super) fn statement(&mut self, statement: &Statement) -> Result<()> {
        let left_out = self.setup.leave_accounts && statement.is_about_accounts();
        if self.done_before || left_out || statement.is_nothing_yet() {
            return Ok(());
        }
        if let Some(other) = &mut self.two_phase {
            return other.statement(statement);
        }
        let shown = shown(&statement.text);
        self.flush()?;
        let set = self.set(statement);
        set.map_err(|error| {
            self.failed(&format!("setting the session variables for {shown}"), error)
        })?;
        let result = self.of_its_own(statement);
        self.forget(statement);
        match (result, statement.error) {
            (Ok(()), 0) => {}
            (Err(error), expected) if expected != 0 && error.code() == Some(expected) => {}
            (Err(error), _)
                if self.was_interrupted() && interrupted::took_effect(statement, &error) =>
            {
                // Where a table and its rows are made at once, the rows are there too.
                self.done_before = !self.setup.mariadb;
            }
            (Err(error), _) if self.accounts_may_be_ahead(statement, &error) => {}
            (Err(error), _) => {
                self.withdraw(&error);
                return Err(self.failed(&shown, error));
            }
            (Ok(()), expected) => {
                let reason =
                    format!("it succeeded, but failed with error {expected} on the source");
                return Err(self.failed(&shown, DatabaseError::Unexpected(reason)));
            }
        }
        self.begin_again(statement)
    }

    /// Whether a statement about accounts fails because the snapshot, which reads them after the moment of its rows,
    /// has what it does already, or what was done later.
    fn accounts_may_be_ahead(&self, statement: &Statement, error: &DatabaseError) -> bool {
        let committed = self.about.as_ref().and_then(|about| about.committed);
        // What is made and is there already must be what the snapshot brought, not the target's own.
        let known = !statement.begins(&["CREATE"]) || statement.names_one_of(&self.setup.accounts);
        committed.is_some_and(|time| time <= self.setup.accounts_until)
            && known
            && statement.is_about_accounts()
            && interrupted::is_about_accounts(error)
    }

    /// A definition that the server refused did not take effect: the note of it must not say that it may have.
    fn withdraw(&mut self, error: &DatabaseError) {
        if self.setup.keeps_numbers() || !matches!(error, DatabaseError::Server { .. }) {
            return;
        }
        if let Err(error) = self.plain(record::withdraw()) {
            tracing::warn!(%error, "could not delete the record of a statement that the server rejected");
        }
    }

    /// A transaction in two phases that this one prepared can be ended by its own session alone.
    fn of_its_own(&mut self, statement: &Statement) -> Result<(), DatabaseError> {
        let text = String::from_utf8_lossy(&statement.text).into_owned();
        let ends = |word: &str| {
            text.trim()
                .strip_prefix(word)
                .map(str::trim)
                .map(str::to_owned)
        };
        let xid = ends("XA COMMIT").or_else(|| ends("XA ROLLBACK"));
        match xid.and_then(|xid| self.prepared.remove(&xid)) {
            Some(mut other) => {
                let prefix = self
                    .about
                    .as_ref()
                    .map(|about| other.identity(about))
                    .unwrap_or_default();
                other.plain(format!("{prefix}{text}"))
            }
            None => match self.plain(statement.runnable()) {
                // Not known: it was ended, and only the note of it is missing.
                Err(error) if error.code() == Some(1397) && self.was_interrupted() => Ok(()),
                result => result,
            },
        }
    }

    /// Of MariaDB, a definition in the middle of a transaction has committed it.
    fn begin_again(&mut self, statement: &Statement) -> Result<()> {
        let group = self.about.as_ref().is_some_and(|about| about.group);
        if self.setup.mariadb && group && statement.is_definition() {
            self.prefix = match self.about.clone() {
                Some(about) => format!("{}BEGIN", self.identity(&about)),
                None => String::new(),
            };
        }
        Ok(())
    }

    fn was_interrupted(&self) -> bool {
        let about = self.about.as_ref();
        about.is_some_and(|about| about.pending.is_some())
    }

    /// Ends the transaction that was begun.
    pub(super) fn end(&mut self, ending: Ending, noted: &Noted) -> Result<()> {
        let about = self.about.clone();
        if matches!(ending, Ending::Prepare | Ending::OnePhase) {
            self.end_two_phases(ending)?;
        } else if !self.done_before {
            self.flush()?;
        }
        let atomic = about.as_ref().is_some_and(|about| {
            let alone = match about.alone {
                None => false,
                Some(Alone::Rows) => true,
                Some(Alone::Definition(_)) => !self.setup.mariadb,
            };
            about.group && !alone && ending == Ending::Commit
        });
        let word = match ending {
            _ if self.done_before => "",
            Ending::Commit => "COMMIT",
            Ending::Rollback => "ROLLBACK",
            Ending::Itself | Ending::Prepare | Ending::OnePhase => "",
        };
        let note = record::update(noted, None);
        let sql = match (self.setup.keeps_numbers(), word) {
            (true, "") => String::new(),
            (true, word) => word.to_owned(),
            (false, "") => note,
            (false, word) if atomic => format!("{note};{word}"),
            (false, word) => format!("{word};{note}"),
        };
        if !sql.is_empty() {
            let ended = self.plain(sql);
            ended.map_err(|error| self.failed("ending the transaction", error))?;
        }
        self.about = None;
        Progress::add(&self.setup.progress.items, 1);
        Ok(())
    }

    fn end_two_phases(&mut self, ending: Ending) -> Result<()> {
        let Some(about) = self.about.clone() else {
            return Ok(());
        };
        let xid = about.xid.clone().unwrap_or_default();
        let Some(mut other) = self.two_phase.take() else {
            // An interrupted attempt prepared it; if that was not all, the rest is left to be done.
            let committed = matches!(&about.pending, Some(pending) if pending.what == What::Commit);
            if ending == Ending::OnePhase && (!committed || self.is_still_prepared(&about)?) {
                let done = self.plain(format!("XA COMMIT {xid}"));
                done.map_err(|error| self.failed("ending the transaction", error))?;
            }
            return Ok(());
        };
        other.flush()?;
        let end = |words: &str, other: &mut Self| {
            let done = other.plain(words);
            done.map_err(|error| other.failed("ending the transaction", error))
        };
        end(&format!("XA END {xid}"), &mut other)?;
        if ending == Ending::OnePhase && self.setup.keeps_numbers() {
            return end(&format!("XA COMMIT {xid} ONE PHASE"), &mut other);
        }
        end(&format!("XA PREPARE {xid}"), &mut other)?;
        if ending == Ending::Prepare {
            // Under a number of MySQL, whichever session has the number must end it.
            if !self.setup.keeps_numbers() || self.setup.mariadb {
                self.prepared.insert(xid, other);
            }
            return Ok(());
        }
        let noted = self.announce(&about, What::Commit);
        noted.map_err(|error| self.failed("writing the replay checkpoint", error))?;
        end(&format!("XA COMMIT {xid}"), &mut other)
    }

    /// Notes, in spite of what is open, that a table without transactions is changed in it too.
    pub(super) fn note_aside(&mut self) -> Result<()> {
        if let Some(about) = &self.about
            && !self.setup.keeps_numbers()
        {
            let noted = Self::open(&self.setup)?.announce(about, What::Rows);
            noted.map_err(|error| self.failed("writing the replay checkpoint", error))?;
        }
        Ok(())
    }

    fn is_still_prepared(&mut self, about: &About) -> Result<bool> {
        let prepared = self.is_prepared(about);
        prepared.map_err(|error| self.failed("checking whether it is prepared", error))
    }

    /// Gives up the transaction that was begun: it is behind the stop.
    pub(super) fn give_up(&mut self) -> Result<()> {
        self.prefix.clear();
        self.two_phase = None;
        let given_up = self.plain("ROLLBACK");
        given_up.map_err(|error| self.failed("ending the transaction", error))?;
        self.about = None;
        Ok(())
    }

    /// Sends what goes before the first step.
    fn flush(&mut self) -> Result<()> {
        let prefix = std::mem::take(&mut self.prefix);
        if prefix.is_empty() {
            return Ok(());
        }
        let sent = self.plain(prefix.trim_end_matches(';'));
        sent.map_err(|error| self.failed("starting the transaction", error))
    }

    /// Tells the server what events look like, which it must know before any rows.
    fn know(&mut self, format: &Bytes) -> Result<()> {
        if self.format == *format || format.is_empty() {
            return Ok(());
        }
        // Where transactions have numbers, the server waits for one, before as after.
        let told = set_if_known(&mut self.session, UNNUMBERED)
            .and_then(|_| self.session.execute(binlog("", format)))
            .and_then(|_| set_if_known(&mut self.session, UNNUMBERED));
        told.map_err(|error| Error::database("send the binary log format to the target", error))?;
        self.format = format.clone();
        Ok(())
    }

    /// What gives a transaction its number.
    fn identity(&self, about: &About) -> String {
        if !self.setup.keeps_numbers() {
            return String::new();
        }
        if let Gtid::Mariadb {
            domain,
            server,
            sequence,
        } = about.gtid
        {
            return format!(
                "SET @@session.gtid_domain_id={domain},@@session.server_id={server},@@session.gtid_seq_no={sequence};"
            );
        }
        let mut set = String::new();
        if let Some(start) = &about.start {
            if let Some(time) = start.originally_committed {
                set.push_str(&format!("@@session.original_commit_timestamp={time},"));
            }
            if let (Some(original), Some(immediate)) =
                (start.original_version, start.immediate_version)
            {
                set.push_str(&format!(
                    "@@session.original_server_version={original},@@session.immediate_server_version={immediate},"
                ));
            }
        }
        let number = match &about.gtid {
            Gtid::Anonymous => "ANONYMOUS".to_owned(),
            gtid => gtid.to_string(),
        };
        format!("SET {set}@@session.gtid_next='{number}';")
    }

    /// Gives the session the settings of a statement, those that it does not have.
    fn set(&mut self, statement: &Statement) -> Result<(), DatabaseError> {
        let wrong = DatabaseError::Unexpected;
        let wanted = statement::assignments(statement, self.setup.mariadb, &self.setup.collations)
            .map_err(wrong)?;
        self.use_database(statement)?;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (name, value) in &wanted {
            if self.settings.get(name) != Some(value) {
                parts.push(format!("@@session.{name}={value}").into_bytes());
            }
        }
        for variable in &statement.variables {
            let part = statement::variable(variable, &self.setup.collations).map_err(wrong)?;
            if !part.is_ascii() {
                self.unicode()?;
            }
            parts.push(part);
        }
        if !parts.is_empty() {
            self.plain([&b"SET "[..], &parts.join(&b","[..])].concat())?;
        }
        self.settings.extend(wanted);
        Ok(())
    }

    fn use_database(&mut self, statement: &Statement) -> Result<(), DatabaseError> {
        let Some(database) = &statement.database else {
            return Ok(());
        };
        if self.database.as_ref() == Some(database) {
            return Ok(());
        }
        if !database.is_ascii() {
            self.unicode()?;
        }
        let name = String::from_utf8_lossy(database).replace('`', "``");
        self.plain(format!("USE `{name}`"))?;
        self.database = Some(database.clone());
        // It has changed with the database.
        self.settings.remove("collation_database");
        Ok(())
    }

    /// Lets the session read names as they are in the log.
    fn unicode(&mut self) -> Result<(), DatabaseError> {
        self.settings.remove("character_set_client");
        self.plain("SET @@session.character_set_client=utf8mb4")
    }

    /// What a statement may have changed of the session.
    fn forget(&mut self, statement: &Statement) {
        if statement.of_database || statement.is_definition() {
            self.database = None;
            self.settings.remove("collation_database");
        }
    }

    fn failed(&self, what: &str, error: DatabaseError) -> Error {
        match &self.about {
            Some(about) => self.wrong(about, what, error),
            None => Error::database(format!("apply {what}"), error),
        }
    }

    fn wrong(&self, about: &About, what: &str, error: DatabaseError) -> Error {
        refused(named(&about.gtid, about.committed), what.to_owned(), error)
    }
}

fn refused(transaction: String, what: String, source: DatabaseError) -> Error {
    match source {
        DatabaseError::Interrupted => reprise_repository::Error::Interrupted.into(),
        source => Error::Replay {
            transaction,
            what,
            source,
        },
    }
}

/// Events as a statement, behind others: it must be the last one of a packet.
fn binlog(prefix: &str, events: &[u8]) -> Vec<u8> {
    let mut sql = Vec::with_capacity(prefix.len() + events.len() / 3 * 4 + 16);
    sql.extend_from_slice(prefix.as_bytes());
    sql.extend_from_slice(b"BINLOG '");
    let begin = sql.len();
    sql.resize(begin + events.len().div_ceil(3) * 4, 0);
    // The room is exactly what it takes.
    let written = STANDARD
        .encode_slice(events, &mut sql[begin..])
        .unwrap_or(0);
    sql.truncate(begin + written);
    sql.push(b'\'');
    sql
}

/// The tables of some rows, for whoever reads of them.
fn tables_in(rows: &[u8], format: &Bytes) -> String {
    let checked = Format::parse(format).is_some_and(|format| format.checked);
    let mut events = Events::new(rows, checked);
    let mut names: Vec<String> = Vec::new();
    while let Ok(Some(event)) = events.next_event() {
        if event.kind() == kind::TABLE_MAP
            && let Ok(table) = MappedTable::of(&event)
        {
            let part = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            let name = format!("{}.{}", part(&table.database), part(&table.name));
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    format!("rows of {}", names.join(", "))
}

/// The beginning of a statement.
fn shown(text: &[u8]) -> String {
    const LENGTH: usize = 200;
    let whole = String::from_utf8_lossy(text);
    let end = whole.floor_char_boundary(LENGTH);
    let more = if end < whole.len() { "…" } else { "" };
    format!("`{}{more}`", &whole[..end])
}
