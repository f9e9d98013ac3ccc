//! Prepared XA transactions that wait for their second phase.

use reprise_mysql::{DatabaseError, Session, TextRow};

/// The XIDs of the prepared transactions, as statements take them.
pub(crate) fn prepared_transactions(session: &mut Session) -> Result<Vec<String>, DatabaseError> {
    let rows = match session.query_rows("XA RECOVER CONVERT XID") {
        // MariaDB, and older servers, do not support this form.
        Err(DatabaseError::Server { .. }) => session.query_rows("XA RECOVER")?,
        rows => rows?,
    };
    Ok(rows.iter().map(format_xid).collect())
}

fn format_xid(row: &TextRow) -> String {
    let data = row.bytes(3).unwrap_or_default();
    let data = match data.strip_prefix(b"0x") {
        Some(digits) => String::from_utf8_lossy(digits).to_lowercase(),
        None => hex::encode(data),
    };
    let global = row.number::<usize>(1).unwrap_or_default() * 2;
    let (global, branch) = data.split_at_checked(global).unwrap_or((&data, ""));
    format!("X'{global}',X'{branch}',{}", row.string(0))
}
