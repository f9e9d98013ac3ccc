//! All definitions of a server, and how the rows of its tables are read.

use std::collections::BTreeMap;

use reprise_mysql::sql::{qualify_name, quote_name};
use reprise_mysql::{MysqlDatabase, ObjectDefinition, TextRow};
use reprise_repository::RawText;

use crate::mysql::dump::schema::keys::ScanKey;

/// All definitions, and how to read the rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServerSchema {
    pub(crate) tablespaces: Vec<ObjectDefinition>,
    pub(crate) databases: Vec<MysqlDatabase>,
    /// How each table is read, in the order of [`Self::databases`] and their tables.
    pub(crate) plans: Vec<TableReadPlan>,
    /// What may be missing, or cannot be restored as it is.
    pub(crate) warnings: Vec<String>,
}

/// How a table's rows are read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableReadPlan {
    pub(crate) database_index: usize,
    pub(crate) table_index: usize,
    /// The key to read by.
    pub(crate) key: Option<ScanKey>,
    /// The server's estimates of the rows' bytes and number.
    pub(crate) bytes_estimate: u64,
    pub(crate) rows_estimate: u64,
    /// Whether the table has rows of its own.
    pub(crate) has_rows: bool,
}

impl ServerSchema {
    /// What differs in a later schema, for people; `None` when nothing does. New rows change
    /// `AUTO_INCREMENT`, which is not part of a definition.
    pub(crate) fn find_change(&self, later: &Self) -> Option<String> {
        let (mut before, mut after) = (self.definitions_by_name(), later.definitions_by_name());
        if before == after {
            return None;
        }
        let common: Vec<String> = before
            .iter()
            .filter(|(name, sql)| after.get(*name) == Some(sql))
            .map(|(name, _)| name.clone())
            .collect();
        for name in common {
            before.remove(&name);
            after.remove(&name);
        }
        before.keys().chain(after.keys()).next().cloned()
    }

    fn definitions_by_name(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        for database in &self.databases {
            let name =
                |kind: &str, name: &str| format!("{kind} {}", qualify_name(&database.name, name));
            all.insert(
                format!("database {}", quote_name(&database.name)),
                database.sql.as_bytes().to_vec(),
            );
            for table in &database.tables {
                let mut definition = without_auto_increment(table.sql.as_bytes());
                // They are queried separately, and rows are read by them.
                definition.extend(format!("{:?}", table.columns).bytes());
                all.insert(name("table", &table.name), definition);
            }
            for sequence in &database.sequences {
                all.insert(
                    name("sequence", &sequence.name),
                    sequence.sql.as_bytes().to_vec(),
                );
            }
            let code = [
                &database.views,
                &database.routines,
                &database.triggers,
                &database.events,
            ];
            for code in code.into_iter().flatten() {
                all.insert(
                    name(&code.kind.to_lowercase(), &code.name),
                    code.sql.as_bytes().to_vec(),
                );
            }
        }
        all
    }
}

/// A table's definition without its `AUTO_INCREMENT=…`.
pub(crate) fn without_auto_increment(sql: &[u8]) -> Vec<u8> {
    let word = b" AUTO_INCREMENT=";
    let Some(at) = memchr::memmem::rfind(sql, word) else {
        return sql.to_vec();
    };
    let rest = &sql[at + word.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    [&sql[..at], &rest[digits..]].concat()
}

/// A definition as the server prints it, which need not be UTF-8.
pub(crate) fn raw_text(row: &TextRow, column: usize) -> RawText {
    RawText::new(row.bytes(column).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use reprise_mysql::{MysqlTable, TableColumn, ValueFormat};

    use super::*;

    /// A schema with one table of these columns, whose definition text is always the same.
    fn schema(columns: &[&str]) -> ServerSchema {
        let table = MysqlTable {
            name: "churned".to_owned(),
            sql: RawText::new(b"CREATE TABLE `churned` (`id` int)"),
            engine: "InnoDB".to_owned(),
            consistent: true,
            versioned: false,
            columns: columns
                .iter()
                .map(|name| TableColumn {
                    name: (*name).to_owned(),
                    form: ValueFormat::Plain,
                })
                .collect(),
            pieces: Vec::new(),
            rows: 0,
            checksum: String::new(),
            line_bytes_max: 0,
        };
        let database = MysqlDatabase {
            name: "ledger".to_owned(),
            sql: RawText::new(b"CREATE DATABASE `ledger`"),
            collation: String::new(),
            tables: vec![table],
            sequences: Vec::new(),
            views: Vec::new(),
            routines: Vec::new(),
            triggers: Vec::new(),
            events: Vec::new(),
        };
        ServerSchema {
            tablespaces: Vec::new(),
            databases: vec![database],
            plans: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// They are queried after the definition, which may have changed in between, and back before it is read again.
    #[test]
    fn other_columns_are_a_change_even_if_the_definition_reads_the_same() {
        let (plain, added) = (schema(&["id"]), schema(&["id", "added"]));
        assert_eq!(plain.find_change(&plain), None);
        let what = added.find_change(&plain).unwrap();
        assert!(what.contains("churned"), "{what}");
    }

    #[test]
    fn the_counter_of_a_table_is_no_part_of_its_definition() {
        let sql = b"CREATE TABLE `t` (\n  `a` int COMMENT ' AUTO_INCREMENT=9'\n) ENGINE=InnoDB AUTO_INCREMENT=12 DEFAULT CHARSET=utf8mb4";
        let text = String::from_utf8(without_auto_increment(sql)).unwrap();
        assert!(
            text.ends_with(") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"),
            "{text}"
        );
    }
}
