//! A session that applies: it keeps the settings that it was given, and knows what it is doing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reprise_repository::Progress;
use reprise_snapshotters::mysql::binlog::{
    EventReader, FormatDescription, Gtid, GtidSet, MappedTable, MariadbPosition, TransactionStart,
    kind,
};
use reprise_snapshotters::mysql::{
    Address, Bytes, DatabaseError, Session, TextRow, try_set_variable,
};

use super::batch::{GtidBatch, MergedBatch};
use super::commit_order::CommitOrder;
use super::pending_change::{self, PendingChange, PendingChangeKind};
use super::replay_progress::ReplayCheckpoint;
use super::statement::{self, LoggedStatement};
use super::{ExecutedSet, ReplayMode, ReplayOptions, checkpoint, describe_transaction};
use crate::error::{Error, Result};
use crate::mysql::xa;

/// What every session of a replay needs.
const REQUIRED_SETTINGS: [&str; 3] = [
    "SET SESSION autocommit = 1",
    "SET SESSION completion_type = 0",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// What it needs where the server knows it and lets this account set it.
const OPTIONAL_SETTINGS: [&str; 14] = [
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
    AUTOMATIC_GTID,
];

/// Where transactions have numbers, the server waits for one after another was used.
const AUTOMATIC_GTID: &str = "SET SESSION gtid_next = 'AUTOMATIC'";

/// So much of a packet is not for rows, in bytes.
const PACKET_OVERHEAD: usize = 16 << 10;

/// Rows go to the server in pieces of this size, in bytes, if it takes such.
const ROW_PART_BYTES: usize = 6 << 20;

/// So often a transaction that lost against another one is applied again.
const ATTEMPTS_MAX: usize = 10;

/// What all sessions have in common.
#[derive(Debug)]
pub(super) struct ApplierConfig {
    address: Address,
    progress: Arc<Progress>,
    pub(super) mariadb: bool,
    accounts_until: u64,
    accounts: Vec<String>,
    skip_account_changes: bool,
    mode: ReplayMode,
    write_binlog: bool,
    /// Character set and name of each collation.
    collations: HashMap<u32, (String, String)>,
    /// The settings that a session has to begin with and that not everyone may set.
    initial_settings: Vec<(&'static str, String)>,
    /// The largest event that the server takes.
    pub(super) event_bytes_max: usize,
}

impl ApplierConfig {
    /// Asks the server what it is.
    pub(super) fn query_server(replay: &ReplayOptions<'_>) -> Result<Self> {
        let failed = |error| Error::from_database(format!("connect to {}", replay.address), error);
        let mut session = Session::open(replay.address, replay.progress).map_err(failed)?;
        let version = session
            .query_row("SELECT VERSION()")
            .map_err(failed)?
            .string(0);
        let mariadb = version.to_ascii_lowercase().contains("mariadb");
        let packet: usize = session
            .query_row("SELECT @@session.max_allowed_packet")
            .map_err(failed)?
            .number(0)
            .unwrap_or(1 << 20);
        let mut initial = Vec::new();
        for name in [
            "default_table_encryption",
            "explicit_defaults_for_timestamp",
        ] {
            if let Ok(row) = session.query_row(format!("SELECT @@session.{name}")) {
                initial.push((name, row.string(0)));
            }
        }
        let collations = load_collations(&mut session, mariadb).map_err(failed)?;
        Ok(Self {
            address: replay.address.clone(),
            progress: Arc::clone(replay.progress),
            mariadb,
            accounts_until: replay.accounts_until,
            accounts: replay.accounts.to_vec(),
            skip_account_changes: replay.skip_account_changes,
            mode: replay.mode,
            write_binlog: replay.write_binlog,
            collations,
            initial_settings: initial,
            event_bytes_max: packet.saturating_sub(PACKET_OVERHEAD) / 4 * 3,
        })
    }

    /// How long a piece of rows may become.
    pub(super) fn row_part_bytes(&self) -> usize {
        ROW_PART_BYTES.min(self.event_bytes_max)
    }

    /// Whether transactions keep their numbers.
    pub(super) fn keeps_gtids(&self) -> bool {
        self.mode == ReplayMode::KeepGtids
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

fn load_collations(
    session: &mut Session,
    mariadb: bool,
) -> Result<HashMap<u32, (String, String)>, DatabaseError> {
    let newer = "SELECT id, character_set_name, full_collation_name FROM information_schema.collation_character_set_applicability";
    let older = "SELECT id, character_set_name, collation_name FROM information_schema.collations";
    let mut rows = Vec::new();
    if mariadb {
        rows = match session.query_rows(newer) {
            Err(DatabaseError::Server { .. }) => Vec::new(),
            rows => rows?,
        };
    }
    if rows.is_empty() {
        rows = session.query_rows(older)?;
    }
    let named = |row: &TextRow| Some((row.number(0)?, (row.string(1), row.string(2))));
    Ok(rows.iter().filter_map(named).collect())
}

/// A transaction, before it is applied.
#[derive(Debug, Clone)]
pub(super) struct TransactionContext {
    pub(super) gtid: Gtid,
    pub(super) committed: Option<u64>,
    /// What the log says of it.
    pub(super) start: Option<TransactionStart>,
    /// Its place in the events.
    pub(super) index: u64,
    /// The format of its events.
    pub(super) format: Bytes,
    /// Whether it has a begin and a commit.
    pub(super) group: bool,
    /// What of it cannot share a transaction with the record.
    pub(super) non_atomic: Option<NonAtomicStatement>,
    /// Its name, if it is one in two phases.
    pub(super) xid: Option<String>,
    /// What an interrupted attempt noted of it.
    pub(super) pending: Option<PendingChange>,
}

impl TransactionContext {
    /// Its place in the order of commits; 0 when the log does not tell.
    pub(super) fn sequence_number(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.sequence_number)
    }

    /// The place up to which everything must be there before it.
    pub(super) fn last_committed(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.last_committed)
    }
}

/// Why something cannot share a transaction with the record.
#[derive(Debug, Clone)]
pub(super) enum NonAtomicStatement {
    /// It is a definition.
    Ddl(Box<LoggedStatement>),
    /// A table has no transactions.
    NontransactionalRows,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransactionEnding {
    Commit,
    Rollback,
    /// It is a single statement.
    Autocommit,
    /// The first phase is over.
    Prepare,
    /// Both phases are over.
    OnePhase,
}

/// A session, and what it is doing.
#[derive(Debug)]
pub(super) struct ApplierSession {
    session: Session,
    config: Arc<ApplierConfig>,
    settings: BTreeMap<&'static str, String>,
    database: Option<Vec<u8>>,
    format: Bytes,
    transaction: Option<TransactionContext>,
    /// What goes before the first step of a transaction.
    prefix: String,
    /// An interrupted attempt had done it.
    already_applied: bool,
    /// The session of the transaction in two phases that is under way.
    xa_session: Option<Box<Self>>,
    /// Sessions of those that are prepared. Some servers let no other one commit them.
    prepared_sessions: HashMap<String, Box<Self>>,
}

impl ApplierSession {
    pub(super) fn open(setup: &Arc<ApplierConfig>) -> Result<Self> {
        let open = || {
            let mut session = Session::open(&setup.address, &setup.progress)?;
            for statement in REQUIRED_SETTINGS {
                session.execute(statement)?;
            }
            for statement in OPTIONAL_SETTINGS {
                try_set_variable(&mut session, statement)?;
            }
            if setup.mode == ReplayMode::Merged && !setup.write_binlog {
                try_set_variable(&mut session, "SET SESSION sql_log_bin = 0")?;
            }
            Ok(session)
        };
        let failed = |error| Error::from_database(format!("connect to {}", setup.address), error);
        Ok(Self {
            session: open().map_err(failed)?,
            config: Arc::clone(setup),
            settings: setup.initial_settings.iter().cloned().collect(),
            database: None,
            format: Bytes::new(),
            transaction: None,
            prefix: String::new(),
            already_applied: false,
            xa_session: None,
            prepared_sessions: HashMap::new(),
        })
    }

    pub(super) fn is_mariadb(&self) -> bool {
        self.config.mariadb
    }

    /// Runs a statement that means the same under all settings.
    pub(super) fn execute_plain(&mut self, sql: impl AsRef<[u8]>) -> Result<(), DatabaseError> {
        self.session.execute(sql).map(drop)
    }

    /// The rows of such a statement.
    pub(super) fn query_plain(
        &mut self,
        sql: impl AsRef<[u8]>,
    ) -> Result<Vec<TextRow>, DatabaseError> {
        self.session.query_rows(sql)
    }

    /// The transactions in the server's own log.
    pub(super) fn executed_set(&mut self) -> Result<ExecutedSet> {
        let failed = |error| Error::from_database("read the executed GTIDs of the target", error);
        let unexpected = |reason| failed(DatabaseError::UnexpectedResponse(reason));
        if self.config.mariadb {
            let row = self.session.query_row("SELECT @@global.gtid_binlog_pos");
            let position: MariadbPosition =
                row.map_err(failed)?.string(0).parse().map_err(unexpected)?;
            return Ok(ExecutedSet::Mariadb(position));
        }
        let row = self.session.query_row("SELECT @@global.gtid_executed");
        let set: GtidSet = row.map_err(failed)?.string(0).parse().map_err(unexpected)?;
        Ok(ExecutedSet::Mysql(set))
    }

    /// Transactions in two phases that wait for the second.
    pub(super) fn prepared_warnings(&mut self) -> Result<Vec<String>> {
        let failed = |error| Error::from_database("list prepared transactions", error);
        // Whoever prepared them must have gone for others to see them.
        self.prepared_sessions.clear();
        let unnumbered = try_set_variable(&mut self.session, AUTOMATIC_GTID);
        unnumbered.map_err(failed)?;
        let xids = xa::prepared_transactions(&mut self.session).map_err(failed)?;
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
        let rows = self.session.query_rows(sql).map_err(|error| {
            Error::from_database("look up the storage engine of a table", error)
        })?;
        Ok(rows.first().is_none_or(|row| row.text(0) == Some("YES")))
    }

    /// Applies transactions of rows as one.
    pub(super) fn apply_batch(
        &mut self,
        batch: &MergedBatch,
        format: &Bytes,
        noted: &ReplayCheckpoint,
    ) -> Result<()> {
        self.set_format(format)?;
        if !batch.bytes.is_empty() {
            let applied = self
                .session
                .execute(binlog_statement("BEGIN;", &batch.bytes));
            if let Err(error) = applied {
                return Err(self.find_failing_transaction(batch, error));
            }
        }
        let note = format!("{};COMMIT", checkpoint::update_statement(noted, None));
        self.session
            .execute(note)
            .map_err(|error| Error::from_database("write the replay checkpoint", error))?;
        Progress::add(&self.config.progress.items, batch.members.len() as u64);
        Ok(())
    }

    /// Finds the transaction that the server refuses.
    fn find_failing_transaction(&mut self, batch: &MergedBatch, error: DatabaseError) -> Error {
        if error.code().is_some()
            && self.execute_plain("ROLLBACK").is_ok()
            && self.execute_plain("BEGIN").is_ok()
        {
            for (ended, rows) in batch.transactions().filter(|(_, rows)| !rows.is_empty()) {
                if let Err(error) = self.session.execute(binlog_statement("", rows)) {
                    let name = describe_transaction(&ended.gtid, Some(ended.committed));
                    drop(self.execute_plain("ROLLBACK"));
                    return replay_error(name, describe_row_tables(rows, &self.format), error);
                }
            }
            drop(self.execute_plain("ROLLBACK"));
        }
        let ends = [batch.members.first(), batch.members.last()];
        let names = ends.into_iter().flatten();
        let names: Vec<String> = names
            .map(|member| describe_transaction(&member.ended.gtid, Some(member.ended.committed)))
            .collect();
        replay_error(
            names.join(" to "),
            describe_row_tables(&batch.bytes, &self.format),
            error,
        )
    }

    /// Applies transactions of rows, each under its number and when those that it depends on are there. The commit of
    /// one and the rows of the next are one packet, unless the next has to wait.
    pub(super) fn apply_gtid_batch(&mut self, run: &GtidBatch, order: &CommitOrder) -> Result<()> {
        let mut open = None;
        for (n, (about, rows)) in run.members.iter().enumerate() {
            self.set_format(&about.format)?;
            if let Some(before) =
                open.take_if(|open| !order.can_start(about.last_committed(), *open))
            {
                if let Err(error) = self.session.execute("COMMIT") {
                    return self.apply_one_by_one(run, order, (n - 1, n - 1), error);
                }
                order.mark_applied(before);
            }
            order.wait_for_dependencies(
                about.last_committed(),
                open.unwrap_or(about.sequence_number()),
            )?;
            let commit = if open.is_some() { "COMMIT;" } else { "" };
            let begin = format!("{commit}{}BEGIN", self.gtid_assignment(about));
            let applied = match rows.is_empty() {
                true => self.session.execute(begin),
                false => self
                    .session
                    .execute(binlog_statement(&format!("{begin};"), rows)),
            };
            if let Err(error) = applied {
                let first = n - usize::from(open.is_some());
                return self.apply_one_by_one(run, order, (first, n), error);
            }
            if let Some(before) = open.replace(about.sequence_number()) {
                order.mark_applied(before);
            }
        }
        if let Err(error) = self.session.execute("COMMIT") {
            let last = run.members.len().saturating_sub(1);
            return self.apply_one_by_one(run, order, (last, last), error);
        }
        open.into_iter().for_each(|last| order.mark_applied(last));
        Progress::add(&self.config.progress.items, run.members.len() as u64);
        Ok(())
    }

    /// Goes on where a packet failed, with the first transaction that it was to commit. If that was done, the server
    /// passes over it because of its number. MariaDB does not, but there nothing else is under way that could be in the way.
    fn apply_one_by_one(
        &mut self,
        run: &GtidBatch,
        order: &CommitOrder,
        (first, refused): (usize, usize),
        error: DatabaseError,
    ) -> Result<()> {
        if error.code().is_none() || self.config.mariadb {
            let (about, rows) = &run.members[refused];
            return Err(self.transaction_error(
                about,
                &describe_row_tables(rows, &about.format),
                error,
            ));
        }
        for (about, rows) in run.members.iter().skip(first) {
            order.wait_for_dependencies(about.last_committed(), about.sequence_number())?;
            self.apply_with_retries(about, rows)?;
            order.mark_applied(about.sequence_number());
        }
        Progress::add(&self.config.progress.items, run.members.len() as u64);
        Ok(())
    }

    /// Applies a transaction of rows under its number, once more if it lost against another one.
    fn apply_with_retries(&mut self, about: &TransactionContext, rows: &[u8]) -> Result<()> {
        let begin = format!("{}BEGIN;", self.gtid_assignment(about));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let rolled_back = self.execute_plain("ROLLBACK");
            rolled_back.map_err(|error| self.transaction_error(about, "", error))?;
            let sql = match rows.is_empty() {
                true => begin.trim_end_matches(';').as_bytes().to_vec(),
                false => binlog_statement(&begin, rows),
            };
            let applied = self.session.execute(sql);
            match applied.and_then(|_| self.session.execute("COMMIT")) {
                Ok(_) => return Ok(()),
                Err(DatabaseError::Server {
                    code: 1205 | 1213, ..
                }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => {
                    let tables = describe_row_tables(rows, &about.format);
                    return Err(self.transaction_error(about, &tables, error));
                }
            }
        }
    }

    /// Begins a transaction that is applied step by step.
    pub(super) fn begin_transaction(&mut self, about: TransactionContext) -> Result<()> {
        self.set_format(&about.format)?;
        self.already_applied = false;
        self.prefix.clear();
        self.check_pending(&about).map_err(|error| {
            self.transaction_error(&about, "writing the replay checkpoint", error)
        })?;
        if let Some(xid) = &about.xid {
            self.begin_xa(&about, xid)?;
        } else {
            self.prefix = self.gtid_assignment(&about);
            if about.group {
                self.prefix.push_str("BEGIN");
            }
        }
        self.transaction = Some(about);
        Ok(())
    }

    /// Notes what is about to be done, or finds out whether an interrupted attempt did it.
    fn check_pending(&mut self, about: &TransactionContext) -> Result<(), DatabaseError> {
        if self.config.keeps_gtids() {
            return Ok(());
        }
        if let Some(pending) = &about.pending {
            self.already_applied = match &pending.what {
                PendingChangeKind::Definition(before) => match &about.non_atomic {
                    Some(NonAtomicStatement::Ddl(statement)) => {
                        pending_change::table_digests(self, statement)? != *before
                    }
                    _ => false,
                },
                PendingChangeKind::Prepare if about.xid.is_some() => self.is_prepared(about)?,
                PendingChangeKind::Commit => true,
                _ => false,
            };
            return Ok(());
        }
        let what = match (&about.non_atomic, &about.xid) {
            (_, Some(_)) => PendingChangeKind::Prepare,
            (Some(NonAtomicStatement::Ddl(statement)), None) => {
                PendingChangeKind::Definition(pending_change::table_digests(self, statement)?)
            }
            (Some(NonAtomicStatement::NontransactionalRows), None) => PendingChangeKind::Rows,
            (None, None) => return Ok(()),
        };
        self.record_pending(about, what)
    }

    fn record_pending(
        &mut self,
        about: &TransactionContext,
        what: PendingChangeKind,
    ) -> Result<(), DatabaseError> {
        let pending = PendingChange {
            transaction: describe_transaction(&about.gtid, about.committed),
            number: about.index,
            what,
        };
        self.execute_plain(checkpoint::set_pending_statement(&pending))
    }

    fn is_prepared(&mut self, about: &TransactionContext) -> Result<bool, DatabaseError> {
        let wanted = about.xid.as_deref().unwrap_or_default();
        let known = xa::prepared_transactions(&mut self.session)?;
        Ok(known.iter().any(|xid| xid.eq_ignore_ascii_case(wanted)))
    }

    fn begin_xa(&mut self, about: &TransactionContext, xid: &str) -> Result<()> {
        if self.already_applied {
            return Ok(());
        }
        let mut other = Self::open(&self.config)?;
        other.set_format(&about.format)?;
        let identity = other.gtid_assignment(about);
        let started = other.session.execute(format!("{identity}XA START {xid}"));
        started.map_err(|error| other.transaction_error(about, "", error))?;
        other.transaction = Some(about.clone());
        self.xa_session = Some(Box::new(other));
        Ok(())
    }

    /// Rows of the transaction that was begun.
    pub(super) fn apply_rows(&mut self, rows: &[u8]) -> Result<()> {
        if self.already_applied {
            return Ok(());
        }
        if let Some(other) = &mut self.xa_session {
            return other.apply_rows(rows);
        }
        let mut prefix = std::mem::take(&mut self.prefix);
        if !prefix.is_empty() && !prefix.ends_with(';') {
            prefix.push(';');
        }
        match self.session.execute(binlog_statement(&prefix, rows)) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.step_error(&describe_row_tables(rows, &self.format), error)),
        }
    }

    /// A statement of the transaction that was begun.
    pub(super) fn apply_statement(&mut self, statement: &LoggedStatement) -> Result<()> {
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
                // Where a table and its rows are made at once, the rows are there too.
                self.already_applied = !self.config.mariadb;
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

    /// Whether a statement about accounts fails because the snapshot, which reads them after the moment of its rows,
    /// has what it does already, or what was done later.
    fn accounts_may_be_ahead(&self, statement: &LoggedStatement, error: &DatabaseError) -> bool {
        let committed = self.transaction.as_ref().and_then(|about| about.committed);
        // What is made and is there already must be what the snapshot brought, not the target's own.
        let known =
            !statement.starts_with(&["CREATE"]) || statement.mentions_any(&self.config.accounts);
        committed.is_some_and(|time| time <= self.config.accounts_until)
            && known
            && statement.is_about_accounts()
            && pending_change::is_account_error(error)
    }

    /// A definition that the server refused did not take effect: the note of it must not say that it may have.
    fn clear_pending(&mut self, error: &DatabaseError) {
        if self.config.keeps_gtids() || !matches!(error, DatabaseError::Server { .. }) {
            return;
        }
        if let Err(error) = self.execute_plain(checkpoint::clear_pending_statement()) {
            tracing::warn!(%error, "could not delete the record of a statement that the server rejected");
        }
    }

    /// A transaction in two phases that this one prepared can be ended by its own session alone.
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
                // Not known: it was ended, and only the note of it is missing.
                Err(error) if error.code() == Some(1397) && self.was_interrupted() => Ok(()),
                result => result,
            },
        }
    }

    /// Of MariaDB, a definition in the middle of a transaction has committed it.
    fn restart_after_ddl(&mut self, statement: &LoggedStatement) -> Result<()> {
        let group = self.transaction.as_ref().is_some_and(|about| about.group);
        if self.config.mariadb && group && statement.is_ddl() {
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

    /// Ends the transaction that was begun.
    pub(super) fn end_transaction(
        &mut self,
        ending: TransactionEnding,
        noted: &ReplayCheckpoint,
    ) -> Result<()> {
        let about = self.transaction.clone();
        if matches!(
            ending,
            TransactionEnding::Prepare | TransactionEnding::OnePhase
        ) {
            self.end_xa(ending)?;
        } else if !self.already_applied {
            self.send_prefix()?;
        }
        let atomic = about.as_ref().is_some_and(|about| {
            let alone = match about.non_atomic {
                None => false,
                Some(NonAtomicStatement::NontransactionalRows) => true,
                Some(NonAtomicStatement::Ddl(_)) => !self.config.mariadb,
            };
            about.group && !alone && ending == TransactionEnding::Commit
        });
        let word = match ending {
            _ if self.already_applied => "",
            TransactionEnding::Commit => "COMMIT",
            TransactionEnding::Rollback => "ROLLBACK",
            TransactionEnding::Autocommit
            | TransactionEnding::Prepare
            | TransactionEnding::OnePhase => "",
        };
        let note = checkpoint::update_statement(noted, None);
        let sql = match (self.config.keeps_gtids(), word) {
            (true, "") => String::new(),
            (true, word) => word.to_owned(),
            (false, "") => note,
            (false, word) if atomic => format!("{note};{word}"),
            (false, word) => format!("{word};{note}"),
        };
        if !sql.is_empty() {
            let ended = self.execute_plain(sql);
            ended.map_err(|error| self.step_error("ending the transaction", error))?;
        }
        self.transaction = None;
        Progress::add(&self.config.progress.items, 1);
        Ok(())
    }

    fn end_xa(&mut self, ending: TransactionEnding) -> Result<()> {
        let Some(about) = self.transaction.clone() else {
            return Ok(());
        };
        let xid = about.xid.clone().unwrap_or_default();
        let Some(mut other) = self.xa_session.take() else {
            // An interrupted attempt prepared it; if that was not all, the rest is left to be done.
            let committed = matches!(&about.pending, Some(pending) if pending.what == PendingChangeKind::Commit);
            if ending == TransactionEnding::OnePhase
                && (!committed || self.is_still_prepared(&about)?)
            {
                let done = self.execute_plain(format!("XA COMMIT {xid}"));
                done.map_err(|error| self.step_error("ending the transaction", error))?;
            }
            return Ok(());
        };
        other.send_prefix()?;
        let end = |words: &str, other: &mut Self| {
            let done = other.execute_plain(words);
            done.map_err(|error| other.step_error("ending the transaction", error))
        };
        end(&format!("XA END {xid}"), &mut other)?;
        if ending == TransactionEnding::OnePhase && self.config.keeps_gtids() {
            return end(&format!("XA COMMIT {xid} ONE PHASE"), &mut other);
        }
        end(&format!("XA PREPARE {xid}"), &mut other)?;
        if ending == TransactionEnding::Prepare {
            // Under a number of MySQL, whichever session has the number must end it.
            if !self.config.keeps_gtids() || self.config.mariadb {
                self.prepared_sessions.insert(xid, other);
            }
            return Ok(());
        }
        let noted = self.record_pending(&about, PendingChangeKind::Commit);
        noted.map_err(|error| self.step_error("writing the replay checkpoint", error))?;
        end(&format!("XA COMMIT {xid}"), &mut other)
    }

    /// Notes, in spite of what is open, that a table without transactions is changed in it too.
    pub(super) fn record_nontransactional(&mut self) -> Result<()> {
        if let Some(about) = &self.transaction
            && !self.config.keeps_gtids()
        {
            let noted = Self::open(&self.config)?.record_pending(about, PendingChangeKind::Rows);
            noted.map_err(|error| self.step_error("writing the replay checkpoint", error))?;
        }
        Ok(())
    }

    fn is_still_prepared(&mut self, about: &TransactionContext) -> Result<bool> {
        let prepared = self.is_prepared(about);
        prepared.map_err(|error| self.step_error("checking whether it is prepared", error))
    }

    /// Gives up the transaction that was begun: it is behind the stop.
    pub(super) fn roll_back(&mut self) -> Result<()> {
        self.prefix.clear();
        self.xa_session = None;
        let given_up = self.execute_plain("ROLLBACK");
        given_up.map_err(|error| self.step_error("ending the transaction", error))?;
        self.transaction = None;
        Ok(())
    }

    /// Sends what goes before the first step.
    fn send_prefix(&mut self) -> Result<()> {
        let prefix = std::mem::take(&mut self.prefix);
        if prefix.is_empty() {
            return Ok(());
        }
        let sent = self.execute_plain(prefix.trim_end_matches(';'));
        sent.map_err(|error| self.step_error("starting the transaction", error))
    }

    /// Tells the server what events look like, which it must know before any rows.
    fn set_format(&mut self, format: &Bytes) -> Result<()> {
        if self.format == *format || format.is_empty() {
            return Ok(());
        }
        // Where transactions have numbers, the server waits for one, before as after.
        let told = try_set_variable(&mut self.session, AUTOMATIC_GTID)
            .and_then(|_| self.session.execute(binlog_statement("", format)))
            .and_then(|_| try_set_variable(&mut self.session, AUTOMATIC_GTID));
        told.map_err(|error| {
            Error::from_database("send the binary log format to the target", error)
        })?;
        self.format = format.clone();
        Ok(())
    }

    /// What gives a transaction its number.
    fn gtid_assignment(&self, about: &TransactionContext) -> String {
        if !self.config.keeps_gtids() {
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
    fn apply_settings(&mut self, statement: &LoggedStatement) -> Result<(), DatabaseError> {
        let wrong = DatabaseError::UnexpectedResponse;
        let wanted =
            statement::session_assignments(statement, self.config.mariadb, &self.config.collations)
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

    /// Lets the session read names as they are in the log.
    fn use_utf8mb4(&mut self) -> Result<(), DatabaseError> {
        self.settings.remove("character_set_client");
        self.execute_plain("SET @@session.character_set_client=utf8mb4")
    }

    /// What a statement may have changed of the session.
    fn invalidate_database(&mut self, statement: &LoggedStatement) {
        if statement.is_database_ddl || statement.is_ddl() {
            self.database = None;
            self.settings.remove("collation_database");
        }
    }

    fn step_error(&self, what: &str, error: DatabaseError) -> Error {
        match &self.transaction {
            Some(about) => self.transaction_error(about, what, error),
            None => Error::from_database(format!("apply {what}"), error),
        }
    }

    fn transaction_error(
        &self,
        about: &TransactionContext,
        what: &str,
        error: DatabaseError,
    ) -> Error {
        replay_error(
            describe_transaction(&about.gtid, about.committed),
            what.to_owned(),
            error,
        )
    }
}

fn replay_error(transaction: String, what: String, source: DatabaseError) -> Error {
    match source {
        DatabaseError::Interrupted => reprise_repository::Error::Interrupted.into(),
        source => Error::TransactionFailed {
            transaction,
            what,
            source,
        },
    }
}

/// Events as a statement, behind others: it must be the last one of a packet.
fn binlog_statement(prefix: &str, events: &[u8]) -> Vec<u8> {
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
fn describe_row_tables(rows: &[u8], format: &Bytes) -> String {
    let checked = FormatDescription::parse(format).is_some_and(|format| format.has_checksums);
    let mut events = EventReader::new(rows, checked);
    let mut names: Vec<String> = Vec::new();
    while let Ok(Some(event)) = events.next_event() {
        if event.kind() == kind::TABLE_MAP
            && let Ok(table) = MappedTable::from_event(&event)
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
fn format_statement(text: &[u8]) -> String {
    const LENGTH: usize = 200;
    let whole = String::from_utf8_lossy(text);
    let end = whole.floor_char_boundary(LENGTH);
    let more = if end < whole.len() { "…" } else { "" };
    format!("`{}{more}`", &whole[..end])
}
