//! Tables, databases and users that a writer makes, changes and removes while it writes.

use std::collections::{BTreeMap, BTreeSet};

use super::Random;
use super::table_model::{TableModel, text_value};
use crate::servers::Row;

/// Tables and users that a writer has at most.
const TABLES: usize = 4;
const USERS: usize = 2;

/// A table that its writer has made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OwnTable {
    pub(super) database: String,
    /// Names with types. The first is the key.
    pub(super) columns: Vec<(String, &'static str)>,
    pub(super) rows: BTreeMap<u64, Vec<String>>,
}

/// A DDL statement.
#[derive(Debug)]
pub(super) struct DdlStatement {
    pub(super) kind: &'static str,
    pub(super) sql: String,
    /// A query that gives a number other than 0 once it is done.
    pub(super) done: String,
    /// Whether MariaDB may do it without logging it, or lose the table, if it dies meanwhile.
    pub(super) fragile: bool,
}

impl DdlStatement {
    fn new(kind: &'static str, sql: String, done: String) -> Self {
        Self {
            kind,
            sql,
            done,
            fragile: false,
        }
    }

    fn fragile(self) -> Self {
        Self {
            fragile: true,
            ..self
        }
    }
}

impl OwnTable {
    /// What reading it gives.
    pub(super) fn content_rows(&self) -> Vec<Row> {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        let head = vec![text_value("columns"), text_value(&columns.join(", "))];
        let rows = self.rows.iter().map(|(id, values)| {
            let id = text_value(&id.to_string());
            std::iter::once(id)
                .chain(values.iter().map(|value| text_value(value)))
                .collect()
        });
        std::iter::once(head).chain(rows).collect()
    }

    /// Values for a row of the columns behind the key.
    fn random_values(&self, random: &mut Random) -> Vec<String> {
        let values = self.columns.iter().skip(1);
        values.map(|(_, kind)| random_value(kind, random)).collect()
    }
}

fn random_value(kind: &str, random: &mut Random) -> String {
    match kind {
        "int" => random.below(1000).to_string(),
        _ => format!("w{}", random.below(1000)),
    }
}

fn sql_literal(kind: &str, value: &str) -> String {
    match kind {
        "int" => value.to_owned(),
        _ => format!("'{value}'"),
    }
}

fn table_exists(database: &str, table: &str) -> String {
    format!(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{database}' AND table_name = '{table}'"
    )
}

fn table_is_missing(database: &str, table: &str) -> String {
    table_exists(database, table).replace("COUNT(*)", "COUNT(*) = 0")
}

fn column_count_is(database: &str, table: &str, count: usize) -> String {
    format!(
        "SELECT COUNT(*) = {count} FROM information_schema.columns WHERE table_schema = '{database}' AND \
         table_name = '{table}'"
    )
}

impl TableModel {
    fn annex_name(&self) -> String {
        format!("annex{}", self.writer)
    }

    fn pick_database(&self, random: &mut Random) -> String {
        match random.below(3) {
            0 if self.annex => self.annex_name(),
            1 => "warehouse".to_owned(),
            _ => "bookkeeping".to_owned(),
        }
    }

    fn pick_own_table(&self, random: &mut Random) -> Option<(String, OwnTable)> {
        let picked = random.pick(self.own_tables.iter());
        picked.map(|(name, table_def)| (name.clone(), table_def.clone()))
    }

    /// The next DDL statement that is possible now.
    pub(super) fn next_ddl(&mut self, random: &mut Random) -> DdlStatement {
        loop {
            let statement = match random.below(13) {
                0 | 1 => self.create_table(random),
                2 => self.create_table_select(random),
                3 | 4 => self.add_column(random),
                5 => self.drop_column(random),
                6 => self.rename_table(random),
                7 => self.truncate_table(random),
                8 => self.drop_table(random),
                9 => self.toggle_annex(random),
                10 => self.create_user(),
                11 => self.change_grant(random),
                _ => self.drop_user(random),
            };
            if let Some(statement) = statement {
                return statement;
            }
        }
    }

    fn new_table_name(&mut self) -> String {
        self.serial += 1;
        format!("side_{}_{}", self.writer, self.serial)
    }

    fn create_table(&mut self, random: &mut Random) -> Option<DdlStatement> {
        if self.own_tables.len() >= TABLES {
            return None;
        }
        let (name, database) = (self.new_table_name(), self.pick_database(random));
        let sql = format!(
            "CREATE TABLE {database}.{name} (id BIGINT PRIMARY KEY, a INT NOT NULL) ENGINE = InnoDB"
        );
        let done = table_exists(&database, &name);
        let columns = vec![("id".to_owned(), "bigint"), ("a".to_owned(), "int")];
        let table_def = OwnTable {
            database,
            columns,
            rows: BTreeMap::new(),
        };
        self.own_tables.insert(name, table_def);
        Some(DdlStatement::new("create table", sql, done))
    }

    fn create_table_select(&mut self, random: &mut Random) -> Option<DdlStatement> {
        if self.own_tables.len() >= TABLES || self.items.is_empty() {
            return None;
        }
        let (name, database) = (self.new_table_name(), self.pick_database(random));
        let sql = format!(
            "CREATE TABLE {database}.{name} (PRIMARY KEY (id)) ENGINE = InnoDB \
             SELECT id, v AS a FROM warehouse.items WHERE writer = {}",
            self.writer
        );
        let done = table_exists(&database, &name);
        let columns = vec![("id".to_owned(), "bigint"), ("a".to_owned(), "int")];
        let rows = self
            .items
            .iter()
            .map(|(id, item)| (*id, vec![item.v.to_string()]));
        let table_def = OwnTable {
            database,
            columns,
            rows: rows.collect(),
        };
        self.own_tables.insert(name, table_def);
        Some(DdlStatement::new("create table select", sql, done).fragile())
    }

    fn add_column(&mut self, random: &mut Random) -> Option<DdlStatement> {
        let (name, mut table_def) = self.pick_own_table(random)?;
        if table_def.columns.len() > 6 {
            return None;
        }
        self.serial += 1;
        let column = format!("c{}", self.serial);
        let (kind, r#type) = match random.below(2) {
            0 => ("int", "INT"),
            _ => ("varchar", "VARCHAR(20)"),
        };
        let default = random_value(kind, random);
        let after = 1 + random.below(table_def.columns.len() as u64 - 1);
        let after = usize::try_from(after).unwrap();
        let sql = format!(
            "ALTER TABLE {}.{name} ADD COLUMN {column} {type} NOT NULL DEFAULT {} AFTER {}",
            table_def.database,
            sql_literal(kind, &default),
            table_def.columns[after].0
        );
        table_def.columns.insert(after + 1, (column, kind));
        for values in table_def.rows.values_mut() {
            values.insert(after, default.clone());
        }
        let done = column_count_is(&table_def.database, &name, table_def.columns.len());
        self.own_tables.insert(name, table_def);
        Some(DdlStatement::new("add column", sql, done).fragile())
    }

    fn drop_column(&mut self, random: &mut Random) -> Option<DdlStatement> {
        let (name, mut table_def) = self.pick_own_table(random)?;
        if table_def.columns.len() < 3 {
            return None;
        }
        let (column, _) = table_def.columns.remove(2);
        for values in table_def.rows.values_mut() {
            values.remove(1);
        }
        let sql = format!(
            "ALTER TABLE {}.{name} DROP COLUMN {column}",
            table_def.database
        );
        let done = column_count_is(&table_def.database, &name, table_def.columns.len());
        self.own_tables.insert(name, table_def);
        Some(DdlStatement::new("drop column", sql, done).fragile())
    }

    fn rename_table(&mut self, random: &mut Random) -> Option<DdlStatement> {
        let (name, mut table_def) = self.pick_own_table(random)?;
        let (new, database) = (self.new_table_name(), self.pick_database(random));
        let sql = format!(
            "RENAME TABLE {}.{name} TO {database}.{new}",
            table_def.database
        );
        table_def.database = database;
        let done = table_exists(&table_def.database, &new);
        self.own_tables.remove(&name);
        self.own_tables.insert(new, table_def);
        Some(DdlStatement::new("rename table", sql, done))
    }

    fn truncate_table(&mut self, random: &mut Random) -> Option<DdlStatement> {
        let (name, mut table_def) = self.pick_own_table(random)?;
        if table_def.rows.is_empty() {
            return None;
        }
        table_def.rows.clear();
        let sql = format!("TRUNCATE TABLE {}.{name}", table_def.database);
        let done = format!("SELECT COUNT(*) = 0 FROM {}.{name}", table_def.database);
        self.own_tables.insert(name, table_def);
        Some(DdlStatement::new("truncate", sql, done))
    }

    fn drop_table(&mut self, random: &mut Random) -> Option<DdlStatement> {
        let (name, table_def) = self.pick_own_table(random)?;
        self.own_tables.remove(&name);
        let sql = format!("DROP TABLE {}.{name}", table_def.database);
        Some(DdlStatement::new(
            "drop table",
            sql,
            table_is_missing(&table_def.database, &name),
        ))
    }

    /// A database of its own, which goes with the tables that are in it.
    fn toggle_annex(&mut self, random: &mut Random) -> Option<DdlStatement> {
        let name = self.annex_name();
        let exists = format!(
            "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '{name}'"
        );
        if !self.annex {
            self.annex = true;
            let sql = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
            return Some(DdlStatement::new("create database", sql, exists).fragile());
        }
        if random.below(3) > 0 {
            return None;
        }
        self.annex = false;
        self.own_tables
            .retain(|_, table_def| table_def.database != name);
        let missing = exists.replace("COUNT(*)", "COUNT(*) = 0");
        Some(DdlStatement::new("drop database", format!("DROP DATABASE {name}"), missing).fragile())
    }

    fn create_user(&mut self) -> Option<DdlStatement> {
        if self.users.len() >= USERS {
            return None;
        }
        self.serial += 1;
        let name = format!("clerk_{}_{}", self.writer, self.serial);
        let sql = format!("CREATE USER {name}@'%' IDENTIFIED BY 'of {name}'");
        let done = format!("SELECT COUNT(*) FROM mysql.user WHERE user = '{name}'");
        self.users.insert(name, BTreeSet::new());
        Some(DdlStatement::new("create user", sql, done).fragile())
    }

    /// Grants a privilege, or revokes it.
    fn change_grant(&mut self, random: &mut Random) -> Option<DdlStatement> {
        let name = random.pick(self.users.keys())?.clone();
        let privileges = self.users.entry(name.clone()).or_default();
        let privilege = ["SELECT", "INSERT", "DELETE"][usize::try_from(random.below(3)).unwrap()];
        let exists = format!(
            "SELECT COUNT(*) FROM information_schema.schema_privileges WHERE table_schema = 'bookkeeping' AND \
             privilege_type = '{privilege}' AND grantee = '''{name}''@''%'''"
        );
        if privileges.remove(privilege) {
            let sql = format!("REVOKE {privilege} ON bookkeeping.* FROM {name}@'%'");
            let missing = exists.replace("COUNT(*)", "COUNT(*) = 0");
            return Some(DdlStatement::new("revoke", sql, missing).fragile());
        }
        privileges.insert(privilege);
        let sql = format!("GRANT {privilege} ON bookkeeping.* TO {name}@'%'");
        Some(DdlStatement::new("grant", sql, exists).fragile())
    }

    fn drop_user(&mut self, random: &mut Random) -> Option<DdlStatement> {
        let name = random.pick(self.users.keys())?.clone();
        self.users.remove(&name);
        let done = format!("SELECT COUNT(*) = 0 FROM mysql.user WHERE user = '{name}'");
        Some(DdlStatement::new("drop user", format!("DROP USER {name}@'%'"), done).fragile())
    }

    /// Writes rows to a table of its own, or removes one.
    pub(super) fn write_own_table(&mut self, random: &mut Random) -> Option<String> {
        let (name, mut table_def) = self.pick_own_table(random)?;
        let table = format!("{}.{name}", table_def.database);
        let mut sql = String::new();
        for _ in 0..=random.below(3) {
            let some = random.pick(table_def.rows.keys()).copied();
            match (random.below(3), some) {
                (0, Some(id)) => {
                    table_def.rows.remove(&id);
                    sql += &format!("DELETE FROM {table} WHERE id = {id};\n");
                }
                (_, some) => {
                    let values = table_def.random_values(random);
                    let columns: Vec<String> = table_def
                        .columns
                        .iter()
                        .map(|(name, _)| name.clone())
                        .collect();
                    let literals = table_def.columns.iter().skip(1).zip(&values);
                    let literals: Vec<String> = literals
                        .map(|((_, kind), value)| sql_literal(kind, value))
                        .collect();
                    self.serial += 1;
                    let id = some
                        .filter(|_| random.below(2) == 0)
                        .unwrap_or(1_000_000 + self.serial);
                    sql += &format!(
                        "REPLACE INTO {table} ({}) VALUES ({id}, {});\n",
                        columns.join(", "),
                        literals.join(", ")
                    );
                    table_def.rows.insert(id, values);
                }
            }
        }
        self.own_tables.insert(name, table_def);
        Some(sql)
    }
}
