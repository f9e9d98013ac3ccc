//! Tables, databases and users that a writer makes, changes and removes while it writes.

use std::collections::{BTreeMap, BTreeSet};

use super::Random;
use super::table_model::{Books, text};
use crate::servers::Row;

/// Tables and users that a writer has at most.
const TABLES: usize = 4;
const USERS: usize = 2;

/// A table that its writer has made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Side {
    pub(super) database: String,
    /// Names with types. The first is the key.
    pub(super) columns: Vec<(String, &'static str)>,
    pub(super) rows: BTreeMap<u64, Vec<String>>,
}

/// A statement that defines something.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) kind: &'static str,
    pub(super) sql: String,
    /// What gives a number other than 0 once it is done.
    pub(super) done: String,
    /// Whether MariaDB may do it and not write it down, or lose the table, if it dies meanwhile.
    pub(super) fragile: bool,
}

impl Definition {
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

impl Side {
    /// What a look at it gives.
    pub(super) fn shown(&self) -> Vec<Row> {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        let head = vec![text("columns"), text(&columns.join(", "))];
        let rows = self.rows.iter().map(|(id, values)| {
            let id = text(&id.to_string());
            std::iter::once(id)
                .chain(values.iter().map(|value| text(value)))
                .collect()
        });
        std::iter::once(head).chain(rows).collect()
    }

    /// Values for a row of the columns behind the key.
    fn values(&self, random: &mut Random) -> Vec<String> {
        let values = self.columns.iter().skip(1);
        values.map(|(_, kind)| value(kind, random)).collect()
    }
}

fn value(kind: &str, random: &mut Random) -> String {
    match kind {
        "int" => random.below(1000).to_string(),
        _ => format!("w{}", random.below(1000)),
    }
}

fn literal(kind: &str, value: &str) -> String {
    match kind {
        "int" => value.to_owned(),
        _ => format!("'{value}'"),
    }
}

fn is_there(database: &str, table: &str) -> String {
    format!(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{database}' AND table_name = '{table}'"
    )
}

fn is_gone(database: &str, table: &str) -> String {
    is_there(database, table).replace("COUNT(*)", "COUNT(*) = 0")
}

fn columns_are(database: &str, table: &str, count: usize) -> String {
    format!(
        "SELECT COUNT(*) = {count} FROM information_schema.columns WHERE table_schema = '{database}' AND \
         table_name = '{table}'"
    )
}

impl Books {
    fn annex(&self) -> String {
        format!("annex{}", self.writer)
    }

    fn place(&self, random: &mut Random) -> String {
        match random.below(3) {
            0 if self.annex => self.annex(),
            1 => "warehouse".to_owned(),
            _ => "bookkeeping".to_owned(),
        }
    }

    fn some_side(&self, random: &mut Random) -> Option<(String, Side)> {
        let picked = random.pick(self.sides.iter());
        picked.map(|(name, side)| (name.clone(), side.clone()))
    }

    /// Defines something that can be defined now.
    pub(super) fn define(&mut self, random: &mut Random) -> Definition {
        loop {
            let definition = match random.below(13) {
                0 | 1 => self.create(random),
                2 => self.create_selected(random),
                3 | 4 => self.add_column(random),
                5 => self.drop_column(random),
                6 => self.rename(random),
                7 => self.truncate(random),
                8 => self.drop_side(random),
                9 => self.switch_annex(random),
                10 => self.create_user(),
                11 => self.grant(random),
                _ => self.drop_user(random),
            };
            if let Some(definition) = definition {
                return definition;
            }
        }
    }

    fn new_side(&mut self) -> String {
        self.serial += 1;
        format!("side_{}_{}", self.writer, self.serial)
    }

    fn create(&mut self, random: &mut Random) -> Option<Definition> {
        if self.sides.len() >= TABLES {
            return None;
        }
        let (name, database) = (self.new_side(), self.place(random));
        let sql = format!(
            "CREATE TABLE {database}.{name} (id BIGINT PRIMARY KEY, a INT NOT NULL) ENGINE = InnoDB"
        );
        let done = is_there(&database, &name);
        let columns = vec![("id".to_owned(), "bigint"), ("a".to_owned(), "int")];
        let side = Side {
            database,
            columns,
            rows: BTreeMap::new(),
        };
        self.sides.insert(name, side);
        Some(Definition::new("create table", sql, done))
    }

    fn create_selected(&mut self, random: &mut Random) -> Option<Definition> {
        if self.sides.len() >= TABLES || self.items.is_empty() {
            return None;
        }
        let (name, database) = (self.new_side(), self.place(random));
        let sql = format!(
            "CREATE TABLE {database}.{name} (PRIMARY KEY (id)) ENGINE = InnoDB \
             SELECT id, v AS a FROM warehouse.items WHERE writer = {}",
            self.writer
        );
        let done = is_there(&database, &name);
        let columns = vec![("id".to_owned(), "bigint"), ("a".to_owned(), "int")];
        let rows = self
            .items
            .iter()
            .map(|(id, item)| (*id, vec![item.v.to_string()]));
        let side = Side {
            database,
            columns,
            rows: rows.collect(),
        };
        self.sides.insert(name, side);
        Some(Definition::new("create table select", sql, done).fragile())
    }

    fn add_column(&mut self, random: &mut Random) -> Option<Definition> {
        let (name, mut side) = self.some_side(random)?;
        if side.columns.len() > 6 {
            return None;
        }
        self.serial += 1;
        let column = format!("c{}", self.serial);
        let (kind, r#type) = match random.below(2) {
            0 => ("int", "INT"),
            _ => ("varchar", "VARCHAR(20)"),
        };
        let default = value(kind, random);
        let after = 1 + random.below(side.columns.len() as u64 - 1);
        let after = usize::try_from(after).unwrap();
        let sql = format!(
            "ALTER TABLE {}.{name} ADD COLUMN {column} {type} NOT NULL DEFAULT {} AFTER {}",
            side.database,
            literal(kind, &default),
            side.columns[after].0
        );
        side.columns.insert(after + 1, (column, kind));
        for values in side.rows.values_mut() {
            values.insert(after, default.clone());
        }
        let done = columns_are(&side.database, &name, side.columns.len());
        self.sides.insert(name, side);
        Some(Definition::new("add column", sql, done).fragile())
    }

    fn drop_column(&mut self, random: &mut Random) -> Option<Definition> {
        let (name, mut side) = self.some_side(random)?;
        if side.columns.len() < 3 {
            return None;
        }
        let (column, _) = side.columns.remove(2);
        for values in side.rows.values_mut() {
            values.remove(1);
        }
        let sql = format!("ALTER TABLE {}.{name} DROP COLUMN {column}", side.database);
        let done = columns_are(&side.database, &name, side.columns.len());
        self.sides.insert(name, side);
        Some(Definition::new("drop column", sql, done).fragile())
    }

    fn rename(&mut self, random: &mut Random) -> Option<Definition> {
        let (name, mut side) = self.some_side(random)?;
        let (new, database) = (self.new_side(), self.place(random));
        let sql = format!("RENAME TABLE {}.{name} TO {database}.{new}", side.database);
        side.database = database;
        let done = is_there(&side.database, &new);
        self.sides.remove(&name);
        self.sides.insert(new, side);
        Some(Definition::new("rename table", sql, done))
    }

    fn truncate(&mut self, random: &mut Random) -> Option<Definition> {
        let (name, mut side) = self.some_side(random)?;
        if side.rows.is_empty() {
            return None;
        }
        side.rows.clear();
        let sql = format!("TRUNCATE TABLE {}.{name}", side.database);
        let done = format!("SELECT COUNT(*) = 0 FROM {}.{name}", side.database);
        self.sides.insert(name, side);
        Some(Definition::new("truncate", sql, done))
    }

    fn drop_side(&mut self, random: &mut Random) -> Option<Definition> {
        let (name, side) = self.some_side(random)?;
        self.sides.remove(&name);
        let sql = format!("DROP TABLE {}.{name}", side.database);
        Some(Definition::new(
            "drop table",
            sql,
            is_gone(&side.database, &name),
        ))
    }

    /// A database of its own, which goes with the tables that are in it.
    fn switch_annex(&mut self, random: &mut Random) -> Option<Definition> {
        let name = self.annex();
        let there = format!(
            "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '{name}'"
        );
        if !self.annex {
            self.annex = true;
            let sql = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
            return Some(Definition::new("create database", sql, there).fragile());
        }
        if random.below(3) > 0 {
            return None;
        }
        self.annex = false;
        self.sides.retain(|_, side| side.database != name);
        let gone = there.replace("COUNT(*)", "COUNT(*) = 0");
        Some(Definition::new("drop database", format!("DROP DATABASE {name}"), gone).fragile())
    }

    fn create_user(&mut self) -> Option<Definition> {
        if self.users.len() >= USERS {
            return None;
        }
        self.serial += 1;
        let name = format!("clerk_{}_{}", self.writer, self.serial);
        let sql = format!("CREATE USER {name}@'%' IDENTIFIED BY 'of {name}'");
        let done = format!("SELECT COUNT(*) FROM mysql.user WHERE user = '{name}'");
        self.users.insert(name, BTreeSet::new());
        Some(Definition::new("create user", sql, done).fragile())
    }

    /// Gives a right, or takes it back.
    fn grant(&mut self, random: &mut Random) -> Option<Definition> {
        let name = random.pick(self.users.keys())?.clone();
        let rights = self.users.entry(name.clone()).or_default();
        let right = ["SELECT", "INSERT", "DELETE"][usize::try_from(random.below(3)).unwrap()];
        let there = format!(
            "SELECT COUNT(*) FROM information_schema.schema_privileges WHERE table_schema = 'bookkeeping' AND \
             privilege_type = '{right}' AND grantee = '''{name}''@''%'''"
        );
        if rights.remove(right) {
            let sql = format!("REVOKE {right} ON bookkeeping.* FROM {name}@'%'");
            let gone = there.replace("COUNT(*)", "COUNT(*) = 0");
            return Some(Definition::new("revoke", sql, gone).fragile());
        }
        rights.insert(right);
        let sql = format!("GRANT {right} ON bookkeeping.* TO {name}@'%'");
        Some(Definition::new("grant", sql, there).fragile())
    }

    fn drop_user(&mut self, random: &mut Random) -> Option<Definition> {
        let name = random.pick(self.users.keys())?.clone();
        self.users.remove(&name);
        let done = format!("SELECT COUNT(*) = 0 FROM mysql.user WHERE user = '{name}'");
        Some(Definition::new("drop user", format!("DROP USER {name}@'%'"), done).fragile())
    }

    /// Writes rows to a table of its own, or removes one.
    pub(super) fn write_side(&mut self, random: &mut Random) -> Option<String> {
        let (name, mut side) = self.some_side(random)?;
        let table = format!("{}.{name}", side.database);
        let mut sql = String::new();
        for _ in 0..=random.below(3) {
            let some = random.pick(side.rows.keys()).copied();
            match (random.below(3), some) {
                (0, Some(id)) => {
                    side.rows.remove(&id);
                    sql += &format!("DELETE FROM {table} WHERE id = {id};\n");
                }
                (_, some) => {
                    let values = side.values(random);
                    let columns: Vec<String> =
                        side.columns.iter().map(|(name, _)| name.clone()).collect();
                    let literals = side.columns.iter().skip(1).zip(&values);
                    let literals: Vec<String> = literals
                        .map(|((_, kind), value)| literal(kind, value))
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
                    side.rows.insert(id, values);
                }
            }
        }
        self.sides.insert(name, side);
        Some(sql)
    }
}
