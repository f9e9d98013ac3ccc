//! Counts and checksums of a server's rows, to compare them with a snapshot.

use std::sync::Arc;

use reprise_mysql::{
    Address, DatabaseError, Filter, MysqlTable, ServerInfo, Session, set_session_variables,
};
use reprise_repository::Progress;

use crate::error::Result;
use crate::mysql::dump::rows::reader::{read_tables, table_read_requests};
use crate::mysql::dump::schema::reader::read_schema;

/// A table of a server, read for comparison.
#[derive(Debug, Clone)]
pub struct TableChecksum {
    /// Its database.
    pub database: String,
    /// The table, with its current rows and checksum.
    pub table: MysqlTable,
}

/// Counts and checksums every row of a server's tables, by the same method as a snapshot.
///
/// # Errors
/// The server's error.
pub fn checksum_tables(
    address: &Address,
    filter: &Filter,
    connections: usize,
    progress: &Arc<Progress>,
) -> Result<Vec<TableChecksum>> {
    let open = || -> Result<Session, DatabaseError> {
        let mut session = Session::open(address, progress)?;
        set_session_variables(&mut session)?;
        Ok(session)
    };
    let mut control = open()?;
    let server = ServerInfo::query(&mut control)?;
    let schema = read_schema(&mut control, &server, filter)?;
    let mut readers = (0..connections.max(1))
        .map(|_| open())
        .collect::<Result<Vec<_>, _>>()?;
    let readings = table_read_requests(&schema);
    let found = read_tables(&mut readers, &readings, None, progress)?;
    let tables = readings.iter().zip(found);
    Ok(tables
        .map(|(reading, found)| TableChecksum {
            database: reading.database.to_owned(),
            table: MysqlTable {
                rows: found.checksum.rows,
                checksum: found.checksum.to_hex(),
                ..reading.table.clone()
            },
        })
        .collect())
}
