//! What a server holds of what the writers wrote.

use std::collections::BTreeMap;

use serde_json::Value;

use super::schema::{FIXED_TABLES, is_writers_database};
use crate::servers::{Database, Row};

/// Each table, database and user with its sorted rows.
pub type ServerContent = BTreeMap<String, Vec<Row>>;

/// Marks where the rows of the next query begin.
const MARK: &str = "the rows of question";

/// All that a comparison needs.
#[derive(Debug)]
pub(super) struct ObservedServer {
    pub(super) state: ServerContent,
    /// Writer, step, and the microsecond at which the server wrote its row.
    pub(super) times: Vec<(u64, u64, u64)>,
}

/// Reads everything, and lets the server check its tables.
pub(super) fn observe(server: &impl Database) -> Result<ObservedServer, String> {
    let mut state = ServerContent::new();
    for (name, rows) in run_queries(server, &fixed_queries())? {
        state.insert(name, rows);
    }
    normalize_documents(&mut state)?;
    let times = take_times(&mut state)?;
    let own_tables = add_own_tables(&mut state);
    for (name, mut rows) in run_queries(server, &own_tables)? {
        state.entry(name).or_default().append(&mut rows);
    }
    check_tables(server, state.keys().filter(|name| name.contains('.')))?;
    state.values_mut().for_each(|rows| rows.sort());
    Ok(ObservedServer { state, times })
}

type TableQuery = (String, String);

fn fixed_queries() -> Vec<TableQuery> {
    let query = |name: &str, sql: String| (name.to_owned(), sql);
    let mut all: Vec<TableQuery> = FIXED_TABLES
        .iter()
        .map(|(table, columns)| query(table, format!("SELECT {columns} FROM {table}")))
        .collect();
    let time = "CAST(UNIX_TIMESTAMP(at) * 1000000 AS UNSIGNED)";
    let written = format!(
        "SELECT writer, number, {time} FROM bookkeeping.progress UNION ALL \
         SELECT writer, touched, {time} FROM warehouse.items"
    );
    all.push(query("times", written));
    let columns = format!(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns WHERE {} \
         ORDER BY table_schema, table_name, ordinal_position",
        is_writers_database("table_schema")
    );
    all.push(query("columns", columns));
    all.push(query(
        "databases",
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'annex%'"
            .to_owned(),
    ));
    all.push(query(
        "users",
        "SELECT user FROM mysql.user WHERE user LIKE 'clerk%'".to_owned(),
    ));
    let privileges = "SELECT SUBSTRING_INDEX(SUBSTRING(grantee, 2), '''', 1), privilege_type \
                  FROM information_schema.schema_privileges WHERE grantee LIKE '''clerk%'";
    all.push(query("privileges", privileges.to_owned()));
    let triggers = format!(
        "SELECT trigger_name FROM information_schema.triggers WHERE {}",
        is_writers_database("trigger_schema")
    );
    all.push(query("triggers", triggers));
    let keys = format!(
        "SELECT constraint_name, delete_rule, update_rule FROM information_schema.referential_constraints WHERE {}",
        is_writers_database("constraint_schema")
    );
    all.push(query("foreign keys", keys));
    all
}

fn run_queries(
    server: &impl Database,
    queries: &[TableQuery],
) -> Result<Vec<(String, Vec<Row>)>, String> {
    let mut script = "SET time_zone = '+00:00';\n".to_owned();
    for (number, (_, sql)) in queries.iter().enumerate() {
        script += &format!("SELECT '{MARK}', {number};\n{sql};\n");
    }
    let mut results: Vec<(String, Vec<Row>)> = Vec::new();
    for row in server.try_query(&script)? {
        match (row.as_slice(), results.last_mut()) {
            ([Some(mark), Some(number)], _) if mark == MARK => {
                let number: usize = number.parse().unwrap();
                results.push((queries[number].0.clone(), Vec::new()));
            }
            (_, Some((_, rows))) => rows.push(row),
            (_, None) => return Err(format!("a row of no query: {row:?}")),
        }
    }
    Ok(results)
}

/// In the form that the model uses, whatever the server's.
fn normalize_documents(state: &mut ServerContent) -> Result<(), String> {
    for row in state.entry("bookkeeping.documents".to_owned()).or_default() {
        let text = row[2].take().unwrap_or_default();
        let d: Value = serde_json::from_str(&text)
            .map_err(|error| format!("document {row:?}: {error}: {text}"))?;
        row[2] = Some(d.to_string());
    }
    Ok(())
}

fn take_times(state: &mut ServerContent) -> Result<Vec<(u64, u64, u64)>, String> {
    let rows = state.remove("times").unwrap_or_default();
    let number = |row: &Row, index: usize| -> Option<u64> { row[index].as_ref()?.parse().ok() };
    let times = rows.iter().map(|row| {
        let all = (number(row, 0), number(row, 1), number(row, 2));
        match all {
            (Some(writer), Some(step), Some(at)) => Ok((writer, step, at)),
            _ => Err(format!("no time: {row:?}")),
        }
    });
    times.collect()
}

/// Adds what DDL has made to the content; returns the queries for the rows of tables that are not fixed.
fn add_own_tables(state: &mut ServerContent) -> Vec<TableQuery> {
    let mut take = |name: &str| state.remove(name).unwrap_or_default();
    let (columns, databases) = (take("columns"), take("databases"));
    let (users, privileges) = (take("users"), take("privileges"));
    let cell = |row: &Row, index: usize| row[index].clone().unwrap_or_default();
    for row in &databases {
        state.insert(format!("database {}", cell(row, 0)), Vec::new());
    }
    for row in &users {
        state.insert(format!("user {}", cell(row, 0)), Vec::new());
    }
    for row in &privileges {
        let privileges = state.entry(format!("user {}", cell(row, 0))).or_default();
        privileges.push(vec![row[1].clone()]);
    }
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in &columns {
        let table = format!("{}.{}", cell(row, 0), cell(row, 1));
        let column = (cell(row, 2), format!("{} {}", cell(row, 2), cell(row, 3)));
        tables.entry(table).or_default().push(column);
    }
    tables.retain(|table, _| FIXED_TABLES.iter().all(|(fixed, _)| fixed != table));
    let queries = tables.into_iter().map(|(table, columns)| {
        let (names, displayed): (Vec<String>, Vec<String>) = columns.into_iter().unzip();
        let head = vec![Some("columns".to_owned()), Some(displayed.join(", "))];
        state.insert(table.clone(), vec![head]);
        let sql = format!("SELECT {} FROM {table}", names.join(", "));
        (table, sql)
    });
    queries.collect()
}

/// Keys that disagree with rows are found only so.
fn check_tables<'a>(
    server: &impl Database,
    tables: impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    let tables: Vec<&str> = tables.map(String::as_str).collect();
    let rows = server.try_query(&format!("CHECK TABLE {}", tables.join(", ")))?;
    let bad = rows
        .iter()
        .find(|row| row[2].as_deref() == Some("status") && row[3].as_deref() != Some("OK"));
    match bad {
        Some(row) => Err(format!("the server finds a table damaged: {row:?}")),
        None => Ok(()),
    }
}
