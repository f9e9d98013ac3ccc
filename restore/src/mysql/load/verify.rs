//! Compares a restored server with the snapshot.

use std::sync::Arc;

use reprise_mysql::sql::{qualify_name, quote_text};
use reprise_mysql::{Address, Filter, Session};
use reprise_repository::Progress;
use reprise_snapshotters::mysql::{TableChecksum, checksum_tables};

use crate::error::{Error, Result};
use crate::mysql::load::rows::TableLoad;
use crate::mysql::load::selection::SelectedDatabase;
use crate::mysql::options::VerifyLevel;

/// The differences, in sentences.
pub(crate) fn compare_tables(
    control: &mut Session,
    address: &Address,
    fillings: &[TableLoad],
    level: VerifyLevel,
    connections: usize,
    progress: &Arc<Progress>,
) -> Result<Vec<String>> {
    match level {
        VerifyLevel::None => Ok(Vec::new()),
        _ if fillings.is_empty() => Ok(Vec::new()),
        VerifyLevel::Counts => compare_row_counts(control, fillings),
        VerifyLevel::Checksums => {
            let read = checksum_tables(address, &table_filter(fillings), connections, progress)?;
            Ok(fillings
                .iter()
                .filter_map(|filling| describe_difference(filling, &read))
                .collect())
        }
    }
}

/// Tables of a database that the snapshot does not have.
pub(crate) fn find_extra_tables(
    control: &mut Session,
    chosen: &SelectedDatabase,
) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {} AND TABLE_TYPE NOT IN ('VIEW', 'SEQUENCE')",
        quote_text(&chosen.target)
    );
    let rows = control
        .query_rows(sql)
        .map_err(|error| Error::from_database("list the tables on the target", error))?;
    let names = rows.iter().map(|row| row.string(0));
    let tables = &chosen.database.tables;
    Ok(names
        .filter(|name| !tables.iter().any(|table| table.name == *name))
        .map(|name| {
            let name = qualify_name(&chosen.target, &name);
            format!("table {name} is not in the snapshot")
        })
        .collect())
}

fn compare_row_counts(control: &mut Session, fillings: &[TableLoad]) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for filling in fillings {
        let name = qualify_name(&filling.database, &filling.table.name);
        let history = if filling.table.versioned {
            " FOR SYSTEM_TIME ALL"
        } else {
            ""
        };
        let row = control
            .query_row(format!("SELECT COUNT(*) FROM {name}{history}"))
            .map_err(|error| Error::from_database(format!("count the rows of {name}"), error))?;
        let found: Option<u64> = row.number(0);
        if found != Some(filling.table.rows) {
            differences.push(format!(
                "the number of rows in {name} is {} instead of {}",
                row.text(0).unwrap_or("?"),
                filling.table.rows
            ));
        }
    }
    Ok(differences)
}

fn describe_difference(filling: &TableLoad, read: &[TableChecksum]) -> Option<String> {
    let name = qualify_name(&filling.database, &filling.table.name);
    let same = |found: &&TableChecksum| {
        found.database == filling.database && found.table.name == filling.table.name
    };
    let Some(found) = read.iter().find(same) else {
        return Some(format!("{name} is missing"));
    };
    let (before, now) = (&filling.table, &found.table);
    if before.rows != now.rows {
        return Some(format!(
            "the number of rows in {name} is {} instead of {}",
            now.rows, before.rows
        ));
    }
    (before.checksum != now.checksum).then(|| {
        format!(
            "the rows in {name} differ from the snapshot: the checksum is {} instead of {}",
            now.checksum, before.checksum
        )
    })
}

/// Only the tables that were restored.
fn table_filter(fillings: &[TableLoad]) -> Filter {
    let name = |filling: &TableLoad| (filling.database.clone(), filling.table.name.clone());
    Filter::for_tables(fillings.iter().map(name))
}

/// The number of stored objects that the target has in a database.
pub(crate) fn count_objects(control: &mut Session, database: &str) -> Result<[u64; 4]> {
    let count = |control: &mut Session, table: &str, column: &str| {
        let statement = format!(
            "SELECT COUNT(*) FROM information_schema.{table} WHERE {column} = {}",
            quote_text(database)
        );
        control
            .query_row(statement)
            .map(|row| row.number(0).unwrap_or(0))
            .map_err(|error| {
                Error::from_database(
                    "count the restored views, routines, triggers and events",
                    error,
                )
            })
    };
    Ok([
        count(control, "VIEWS", "TABLE_SCHEMA")?,
        count(control, "ROUTINES", "ROUTINE_SCHEMA")?,
        count(control, "TRIGGERS", "TRIGGER_SCHEMA")?,
        count(control, "EVENTS", "EVENT_SCHEMA")?,
    ])
}
