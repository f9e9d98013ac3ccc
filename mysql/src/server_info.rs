//! The properties of a server, and settings for sessions that read from it without changing what they read.

use std::collections::{BTreeMap, BTreeSet};

use crate::connection::Session;
use crate::error::{DatabaseError, error_code};
use crate::manifest::{Flavour, ServerFacts};
use crate::sql;

/// Settings that show whether another server can hold the same data, or that replay needs.
const RECORDED_VARIABLES: [&str; 26] = [
    "binlog_format",
    "binlog_row_image",
    "character_set_server",
    "collation_server",
    "default_storage_engine",
    "default_table_encryption",
    "event_scheduler",
    "explicit_defaults_for_timestamp",
    "gtid_domain_id",
    "gtid_mode",
    "hostname",
    "innodb_default_row_format",
    "innodb_file_per_table",
    "innodb_page_size",
    "innodb_strict_mode",
    "log_bin",
    "log_bin_trust_function_creators",
    "lower_case_table_names",
    "mandatory_roles",
    "max_allowed_packet",
    "port",
    "server_id",
    "sql_mode",
    "sql_require_primary_key",
    "system_time_zone",
    "time_zone",
];

/// Without these another session would read the same row differently.
const REQUIRED_SETTINGS: [&str; 6] = [
    "SET NAMES utf8mb4",
    "SET SESSION character_set_results = 'binary'",
    "SET SESSION sql_mode = ''",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_quote_show_create = 1",
    // A session that holds a table for longer than these seconds is reported instead of waited for.
    "SET SESSION lock_wait_timeout = 30",
];

/// Settings that not every server knows.
const OPTIONAL_SETTINGS: [&str; 12] = [
    "SET SESSION net_write_timeout = 86400",
    "SET SESSION net_read_timeout = 86400",
    "SET SESSION wait_timeout = 86400",
    "SET SESSION max_execution_time = 0",
    "SET SESSION max_statement_time = 0",
    "SET SESSION idle_transaction_timeout = 0",
    "SET SESSION idle_readonly_transaction_timeout = 0",
    "SET SESSION information_schema_stats_expiry = 0",
    "SET SESSION show_gipk_in_create_table_and_information_schema = ON",
    "SET SESSION print_identified_with_as_hex = ON",
    "SET SESSION show_create_table_skip_secondary_engine = OFF",
    "SET SESSION show_create_table_verbosity = OFF",
];

/// The properties of a connected server.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    /// The facts that a snapshot stores.
    pub facts: ServerFacts,
    /// Transactional engines.
    pub transactional_engines: BTreeSet<String>,
}

impl ServerInfo {
    /// Queries them.
    ///
    /// # Errors
    /// The server's error.
    pub fn query(session: &mut Session) -> Result<Self, DatabaseError> {
        let version = session.query_row("SELECT VERSION()")?.string(0);
        let flavour = Flavour::from_version(&version);
        let facts = ServerFacts {
            flavour,
            version,
            uuid: query_optional(session, "SELECT @@GLOBAL.server_uuid")?.pop(),
            variables: read_variables(session)?,
            plugins: read_plugins(session)?,
            components: query_optional(
                session,
                "SELECT component_urn FROM mysql.component ORDER BY 1",
            )?,
            functions: read_loadable_functions(session)?,
        };
        let engines = session.query_rows("SHOW ENGINES")?;
        let transactional = engines
            .iter()
            .filter(|engine| engine.text(3) == Some("YES"))
            .map(|engine| engine.string(0).to_uppercase());
        Ok(Self {
            facts,
            transactional_engines: transactional.collect(),
        })
    }

    /// The value of one of the recorded variables.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.facts.variables.get(name).map(String::as_str)
    }

    /// Whether the server writes a binary log.
    #[must_use]
    pub fn has_binary_log(&self) -> bool {
        matches!(self.variable("log_bin"), Some("ON" | "1"))
    }
}

/// Sets what every session of a snapshot or a restore needs.
///
/// # Errors
/// The server's error for a required setting.
pub fn set_session_variables(session: &mut Session) -> Result<(), DatabaseError> {
    for statement in REQUIRED_SETTINGS {
        session.execute(statement)?;
    }
    for statement in OPTIONAL_SETTINGS {
        try_set_variable(session, statement)?;
    }
    Ok(())
}

/// Sets a variable where it exists and the account may set it. Returns whether it did.
///
/// # Errors
/// Any other error of the server.
pub fn try_set_variable(session: &mut Session, statement: &str) -> Result<bool, DatabaseError> {
    match session.execute(statement) {
        Ok(_) => Ok(true),
        // Unknown, not settable like this, not allowed, invalid value.
        Err(DatabaseError::Server {
            code: error_code::UNKNOWN_SYSTEM_VARIABLE | 1238 | 1229 | 1227 | 1231 | 1621,
            message,
        }) => {
            tracing::debug!(
                statement,
                message,
                "the session variable cannot be set on this server; continuing without it"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn read_variables(session: &mut Session) -> Result<BTreeMap<String, String>, DatabaseError> {
    let statement = format!(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN {}",
        sql::quote_list(RECORDED_VARIABLES)
    );
    let rows = session.query_rows(statement)?;
    Ok(rows
        .iter()
        .map(|row| (row.string(0), row.string(1)))
        .collect())
}

fn read_plugins(session: &mut Session) -> Result<Vec<String>, DatabaseError> {
    let rows = session.query_rows("SHOW PLUGINS")?;
    let loaded = rows.iter().filter(|row| row.text(3).is_some());
    Ok(loaded.map(|row| row.string(0)).collect())
}

fn read_loadable_functions(
    session: &mut Session,
) -> Result<BTreeMap<String, String>, DatabaseError> {
    match session.query_rows("SELECT name, dl FROM mysql.func") {
        Ok(rows) => Ok(rows
            .iter()
            .map(|row| (row.string(0), row.string(1)))
            .collect()),
        Err(DatabaseError::Server { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// The first column of a result that not every server has or shows to every account.
fn query_optional(session: &mut Session, statement: &str) -> Result<Vec<String>, DatabaseError> {
    match session.query_rows(statement) {
        Ok(rows) => Ok(rows.iter().map(|row| row.string(0)).collect()),
        Err(DatabaseError::Server { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
