//! Comparing a restored server with what the snapshot says.

use std::sync::Arc;

use reprise_repository::Progress;
use reprise_snapshotters::mysql::sql::{qualified, text};
use reprise_snapshotters::mysql::{Address, Filter, ReadBack, Session, read_back};

use super::load::Filling;
use super::options::VerifyLevel;
use super::selection::Selected;
use crate::error::{Error, Result};

/// What differs, in sentences.
pub(super) fn compare(
    control: &mut Session,
    address: &Address,
    fillings: &[Filling],
    level: VerifyLevel,
    connections: usize,
    progress: &Arc<Progress>,
) -> Result<Vec<String>> {
    match level {
        VerifyLevel::None => Ok(Vec::new()),
        _ if fillings.is_empty() => Ok(Vec::new()),
        VerifyLevel::Counts => counts(control, fillings),
        VerifyLevel::Checksums => {
            let read = read_back(address, &filter(fillings), connections, progress)?;
            Ok(fillings
                .iter()
                .filter_map(|filling| difference(filling, &read))
                .collect())
        }
    }
}

/// Tables of a database that the snapshot does not have.
pub(super) fn extra(control: &mut Session, chosen: &Selected) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {} AND TABLE_TYPE NOT IN ('VIEW', 'SEQUENCE')",
        text(&chosen.target)
    );
    let rows = control
        .rows(sql)
        .map_err(|error| Error::database("list the tables on the target", error))?;
    let names = rows.iter().map(|row| row.string(0));
    let tables = &chosen.database.tables;
    Ok(names
        .filter(|name| !tables.iter().any(|table| table.name == *name))
        .map(|name| {
            let name = qualified(&chosen.target, &name);
            format!("table {name} is not in the snapshot")
        })
        .collect())
}

fn counts(control: &mut Session, fillings: &[Filling]) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for filling in fillings {
        let name = qualified(&filling.database, &filling.table.name);
        let history = if filling.table.versioned {
            " FOR SYSTEM_TIME ALL"
        } else {
            ""
        };
        let row = control
            .row(format!("SELECT COUNT(*) FROM {name}{history}"))
            .map_err(|error| Error::database(format!("count the rows of {name}"), error))?;
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

fn difference(filling: &Filling, read: &[ReadBack]) -> Option<String> {
    let name = qualified(&filling.database, &filling.table.name);
    let same = |found: &&ReadBack| {
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

/// Just the tables that were restored.
fn filter(fillings: &[Filling]) -> Filter {
    let name = |filling: &Filling| (filling.database.clone(), filling.table.name.clone());
    Filter::only(fillings.iter().map(name))
}

/// How many objects with a body the target has in a database.
pub(super) fn objects(control: &mut Session, database: &str) -> Result<[u64; 4]> {
    let count = |control: &mut Session, table: &str, column: &str| {
        let statement = format!(
            "SELECT COUNT(*) FROM information_schema.{table} WHERE {column} = {}",
            text(database)
        );
        control
            .row(statement)
            .map(|row| row.number(0).unwrap_or(0))
            .map_err(|error| {
                Error::database(
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
