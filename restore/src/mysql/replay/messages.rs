//! How messages name transactions, and errors of a log.

use reprise_mysql::binlog::Gtid;
use reprise_mysql::log::LogTime;

use crate::error::Error;

/// A transaction, for messages.
pub(crate) fn describe_transaction(gtid: &Gtid, committed: Option<LogTime>) -> String {
    let number = match gtid {
        Gtid::Anonymous => "a transaction without a GTID".to_owned(),
        gtid => gtid.to_string(),
    };
    match committed {
        Some(time) => format!("{number} (committed {})", time.show()),
        None => number,
    }
}

pub(crate) fn log_error(error: reprise_mysql::binlog::EventError) -> Error {
    Error::BinaryLog { source: error }
}
