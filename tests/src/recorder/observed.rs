//! What a server holds of what the writers wrote.

use std::collections::BTreeMap;

use serde_json::Value;

use super::schema::{FIXED, ours};
use crate::servers::{Database, Row};

/// Each table, database and user with its sorted rows.
pub type State = BTreeMap<String, Vec<Row>>;

/// Marks where the rows of the next question begin.
const MARK: &str = "the rows of question";

/// All that a judgement needs.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) state: State,
    /// Writer, step, and the microsecond at which the server wrote its row.
    pub(super) times: Vec<(u64, u64, u64)>,
}

/// Reads everything, and lets the server check its tables.
pub(super) fn observe(server: &impl Database) -> Result<Observed, String> {
    let mut state = State::new();
    for (name, rows) in ask(server, &fixed())? {
        state.insert(name, rows);
    }
    documents(&mut state)?;
    let times = times(&mut state)?;
    let sides = sides(&mut state);
    for (name, mut rows) in ask(server, &sides)? {
        state.entry(name).or_default().append(&mut rows);
    }
    check(server, state.keys().filter(|name| name.contains('.')))?;
    state.values_mut().for_each(|rows| rows.sort());
    Ok(Observed { state, times })
}

type Question = (String, String);

fn fixed() -> Vec<Question> {
    let question = |name: &str, sql: String| (name.to_owned(), sql);
    let mut all: Vec<Question> = FIXED
        .iter()
        .map(|(table, columns)| question(table, format!("SELECT {columns} FROM {table}")))
        .collect();
    let time = "CAST(UNIX_TIMESTAMP(at) * 1000000 AS UNSIGNED)";
    let written = format!(
        "SELECT writer, number, {time} FROM bookkeeping.progress UNION ALL \
         SELECT writer, touched, {time} FROM warehouse.items"
    );
    all.push(question("times", written));
    let columns = format!(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns WHERE {} \
         ORDER BY table_schema, table_name, ordinal_position",
        ours("table_schema")
    );
    all.push(question("columns", columns));
    all.push(question(
        "databases",
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'annex%'"
            .to_owned(),
    ));
    all.push(question(
        "users",
        "SELECT user FROM mysql.user WHERE user LIKE 'clerk%'".to_owned(),
    ));
    let rights = "SELECT SUBSTRING_INDEX(SUBSTRING(grantee, 2), '''', 1), privilege_type \
                  FROM information_schema.schema_privileges WHERE grantee LIKE '''clerk%'";
    all.push(question("rights", rights.to_owned()));
    let triggers = format!(
        "SELECT trigger_name FROM information_schema.triggers WHERE {}",
        ours("trigger_schema")
    );
    all.push(question("triggers", triggers));
    let keys = format!(
        "SELECT constraint_name, delete_rule, update_rule FROM information_schema.referential_constraints WHERE {}",
        ours("constraint_schema")
    );
    all.push(question("foreign keys", keys));
    all
}

fn ask(server: &impl Database, questions: &[Question]) -> Result<Vec<(String, Vec<Row>)>, String> {
    let mut script = "SET time_zone = '+00:00';\n".to_owned();
    for (number, (_, sql)) in questions.iter().enumerate() {
        script += &format!("SELECT '{MARK}', {number};\n{sql};\n");
    }
    let mut answers: Vec<(String, Vec<Row>)> = Vec::new();
    for row in server.try_query(&script)? {
        match (row.as_slice(), answers.last_mut()) {
            ([Some(mark), Some(number)], _) if mark == MARK => {
                let number: usize = number.parse().unwrap();
                answers.push((questions[number].0.clone(), Vec::new()));
            }
            (_, Some((_, rows))) => rows.push(row),
            (_, None) => return Err(format!("an answer to nothing: {row:?}")),
        }
    }
    Ok(answers)
}

/// In the form that the books use, whatever the server's.
fn documents(state: &mut State) -> Result<(), String> {
    for row in state.entry("bookkeeping.documents".to_owned()).or_default() {
        let text = row[2].take().unwrap_or_default();
        let d: Value = serde_json::from_str(&text)
            .map_err(|error| format!("document {row:?}: {error}: {text}"))?;
        row[2] = Some(d.to_string());
    }
    Ok(())
}

fn times(state: &mut State) -> Result<Vec<(u64, u64, u64)>, String> {
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

/// Puts what is defined into the state; what to ask for the rows of tables that are not fixed.
fn sides(state: &mut State) -> Vec<Question> {
    let mut take = |name: &str| state.remove(name).unwrap_or_default();
    let (columns, databases) = (take("columns"), take("databases"));
    let (users, rights) = (take("users"), take("rights"));
    let cell = |row: &Row, index: usize| row[index].clone().unwrap_or_default();
    for row in &databases {
        state.insert(format!("database {}", cell(row, 0)), Vec::new());
    }
    for row in &users {
        state.insert(format!("user {}", cell(row, 0)), Vec::new());
    }
    for row in &rights {
        let rights = state.entry(format!("user {}", cell(row, 0))).or_default();
        rights.push(vec![row[1].clone()]);
    }
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in &columns {
        let table = format!("{}.{}", cell(row, 0), cell(row, 1));
        let column = (cell(row, 2), format!("{} {}", cell(row, 2), cell(row, 3)));
        tables.entry(table).or_default().push(column);
    }
    tables.retain(|table, _| FIXED.iter().all(|(fixed, _)| fixed != table));
    let questions = tables.into_iter().map(|(table, columns)| {
        let (names, shown): (Vec<String>, Vec<String>) = columns.into_iter().unzip();
        let head = vec![Some("columns".to_owned()), Some(shown.join(", "))];
        state.insert(table.clone(), vec![head]);
        let sql = format!("SELECT {} FROM {table}", names.join(", "));
        (table, sql)
    });
    questions.collect()
}

/// Keys that say other things than rows are found only so.
fn check<'a>(
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
