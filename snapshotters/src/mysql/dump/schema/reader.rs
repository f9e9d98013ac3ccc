//! Reading definitions: databases, tables with their columns and keys, and stored objects.

use std::collections::{BTreeMap, HashMap};

use reprise_mysql::sql::{qualify_name, quote_name, quote_text};
use reprise_mysql::{
    DatabaseError, Filter, Flavour, MysqlDatabase, MysqlStoredObject, MysqlTable, ObjectDefinition,
    Privileges, Sequence, ServerInfo, Session, TableColumn, TextRow, ValueFormat, error_code,
};
use reprise_repository::RawText;

use crate::mysql::dump::schema::keys::{self, ScanKey};
use crate::mysql::dump::schema::view_order;

/// Engines whose tables have no rows of their own.
const ENGINES_WITHOUT_ROWS: [&str; 4] = ["BLACKHOLE", "FEDERATED", "MRG_MYISAM", "CONNECT"];

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
fn without_auto_increment(sql: &[u8]) -> Vec<u8> {
    let word = b" AUTO_INCREMENT=";
    let Some(at) = memchr::memmem::rfind(sql, word) else {
        return sql.to_vec();
    };
    let rest = &sql[at + word.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    [&sql[..at], &rest[digits..]].concat()
}

/// Reads definitions.
pub(crate) fn read_schema(
    session: &mut Session,
    server: &ServerInfo,
    filter: &Filter,
) -> Result<ServerSchema, DatabaseError> {
    let rights = Privileges::query(session)?;
    let mut reader = SchemaReader {
        session,
        server,
        filter,
        rights,
        schema: ServerSchema {
            tablespaces: Vec::new(),
            databases: Vec::new(),
            plans: Vec::new(),
            warnings: Vec::new(),
        },
    };
    reader.read_tablespaces()?;
    let names = reader.read_database_names()?;
    reader.warn_about_unmatched_databases(&names);
    for name in names {
        reader.read_database(&name)?;
    }
    reader.warn_about_unmatched_tables();
    Ok(reader.schema)
}

struct SchemaReader<'a> {
    session: &'a mut Session,
    server: &'a ServerInfo,
    filter: &'a Filter,
    rights: Privileges,
    schema: ServerSchema,
}

impl SchemaReader<'_> {
    fn read_database_names(&mut self) -> Result<Vec<String>, DatabaseError> {
        let rows = self
            .session
            .query_rows("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")?;
        let names = rows.iter().map(|row| row.string(0));
        let mut taken: Vec<String> = names
            .filter(|name| self.filter.includes_database(name))
            .collect();
        taken.sort();
        Ok(taken)
    }

    /// General tablespaces of MySQL; an account that may not see them uses none that matter to `CREATE TABLE`.
    fn read_tablespaces(&mut self) -> Result<(), DatabaseError> {
        if self.server.facts.flavour == Flavour::Mariadb {
            return Ok(());
        }
        let statement = "SELECT t.NAME, f.FILE_NAME, t.PAGE_SIZE, t.ZIP_PAGE_SIZE, t.ENCRYPTION \
             FROM information_schema.INNODB_TABLESPACES t JOIN information_schema.FILES f ON f.FILE_ID = t.SPACE \
             WHERE t.SPACE_TYPE = 'General' AND t.NAME <> 'mysql' ORDER BY t.NAME";
        let rows = match self.session.query_rows(statement) {
            Ok(rows) => rows,
            Err(DatabaseError::Server { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        for row in rows {
            let name = row.string(0);
            let block = row.number::<u64>(3).filter(|size| *size > 0);
            let mut sql = format!(
                "CREATE TABLESPACE {} ADD DATAFILE {}",
                quote_name(&name),
                quote_text(&row.string(1))
            );
            if let Some(block) = block {
                sql.push_str(&format!(" FILE_BLOCK_SIZE = {block}"));
            }
            if row.text(4) == Some("Y") {
                sql.push_str(" ENCRYPTION = 'Y'");
            }
            sql.push_str(" ENGINE = InnoDB");
            self.schema.tablespaces.push(ObjectDefinition {
                name,
                sql: RawText::from(sql.as_str()),
            });
        }
        Ok(())
    }

    fn read_database(&mut self, name: &str) -> Result<(), DatabaseError> {
        let created = self
            .session
            .query_row(format!("SHOW CREATE DATABASE {}", quote_name(name)))?;
        // Statements that can omit the database's name do, so that it can be restored under another name.
        self.session.execute(format!("USE {}", quote_name(name)))?;
        let collation = self
            .session
            .query_row("SELECT @@collation_database")?
            .string(0);
        self.warn_about_missing_privileges(name);
        self.schema.databases.push(MysqlDatabase {
            name: name.to_owned(),
            sql: raw_text(&created, 1),
            collation,
            tables: Vec::new(),
            sequences: Vec::new(),
            views: Vec::new(),
            routines: Vec::new(),
            triggers: Vec::new(),
            events: Vec::new(),
        });
        self.read_relations(name)?;
        let routines = self.read_routines(name)?;
        let triggers = self.read_triggers(name)?;
        let events = self.read_events(name)?;
        if let Some(database) = self.schema.databases.last_mut() {
            database.routines = routines;
            database.triggers = triggers;
            database.events = events;
            view_order::sort_views(&database.name, &mut database.views);
        }
        Ok(())
    }

    /// Warns about what the server may hide.
    fn warn_about_missing_privileges(&mut self, database: &str) {
        let rights = &self.rights;
        let has = |right| rights.has_on_database(right, database);
        let in_tables = self.server.facts.flavour == Flavour::Mariadb
            || self.server.facts.version.starts_with("5.");
        let seen = [
            (
                "SELECT",
                "tables and views",
                has("SELECT") || self.filter.selects_tables_by_name(),
            ),
            ("TRIGGER", "triggers", has("TRIGGER")),
            ("EVENT", "events", has("EVENT")),
            (
                if in_tables { "EXECUTE" } else { "SHOW_ROUTINE" },
                "routines",
                rights.can_see_routines(database, in_tables),
            ),
        ];
        for (right, what, seen) in seen {
            if !seen {
                self.add_warning(format!(
                    "{what} of database {} may be missing: the account has no {right} privilege on it",
                    quote_name(database)
                ));
            }
        }
    }

    /// Warns about patterns without a match, and about hidden databases.
    fn warn_about_unmatched_databases(&mut self, taken: &[String]) {
        for pattern in self.filter.unmatched_databases(taken) {
            self.add_warning(format!("no database matches `{pattern}`"));
        }
        if !self.rights.can_see_all_databases() && !self.filter.selects_databases_by_name() {
            self.add_warning(
                "databases may be missing: the server hides databases on which the account has no privileges (grant SELECT ON *.*, or select databases by name with --database)"
                    .to_owned(),
            );
        }
    }

    fn warn_about_unmatched_tables(&mut self) {
        let databases = self.schema.databases.iter();
        let names: Vec<(&str, &str)> = databases
            .flat_map(|database| {
                let tables = database.tables.iter().map(|table| table.name.as_str());
                let views = database.views.iter().map(|view| view.name.as_str());
                let sequences = database
                    .sequences
                    .iter()
                    .map(|sequence| sequence.name.as_str());
                let all = tables.chain(views).chain(sequences);
                all.map(|name| (database.name.as_str(), name))
            })
            .collect();
        for pattern in self.filter.unmatched_tables(&names) {
            self.add_warning(format!("no table or view matches `{pattern}`"));
        }
    }

    fn add_warning(&mut self, warning: String) {
        self.schema.warnings.push(warning);
    }

    /// Tables, views and sequences.
    fn read_relations(&mut self, database: &str) -> Result<(), DatabaseError> {
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

    fn read_routines(&mut self, database: &str) -> Result<Vec<MysqlStoredObject>, DatabaseError> {
        let mut rows = self.read_libraries(database)?;
        rows.extend(self.session.query_rows(format!(
            "SELECT ROUTINE_NAME, ROUTINE_TYPE FROM information_schema.ROUTINES \
             WHERE ROUTINE_SCHEMA = {} ORDER BY ROUTINE_TYPE, ROUTINE_NAME",
            quote_text(database)
        ))?);
        let mut routines = Vec::new();
        for row in rows {
            let (name, kind) = (row.string(0), row.string(1));
            let created = self.session.query_row(format!(
                "SHOW CREATE {kind} {}",
                qualify_name(database, &name)
            ))?;
            let Some(sql) = created.bytes(2) else {
                return Err(DatabaseError::Server {
                    code: 1370,
                    message: format!(
                        "the account cannot read the body of {} {}: it needs the SHOW_ROUTINE privilege, or SELECT ON *.*",
                        kind.to_lowercase(),
                        qualify_name(database, &name)
                    ),
                });
            };
            let sql = RawText::new(sql);
            // Libraries have no character set of their own.
            let or = |column, default: &str| created.text(column).unwrap_or(default).to_owned();
            routines.push(MysqlStoredObject {
                sql_mode: Some(created.string(1)),
                charset: or(3, "utf8mb4"),
                collation: or(4, "utf8mb4_general_ci"),
                database_collation: created.text(5).map(str::to_owned),
                ..new_stored_object(&kind, &name, sql)
            });
        }
        Ok(routines)
    }

    /// Libraries of code for functions, which must be created first. Few servers have them.
    fn read_libraries(&mut self, database: &str) -> Result<Vec<TextRow>, DatabaseError> {
        let rows = self.session.query_rows(format!(
            "SELECT LIBRARY_NAME, 'LIBRARY' FROM information_schema.LIBRARIES \
             WHERE LIBRARY_SCHEMA = {} ORDER BY LIBRARY_NAME",
            quote_text(database)
        ));
        match rows {
            Ok(rows) => Ok(rows),
            Err(DatabaseError::Server {
                code: 1109 | error_code::NO_SUCH_TABLE,
                ..
            }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn read_triggers(&mut self, database: &str) -> Result<Vec<MysqlStoredObject>, DatabaseError> {
        let rows = self.session.query_rows(format!(
            "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS \
             WHERE TRIGGER_SCHEMA = {} \
             ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER",
            quote_text(database)
        ))?;
        let mut triggers = Vec::new();
        for row in rows {
            let (name, table) = (row.string(0), row.string(1));
            if !self.filter.includes_table(database, &table) {
                continue;
            }
            let created = self.session.query_row(format!(
                "SHOW CREATE TRIGGER {}",
                qualify_name(database, &name)
            ))?;
            triggers.push(MysqlStoredObject {
                sql_mode: Some(created.string(1)),
                charset: created.string(3),
                collation: created.string(4),
                database_collation: created.text(5).map(str::to_owned),
                table: Some(table),
                ..new_stored_object("TRIGGER", &name, raw_text(&created, 2))
            });
        }
        Ok(triggers)
    }

    fn read_events(&mut self, database: &str) -> Result<Vec<MysqlStoredObject>, DatabaseError> {
        let rows = match self.session.query_rows(format!(
            "SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} ORDER BY 1",
            quote_text(database)
        )) {
            Ok(rows) => rows,
            // MariaDB with broken or disabled scheduler tables reports it here.
            Err(DatabaseError::Server { code: 1545 | 1577 | error_code::NO_SUCH_TABLE, .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut events = Vec::new();
        for row in rows {
            let name = row.string(0);
            let created = self.session.query_row(format!(
                "SHOW CREATE EVENT {}",
                qualify_name(database, &name)
            ))?;
            events.push(MysqlStoredObject {
                sql_mode: Some(created.string(1)),
                time_zone: Some(created.string(2)),
                charset: created.string(4),
                collation: created.string(5),
                database_collation: created.text(6).map(str::to_owned),
                status: row.text(1).map(str::to_owned),
                ..new_stored_object("EVENT", &name, raw_text(&created, 3))
            });
        }
        Ok(events)
    }
}

fn raw_text(row: &TextRow, column: usize) -> RawText {
    RawText::new(row.bytes(column).unwrap_or_default())
}

fn new_stored_object(kind: &str, name: &str, sql: RawText) -> MysqlStoredObject {
    MysqlStoredObject {
        name: name.to_owned(),
        kind: kind.to_owned(),
        sql,
        sql_mode: None,
        charset: String::new(),
        collation: String::new(),
        database_collation: None,
        time_zone: None,
        table: None,
        status: None,
        broken: false,
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
    fn only_generated_columns_are_left_out() {
        assert!(is_generated("VIRTUAL GENERATED") && is_generated("STORED GENERATED INVISIBLE"));
        assert!(!is_generated(
            "DEFAULT_GENERATED on update CURRENT_TIMESTAMP"
        ));
        assert!(!is_generated("auto_increment INVISIBLE"));
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
