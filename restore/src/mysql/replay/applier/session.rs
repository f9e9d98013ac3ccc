//! An applier session: it keeps the settings that it was given, and its transaction context.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use reprise_mysql::binlog::{Gtid, GtidSet, MappedTable, MariadbPosition};
use reprise_mysql::log::ExecutedSet;
use reprise_mysql::{Bytes, DatabaseError, Flavour, Session, try_set_variable};

use crate::error::{Error, Result};
use crate::mysql::replay::applier::binlog_statement::{binlog_statement, replay_error};
use crate::mysql::replay::applier::config::ApplierConfig;
use crate::mysql::replay::messages::describe_transaction;
use crate::mysql::replay::options::ReplayMode;
use crate::mysql::replay::transaction_context::TransactionContext;

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
pub(crate) const AUTOMATIC_GTID: &str = "SET SESSION gtid_next = 'AUTOMATIC'";

/// A session, and its current work.
#[derive(Debug)]
pub(crate) struct ApplierSession {
    pub(crate) session: Session,
    pub(crate) config: Arc<ApplierConfig>,
    pub(crate) settings: BTreeMap<&'static str, String>,
    pub(crate) database: Option<Vec<u8>>,
    pub(crate) format: Bytes,
    pub(crate) transaction: Option<TransactionContext>,
    /// Statements that are sent before the first step of a transaction.
    pub(crate) prefix: String,
    /// An interrupted attempt had applied it.
    pub(crate) already_applied: bool,
    /// The session of the XA transaction that is in progress.
    pub(crate) xa_session: Option<Box<Self>>,
    /// Sessions of prepared XA transactions. Some servers let no other session commit them.
    pub(crate) prepared_sessions: HashMap<String, Box<Self>>,
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

    /// Runs a statement whose meaning does not depend on settings.
    pub(crate) fn execute_plain(&mut self, sql: impl AsRef<[u8]>) -> Result<(), DatabaseError> {
        self.session.execute(sql).map(drop)
    }

    /// The transactions in the server's own log.
    pub(crate) fn executed_set(&mut self) -> Result<ExecutedSet> {
        let failed = |error| Error::from_database("read the executed GTIDs of the target", error);
        let unexpected = |reason| failed(DatabaseError::UnexpectedResponse(reason));
        let variable = match self.config.flavour {
            Flavour::Mariadb => "gtid_binlog_pos",
            Flavour::Mysql => "gtid_executed",
        };
        let row = self
            .session
            .query_row(format!("SELECT @@global.{variable}"));
        let text = row.map_err(failed)?.string(0);
        Ok(match self.config.flavour {
            Flavour::Mariadb => {
                let position: MariadbPosition = text.parse().map_err(unexpected)?;
                ExecutedSet::Mariadb(position)
            }
            Flavour::Mysql => {
                let set: GtidSet = text.parse().map_err(unexpected)?;
                ExecutedSet::Mysql(set)
            }
        })
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

    /// Sends the statements that precede the first step.
    pub(crate) fn send_prefix(&mut self) -> Result<()> {
        let prefix = std::mem::take(&mut self.prefix);
        if prefix.is_empty() {
            return Ok(());
        }
        let sent = self.execute_plain(prefix.trim_end_matches(';'));
        sent.map_err(|error| self.step_error("starting the transaction", error))
    }

    /// Sends the server the format description event, which it needs before any rows.
    pub(crate) fn set_format(&mut self, format: &Bytes) -> Result<()> {
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
    pub(crate) fn gtid_assignment(&self, about: &TransactionContext) -> String {
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
                set.push_str(&format!(
                    "@@session.original_commit_timestamp={},",
                    time.as_micros()
                ));
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

    pub(crate) fn step_error(&self, what: &str, error: DatabaseError) -> Error {
        match &self.transaction {
            Some(about) => self.transaction_error(about, what, error),
            None => Error::from_database(format!("apply {what}"), error),
        }
    }

    pub(crate) fn transaction_error(
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
