//! Sessions that load.

use std::sync::Arc;

use reprise_mysql::load_statements::LOAD_SESSION_SETTINGS;
use reprise_mysql::{Session, try_set_variable};
use reprise_repository::Progress;

use crate::error::{Error, Result};
use crate::mysql::options::MysqlRestoreOptions;

/// Session variables for loading, set where the server knows them and lets this account set them.
const OPTIONAL_SETTINGS: [&str; 12] = [
    "SET SESSION innodb_strict_mode = 0",
    "SET SESSION sql_require_primary_key = 0",
    "SET SESSION sql_generate_invisible_primary_key = 0",
    "SET SESSION system_versioning_insert_history = 1",
    "SET SESSION restrict_fk_on_non_standard_key = 0",
    "SET SESSION max_error_count = 65535",
    "SET SESSION wait_timeout = 86400",
    "SET SESSION net_read_timeout = 86400",
    "SET SESSION net_write_timeout = 86400",
    "SET SESSION max_execution_time = 0",
    "SET SESSION max_statement_time = 0",
    // A session that holds a table for longer than these seconds is named instead of waited for.
    "SET SESSION lock_wait_timeout = 30",
];

pub(crate) fn connect_to_target(
    options: &MysqlRestoreOptions,
    progress: &Arc<Progress>,
) -> Result<Session> {
    let open = || {
        let mut session = Session::open(&options.address, progress)?;
        for statement in LOAD_SESSION_SETTINGS {
            session.execute(statement)?;
        }
        for statement in OPTIONAL_SETTINGS {
            try_set_variable(&mut session, statement)?;
        }
        // Without a binary log, nothing needs to be kept out of it.
        if !options.write_binlog {
            try_set_variable(&mut session, "SET SESSION sql_log_bin = 0")?;
        }
        Ok(session)
    };
    open().map_err(|error| Error::from_database(format!("connect to {}", options.address), error))
}
