//! Reads the definitions of tables, views and sequences.

use std::collections::HashMap;

use reprise_mysql::sql::{qualify_name, quote_text};
use reprise_mysql::{
    DatabaseError, Flavour, MysqlStoredObject, MysqlTable, Sequence, TableColumn, TextRow,
    ValueFormat, error_code,
};

use crate::mysql::dump::schema::keys;
use crate::mysql::dump::schema::reader::SchemaReader;
use crate::mysql::dump::schema::server_schema::{TableReadPlan, raw_text, without_auto_increment};
use crate::mysql::dump::schema::stored_objects::new_stored_object;

/// Engines whose tables have no rows of their own.
const ENGINES_WITHOUT_ROWS: [&str; 4] = ["BLACKHOLE", "FEDERATED", "MRG_MYISAM", "CONNECT"];

impl SchemaReader<'_> {
    /// Tables, views and sequences.
    pub(crate) fn read_relations(&mut self, database: &str) -> Result<(), DatabaseError> {
        let mut rows = self.session.query_rows(format!(
            "SELECT TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH, TABLE_SCHEMA, TABLE_COMMENT \
             FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
            quote_text(database)
        ))?;
        // The server treats names that differ in case as equal, and lists them in any order.
        rows.sort_by_key(|row| row.string(0));
        for row in rows {
            let name = row.string(0);
            // Names are compared without case here; the server may compare them with case.
            if row.text(5) != Some(database) || !self.filter.includes_table(database, &name) {
                continue;
            }
            match row.text(1) {
                // A readable view has exactly this word as its comment.
                Some("VIEW") => self.read_view(database, &name, row.text(6) != Some("VIEW"))?,
                Some("SEQUENCE") => self.read_sequence(database, &name)?,
                Some("BASE TABLE" | "SYSTEM VERSIONED") => {
                    self.read_table(database, &name, &row)?
                }
                other => self.add_warning(format!(
                    "{} is not included: its table type {} is not supported",
                    qualify_name(database, &name),
                    other.unwrap_or("NULL")
                )),
            }
        }
        Ok(())
    }

    fn read_table(
        &mut self,
        database: &str,
        name: &str,
        row: &TextRow,
    ) -> Result<(), DatabaseError> {
        let show = format!("SHOW CREATE TABLE {}", qualify_name(database, name));
        let created = self.session.query_row(&show)?;
        let engine = row.string(2);
        let upper = engine.to_uppercase();
        let versioned = row.text(1) == Some("SYSTEM VERSIONED");
        let (columns, types) = self.read_columns(database, name, versioned)?;
        let key = keys::read_table_key(self.session, database, name, &types)?;
        let again = self.session.query_row(&show)?;
        let (sql, same) = (raw_text(&created, 1), raw_text(&again, 1));
        if without_auto_increment(sql.as_bytes()) != without_auto_increment(same.as_bytes()) {
            return Err(DatabaseError::Server {
                code: error_code::TABLE_DEFINITION_CHANGED,
                message: format!(
                    "{} changed while its definition was read",
                    qualify_name(database, name)
                ),
            });
        }
        let has_rows = !ENGINES_WITHOUT_ROWS.contains(&upper.as_str());
        let consistent = !has_rows || self.server.transactional_engines.contains(&upper);
        let database_index = self.schema.databases.len() - 1;
        let tables = &mut self.schema.databases[database_index].tables;
        tables.push(MysqlTable {
            name: name.to_owned(),
            sql,
            engine,
            consistent,
            versioned,
            columns,
            pieces: Vec::new(),
            rows: 0,
            checksum: reprise_mysql::row_text::RowChecksum::default().to_hex(),
            line_bytes_max: 0,
        });
        let plan = TableReadPlan {
            database_index,
            table_index: tables.len() - 1,
            // History rows share their key.
            key: key.filter(|_| !versioned),
            rows_estimate: row.number(3).unwrap_or(0),
            bytes_estimate: row.number(4).unwrap_or(0),
            has_rows,
        };
        self.schema.plans.push(plan);
        Ok(())
    }

    /// The columns whose values are stored, and the types of all columns.
    fn read_columns(
        &mut self,
        database: &str,
        table: &str,
        versioned: bool,
    ) -> Result<(Vec<TableColumn>, HashMap<String, keys::ColumnType>), DatabaseError> {
        let rows = self.session.query_rows(format!(
            "SELECT COLUMN_NAME, DATA_TYPE, EXTRA, DATETIME_PRECISION, CHARACTER_SET_NAME, COLLATION_NAME, \
             TABLE_SCHEMA, TABLE_NAME, GENERATION_EXPRESSION FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
            quote_text(database),
            quote_text(table)
        ))?;
        let (mut columns, mut types) = (Vec::new(), HashMap::new());
        let same = |row: &&TextRow| row.text(6) == Some(database) && row.text(7) == Some(table);
        for row in rows.iter().filter(same) {
            let name = row.string(0);
            let data_type = row.string(1).to_ascii_lowercase();
            types.insert(
                name.clone(),
                keys::ColumnType {
                    data_type: data_type.clone(),
                    charset: row.text(4).map(str::to_owned),
                    collation: row.text(5).map(str::to_owned),
                },
            );
            if is_system_time_column(row) || !is_generated(&row.string(2)) {
                let form = value_format_for(
                    &data_type,
                    row.number(3).unwrap_or(0),
                    self.server.facts.flavour,
                );
                columns.push(TableColumn { name, form });
            }
        }
        if versioned && !rows.iter().any(is_system_time_column) {
            // The period exists even when no column shows it.
            for name in ["row_start", "row_end"] {
                columns.push(TableColumn {
                    name: name.to_owned(),
                    form: ValueFormat::Datetime(6),
                });
            }
        }
        Ok((columns, types))
    }

    fn read_view(&mut self, database: &str, name: &str, broken: bool) -> Result<(), DatabaseError> {
        let created = self
            .session
            .query_row(format!("SHOW CREATE VIEW {}", qualify_name(database, name)))?;
        let code = MysqlStoredObject {
            sql_mode: None,
            charset: created.string(2),
            collation: created.string(3),
            broken,
            ..new_stored_object("VIEW", name, raw_text(&created, 1))
        };
        self.push_view(code);
        Ok(())
    }

    fn push_view(&mut self, view: MysqlStoredObject) {
        if let Some(database) = self.schema.databases.last_mut() {
            database.views.push(view);
        }
    }

    fn read_sequence(&mut self, database: &str, name: &str) -> Result<(), DatabaseError> {
        let place = qualify_name(database, name);
        let created = self
            .session
            .query_row(format!("SHOW CREATE SEQUENCE {place}"))?;
        let state = self.session.query_row(format!(
            "SELECT next_not_cached_value, cycle_count FROM {place}"
        ))?;
        let sequence = Sequence {
            name: name.to_owned(),
            sql: raw_text(&created, 1),
            next: state.string(0),
            cycle: state.string(1),
        };
        if let Some(database) = self.schema.databases.last_mut() {
            database.sequences.push(sequence);
        }
        Ok(())
    }
}

/// `DEFAULT_GENERATED` is a default, not a generated column.
fn is_generated(extra: &str) -> bool {
    let extra = extra.to_ascii_uppercase();
    ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"]
        .iter()
        .any(|kind| extra.contains(kind))
}

/// Whether a column is the start or end of a versioned row's time, which is loaded with the row.
fn is_system_time_column(row: &TextRow) -> bool {
    row.text(8).is_some_and(|expression| {
        matches!(
            expression.to_ascii_uppercase().as_str(),
            "ROW START" | "ROW END"
        )
    })
}

fn value_format_for(data_type: &str, digits: u8, flavour: Flavour) -> ValueFormat {
    match data_type {
        "year" => ValueFormat::Year,
        "date" => ValueFormat::Date,
        "datetime" | "timestamp" => ValueFormat::Datetime(digits),
        "time" => ValueFormat::Time(digits),
        "enum" => ValueFormat::Enum,
        // MariaDB's JSON is text with a check constraint.
        "json" if flavour == Flavour::Mysql => ValueFormat::Json,
        "uuid" | "inet6" | "inet4" => ValueFormat::Unicode,
        _ => ValueFormat::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generated_columns_are_left_out() {
        assert!(is_generated("VIRTUAL GENERATED") && is_generated("STORED GENERATED INVISIBLE"));
        assert!(!is_generated(
            "DEFAULT_GENERATED on update CURRENT_TIMESTAMP"
        ));
        assert!(!is_generated("auto_increment INVISIBLE"));
    }
}
