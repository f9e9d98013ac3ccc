//! An applier session: it keeps the settings that it was given, and its transaction context.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reprise_mysql::Flavour;
use reprise_mysql::binlog::{
    EventReader, FormatDescription, Gtid, GtidSet, MappedTable, MariadbPosition, TransactionStart,
    kind,
};
use reprise_mysql::{Address, Bytes, DatabaseError, Session, TextRow, try_set_variable};
use reprise_repository::Progress;

use crate::error::{Error, Result};
use crate::mysql::replay::applier::commit_order::CommitOrder;
use crate::mysql::replay::batch::{GtidBatch, MergedBatch};
use crate::mysql::replay::pending_change::{self, PendingChange, PendingChangeKind};
use crate::mysql::replay::replay_progress::ReplayCheckpoint;
use crate::mysql::replay::statement::{self, LoggedStatement};
use crate::mysql::replay::xa;
use crate::mysql::replay::{
    ExecutedSet, ReplayMode, ReplayOptions, checkpoint, describe_transaction,
};

/// Settings that every session of a replay needs.
const REQUIRED_SETTINGS: [&str; 3] = [
    "SET SESSION autocommit = 1",
    "SET SESSION completion_type = 0",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// Session variables that are set where the server knows them and lets this account set them.
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

/// With GTIDs, the server requires the next one to be set after one was used.
const AUTOMATIC_GTID: &str = "SET SESSION gtid_next = 'AUTOMATIC'";

/// The part of a packet that is not for rows, in bytes.
const PACKET_OVERHEAD: usize = 16 << 10;

/// Rows are sent to the server in parts of this size, in bytes, if it takes such.
const ROW_PART_BYTES: usize = 6 << 20;

/// The number of times that a transaction is applied again after it lost a lock conflict.
const ATTEMPTS_MAX: usize = 10;

/// What all sessions have in common.
#[derive(Debug)]
pub(crate) struct ApplierConfig {
    address: Address,
    progress: Arc<Progress>,
    pub(crate) mariadb: bool,
    accounts_until: u64,
    accounts: Vec<String>,
    skip_account_changes: bool,
    mode: ReplayMode,
    write_binlog: bool,
    /// Character set and name of each collation.
    collations: HashMap<u32, (String, String)>,
    /// The settings that a session has to begin with and that not every account may set.
    initial_settings: Vec<(&'static str, String)>,
    /// The largest event that the server accepts.
    pub(crate) event_bytes_max: usize,
}

impl ApplierConfig {
    /// Queries the server's properties.
    pub(crate) fn query_server(replay: &ReplayOptions<'_>) -> Result<Self> {
        let failed = |error| Error::from_database(format!("connect to {}", replay.address), error);
        let mut session = Session::open(replay.address, replay.progress).map_err(failed)?;
        let version = session
            .query_row("SELECT VERSION()")
            .map_err(failed)?
            .string(0);
        let mariadb = Flavour::from_version(&version) == Flavour::Mariadb;
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

    /// The maximum size of a part of rows.
    pub(crate) fn row_part_bytes(&self) -> usize {
        ROW_PART_BYTES.min(self.event_bytes_max)
    }

    /// Whether transactions keep their GTIDs.
    pub(crate) fn keeps_gtids(&self) -> bool {
        self.mode == ReplayMode::KeepGtids
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
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
pub(crate) struct TransactionContext {
    pub(crate) gtid: Gtid,
    pub(crate) committed: Option<u64>,
    /// Its description in the log.
    pub(crate) start: Option<TransactionStart>,
    /// Its position in the events.
    pub(crate) index: u64,
    /// The format of its events.
    pub(crate) format: Bytes,
    /// Whether it has a begin and a commit.
    pub(crate) group: bool,
    /// The part of it that cannot share a transaction with the checkpoint.
    pub(crate) non_atomic: Option<NonAtomicStatement>,
    /// Its XID, if it is an XA transaction.
    pub(crate) xid: Option<String>,
    /// The pending change that an interrupted attempt recorded of it.
    pub(crate) pending: Option<PendingChange>,
}

impl TransactionContext {
    /// Its sequence number in the commit order; 0 when the log has none.
    pub(crate) fn sequence_number(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.sequence_number)
    }

    /// The sequence number up to which everything must be applied before it.
    pub(crate) fn last_committed(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.last_committed)
    }
}

/// Why something cannot share a transaction with the checkpoint.
#[derive(Debug, Clone)]
pub(crate) enum NonAtomicStatement {
    /// It is DDL.
    Ddl(Box<LoggedStatement>),
    /// A table is not transactional.
    NontransactionalRows,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionEnding {
    Commit,
    Rollback,
    /// It is a single statement.
    Autocommit,
    /// The first phase is done: XA PREPARE.
    Prepare,
    /// Both phases are done.
    OnePhase,
}

/// A session, and its current work.
#[derive(Debug)]
pub(crate) struct ApplierSession {
    session: Session,
    config: Arc<ApplierConfig>,
    settings: BTreeMap<&'static str, String>,
    database: Option<Vec<u8>>,
    format: Bytes,
    transaction: Option<TransactionContext>,
    /// Statements that are sent before the first step of a transaction.
    prefix: String,
    /// An interrupted attempt had applied it.
    already_applied: bool,
    /// The session of the XA transaction that is in progress.
    xa_session: Option<Box<Self>>,
    /// Sessions of prepared XA transactions. Some servers let no other session commit them.
    prepared_sessions: HashMap<String, Box<Self>>,
}

impl ApplierSession {
    pub(crate) fn open(setup: &Arc<ApplierConfig>) -> Result<Self> {
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

    pub(crate) fn is_mariadb(&self) -> bool {
        self.config.mariadb
    }

    /// Runs a statement whose meaning does not depend on settings.
    pub(crate) fn execute_plain(&mut self, sql: impl AsRef<[u8]>) -> Result<(), DatabaseError> {
        self.session.execute(sql).map(drop)
    }

    /// The rows of such a statement.
    pub(crate) fn query_plain(
        &mut self,
        sql: impl AsRef<[u8]>,
    ) -> Result<Vec<TextRow>, DatabaseError> {
        self.session.query_rows(sql)
    }

    /// The transactions in the server's own log.
    pub(crate) fn executed_set(&mut self) -> Result<ExecutedSet> {
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

    /// Prepared XA transactions that wait for their second phase.
    pub(crate) fn prepared_warnings(&mut self) -> Result<Vec<String>> {
        let failed = |error| Error::from_database("list prepared transactions", error);
        // The session that prepared them must be closed for others to see them.
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

    /// Whether a table is transactional. One that is not known is reported as missing when rows come.
    pub(crate) fn is_transactional(&mut self, table: &MappedTable) -> Result<bool> {
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

    /// Applies several row transactions as one.
    pub(crate) fn apply_batch(
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

    /// Finds the transaction that the server rejects.
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

    /// Applies row transactions, each under its GTID and when those that it depends on are applied. The commit of one
    /// and the rows of the next are one packet, unless the next has to wait.
    pub(crate) fn apply_gtid_batch(&mut self, run: &GtidBatch, order: &CommitOrder) -> Result<()> {
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

    /// Continues after a failed packet, with the first transaction that it was to commit. If that was committed, the
    /// server skips it because of its GTID. MariaDB does not, but there nothing else is in progress that could
    /// conflict.
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

    /// Applies a row transaction under its GTID, again if it lost a lock conflict.
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
    pub(crate) fn begin_transaction(&mut self, about: TransactionContext) -> Result<()> {
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

    /// Records a pending change, or finds out whether an interrupted attempt applied it.
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

    /// Applies rows of the open transaction.
    pub(crate) fn apply_rows(&mut self, rows: &[u8]) -> Result<()> {
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

    /// Ends the open transaction.
    pub(crate) fn end_transaction(
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
            // An interrupted attempt prepared it; any further phase is still to be done.
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
            // Under a MySQL GTID, the session that has the GTID must end it.
            if !self.config.keeps_gtids() || self.config.mariadb {
                self.prepared_sessions.insert(xid, other);
            }
            return Ok(());
        }
        let noted = self.record_pending(&about, PendingChangeKind::Commit);
        noted.map_err(|error| self.step_error("writing the replay checkpoint", error))?;
        end(&format!("XA COMMIT {xid}"), &mut other)
    }

    /// Records, on another session because a transaction is open, that it changes a non-transactional table too.
    pub(crate) fn record_nontransactional(&mut self) -> Result<()> {
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

    /// Rolls back the open transaction: it is after the stop.
    pub(crate) fn roll_back(&mut self) -> Result<()> {
        self.prefix.clear();
        self.xa_session = None;
        let given_up = self.execute_plain("ROLLBACK");
        given_up.map_err(|error| self.step_error("ending the transaction", error))?;
        self.transaction = None;
        Ok(())
    }

    /// Sends the statements that precede the first step.
    fn send_prefix(&mut self) -> Result<()> {
        let prefix = std::mem::take(&mut self.prefix);
        if prefix.is_empty() {
            return Ok(());
        }
        let sent = self.execute_plain(prefix.trim_end_matches(';'));
        sent.map_err(|error| self.step_error("starting the transaction", error))
    }

    /// Sends the server the format description event, which it needs before any rows.
    fn set_format(&mut self, format: &Bytes) -> Result<()> {
        if self.format == *format || format.is_empty() {
            return Ok(());
        }
        // With GTIDs, the server requires one to be set, before as after.
        let told = try_set_variable(&mut self.session, AUTOMATIC_GTID)
            .and_then(|_| self.session.execute(binlog_statement("", format)))
            .and_then(|_| try_set_variable(&mut self.session, AUTOMATIC_GTID));
        told.map_err(|error| {
            Error::from_database("send the binary log format to the target", error)
        })?;
        self.format = format.clone();
        Ok(())
    }

    /// The statement that sets a transaction's GTID.
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

    /// Sets those settings of a statement that the session does not have yet.
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

    /// Sets the session to read names in the character set of the log.
    fn use_utf8mb4(&mut self) -> Result<(), DatabaseError> {
        self.settings.remove("character_set_client");
        self.execute_plain("SET @@session.character_set_client=utf8mb4")
    }

    /// Forgets the database where a statement may have changed it.
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

/// Events as a statement, after others: it must be the last one of a packet.
fn binlog_statement(prefix: &str, events: &[u8]) -> Vec<u8> {
    let mut sql = Vec::with_capacity(prefix.len() + events.len() / 3 * 4 + 16);
    sql.extend_from_slice(prefix.as_bytes());
    sql.extend_from_slice(b"BINLOG '");
    let begin = sql.len();
    sql.resize(begin + events.len().div_ceil(3) * 4, 0);
    // The capacity is exactly the needed size.
    let written = STANDARD
        .encode_slice(events, &mut sql[begin..])
        .unwrap_or(0);
    sql.truncate(begin + written);
    sql.push(b'\'');
    sql
}

/// The tables of some rows, for messages.
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
