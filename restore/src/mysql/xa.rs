//! Transactions in two phases that wait for the second.

use reprise_snapshotters::mysql::{Cells, DatabaseError, Session};

/// The names of those that are prepared, as statements want them.
pub(super) fn prepared(session: &mut Session) -> Result<Vec<String>, DatabaseError> {
    let rows = match session.rows("XA RECOVER CONVERT XID") {
        // MariaDB, and older servers, do not know this form.
        Err(DatabaseError::Server { .. }) => session.rows("XA RECOVER")?,
        rows => rows?,
    };
    Ok(rows.iter().map(xid_of).collect())
}

fn xid_of(row: &Cells) -> String {
    let data = row.bytes(3).unwrap_or_default();
    let data = match data.strip_prefix(b"0x") {
        Some(digits) => String::from_utf8_lossy(digits).to_lowercase(),
        None => hex::encode(data),
    };
    let global = row.number::<usize>(1).unwrap_or_default() * 2;
    let (global, branch) = data.split_at_checked(global).unwrap_or((&data, ""));
    format!("X'{global}',X'{branch}',{}", row.string(0))
}
