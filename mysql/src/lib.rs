//! MySQL and MariaDB: what every part that talks to a server, or reads what was stored of one, has in common.
//!
//! `connection/` has a server's address, options and a blocking session; `wire/` the protocol below it, for what no client
//! library does (a log received as a replica would); `server_info` and `privileges` say what a server is and what an
//! account may do. `binlog/` reads events of a binary log, `log/` the archived log of a server, `log_time` has the times of
//! both. `manifest` describes a stored server, `row_text` its rows; `sql` quotes names and values, `filter` chooses
//! databases and tables, `load_statements` set up a session that loads.

pub mod binlog;
mod connection;
mod error;
mod filter;
pub mod load_statements;
pub mod log;
mod log_time;
mod manifest;
mod privileges;
pub mod row_text;
mod server_info;
pub mod sql;
pub mod wire;

pub use connection::{
    Address, Bytes, CONNECTIONS_DEFAULT, ConnectionSettings, Password, Row, Session,
    StatementResult, TextRow, Tls, Value,
};
pub use error::{DatabaseError, ServerKeyChange, error_code};
pub use filter::{Filter, SYSTEM_DATABASES};
pub use manifest::{
    Consistency, ConsistentSnapshot, Flavour, LogStartCoordinates, MANIFEST_FILE, MANIFEST_FORMAT,
    Manifest, MysqlAccount, MysqlDatabase, MysqlStoredObject, MysqlTable, ObjectDefinition,
    PUBLIC_ROLE, Sequence, ServerFacts, TableColumn, TableDataFile, ValueFormat, table_directory,
};
pub use privileges::Privileges;
pub use server_info::{ServerInfo, set_session_variables, try_set_variable};
