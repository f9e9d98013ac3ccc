//! Checks the target before anything is written: what conflicts with the restore, and what the target cannot hold.

use std::collections::BTreeSet;

use reprise_mysql::sql::{qualify_name, quote_list, quote_name};
use reprise_mysql::{
    DatabaseError, Flavour, Manifest, MysqlStoredObject, Privileges, SYSTEM_DATABASES, ServerInfo,
    Session,
};

use crate::error::{Error, Result};
use crate::mysql::load::ddl::{SqlTokens, TokenKind};
use crate::mysql::load::renaming;
use crate::mysql::load::selection::SelectedDatabase;
use crate::mysql::options::MysqlRestoreOptions;
use crate::mysql::report::{MysqlRestorePlan, PlannedTable};
use crate::mysql::restore_state;

/// The facts about the target.
#[derive(Debug)]
pub(crate) struct TargetServer {
    pub(crate) server: ServerInfo,
    /// Statements that drop conflicting objects.
    pub(crate) drop_statements: Vec<String>,
    /// Whether rows can be loaded without changing another setting of the server.
    pub(crate) local_infile: bool,
    /// Whether another setting must be changed for triggers and functions, as the server has a binary log.
    pub(crate) must_trust_creators: bool,
    pub(crate) warnings: Vec<String>,
    pub(crate) problems: Vec<String>,
}

/// Examines the target.
pub(crate) fn inspect_target(
    control: &mut Session,
    manifest: &Manifest,
    selected: &[SelectedDatabase],
    options: &MysqlRestoreOptions,
) -> Result<TargetServer> {
    let failed = |doing: &'static str| move |error| Error::from_database(doing, error);
    let server = ServerInfo::query(control)
        .map_err(failed("query the version and variables of the target"))?;
    let mut target = TargetServer {
        server,
        drop_statements: Vec::new(),
        local_infile: false,
        must_trust_creators: false,
        warnings: Vec::new(),
        problems: Vec::new(),
    };
    target.check_names(manifest, selected);
    target
        .check_collations(control, selected)
        .map_err(failed("list the target's collations"))?;
    target
        .check_engines(control, selected)
        .map_err(failed("list the target's storage engines"))?;
    target.check_plugins(manifest, selected);
    target.warnings.extend(renaming::find_old_names(selected));
    target
        .check_server_settings(control, options)
        .map_err(failed("read the settings of the target"))?;
    target
        .check_creators(control, selected)
        .map_err(failed("read the account's privileges on the target"))?;
    target.check_existing_databases(control, selected, options)?;
    Ok(target)
}

impl TargetServer {
    fn check_names(&mut self, manifest: &Manifest, selected: &[SelectedDatabase]) {
        let setting = "lower_case_table_names";
        let before = manifest.server.variables.get(setting).map(String::as_str);
        let now = self.server.variable(setting);
        if before == now || now == Some("0") {
            return;
        }
        let mut lower = BTreeSet::new();
        for chosen in selected {
            for table in &chosen.database.tables {
                let name = qualify_name(&chosen.target, &table.name);
                if !lower.insert(name.to_lowercase()) {
                    self.problems.push(format!(
                        "{name} differs from another table only in letter case, which the target ignores ({setting}={})",
                        now.unwrap_or("?")
                    ));
                }
            }
        }
    }

    fn check_collations(
        &mut self,
        control: &mut Session,
        selected: &[SelectedDatabase],
    ) -> Result<(), DatabaseError> {
        // MariaDB lists the Unicode 14 collations by their names without a character set.
        let rows = control.query_rows(
            "SELECT CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLLATIONS",
        )?;
        let mut known = BTreeSet::new();
        for row in &rows {
            known.insert(row.string(0).to_lowercase());
            known.insert(row.string(1).to_lowercase());
        }
        let full = "SELECT FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY";
        if let Ok(rows) = control.query_rows(full) {
            known.extend(rows.iter().map(|row| row.string(0).to_lowercase()));
        }
        for chosen in selected {
            let database = &chosen.database;
            let mut check = |sql: &[u8], what: String| {
                for name in find_collations(sql) {
                    if !known.contains(&name) {
                        self.problems.push(format!(
                            "{what} needs `{name}`, a character set or collation that the target does not support"
                        ));
                    }
                }
            };
            check(
                database.sql.as_bytes(),
                format!("database {}", quote_name(&database.name)),
            );
            for table in &database.tables {
                check(
                    table.sql.as_bytes(),
                    qualify_name(&database.name, &table.name),
                );
            }
        }
        Ok(())
    }

    fn check_engines(
        &mut self,
        control: &mut Session,
        selected: &[SelectedDatabase],
    ) -> Result<(), DatabaseError> {
        let rows = control.query_rows("SHOW ENGINES")?;
        let usable = |row: &&reprise_mysql::TextRow| matches!(row.text(1), Some("YES" | "DEFAULT"));
        let known: BTreeSet<String> = rows
            .iter()
            .filter(usable)
            .map(|row| row.string(0).to_lowercase())
            .collect();
        for chosen in selected {
            for table in &chosen.database.tables {
                if !known.contains(&table.engine.to_lowercase()) {
                    self.problems.push(format!(
                        "{} needs the storage engine {}, which the target does not have",
                        qualify_name(&chosen.database.name, &table.name),
                        table.engine
                    ));
                }
            }
        }
        Ok(())
    }

    /// Plugins, components and loadable functions that the source had.
    fn check_plugins(&mut self, manifest: &Manifest, selected: &[SelectedDatabase]) {
        let whole = selected.iter().all(|chosen| chosen.whole);
        if !whole || manifest.server.flavour != self.server.facts.flavour {
            if manifest.server.flavour != self.server.facts.flavour {
                self.warnings.push(format!(
                    "the snapshot was taken from {}, but the target is {}: accounts are not restored, and definitions may be interpreted differently",
                    manifest.server.version, self.server.facts.version
                ));
            }
            return;
        }
        let here = &self.server.facts;
        let missing = |what: &str, wanted: &[String], known: &[String]| {
            let absent: Vec<&str> = wanted
                .iter()
                .filter(|name| !known.contains(name))
                .map(String::as_str)
                .collect();
            (!absent.is_empty()).then(|| {
                format!(
                    "{what} that the source has and the target lacks: {}",
                    absent.join(", ")
                )
            })
        };
        let names = |functions: &std::collections::BTreeMap<String, String>| -> Vec<String> {
            functions.keys().cloned().collect()
        };
        let found = [
            missing("plugins", &manifest.server.plugins, &here.plugins),
            missing("components", &manifest.server.components, &here.components),
            missing(
                "loadable functions",
                &names(&manifest.server.functions),
                &names(&here.functions),
            ),
        ];
        self.warnings.extend(found.into_iter().flatten());
    }

    fn check_server_settings(
        &mut self,
        control: &mut Session,
        options: &MysqlRestoreOptions,
    ) -> Result<(), DatabaseError> {
        self.local_infile = control.query_row("SELECT @@GLOBAL.local_infile")?.text(0) == Some("1");
        let read_only = control.query_row("SELECT @@GLOBAL.read_only")?;
        if read_only.text(0) == Some("1") && control.execute("SET GLOBAL read_only = 1").is_err() {
            self.problems
                .push("the target is read-only for this account (read_only=ON)".to_owned());
        }
        if self.server.has_binary_log() && !options.write_binlog {
            match control.execute("SET SESSION sql_log_bin = 0") {
                Ok(_) => {}
                Err(DatabaseError::Server { message, .. }) => self.problems.push(format!(
                    "the account cannot turn off binary logging for the restore ({message}): grant the privilege, or let the target log the restore with --write-binlog"
                )),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A server with a binary log accepts triggers and functions only from privileged accounts, although none of them
    /// is written to the log here.
    fn check_creators(
        &mut self,
        control: &mut Session,
        selected: &[SelectedDatabase],
    ) -> Result<(), DatabaseError> {
        let setting = "log_bin_trust_function_creators";
        let trusts = matches!(self.server.variable(setting), Some("ON" | "1"));
        let needed = selected.iter().any(|chosen| {
            let database = &chosen.database;
            let function = |code: &MysqlStoredObject| code.kind != "PROCEDURE";
            !database.triggers.is_empty() || database.routines.iter().any(function)
        });
        if trusts || !needed || !self.server.has_binary_log() {
            return Ok(());
        }
        let rights = Privileges::query(control)?;
        self.must_trust_creators = ["SUPER", "SYSTEM_VARIABLES_ADMIN", "BINLOG ADMIN"]
            .iter()
            .any(|right| rights.has_globally(right));
        if !self.must_trust_creators {
            self.problems.push(format!(
                "the account may not create triggers and functions because the target has binary logging enabled: set {setting}=ON on the target, or grant SYSTEM_VARIABLES_ADMIN (BINLOG ADMIN in MariaDB)"
            ));
        }
        Ok(())
    }

    /// Refuses whatever would mix with, or replace, existing objects.
    fn check_existing_databases(
        &mut self,
        control: &mut Session,
        selected: &[SelectedDatabase],
        options: &MysqlRestoreOptions,
    ) -> Result<()> {
        let failed = |error| Error::from_database("list the tables on the target", error);
        let mut full = Vec::new();
        let system = quote_list(
            SYSTEM_DATABASES
                .into_iter()
                .chain([restore_state::STATE_DATABASE, restore_state::DRILL_DATABASE]),
        );
        let rows = control
            .query_rows(format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA NOT IN {system}"
            ))
            .map_err(failed)?;
        let named = !options.databases.is_empty() || !options.tables.is_empty();
        for row in &rows {
            let (database, name) = (row.string(0), row.string(1));
            let chosen = selected.iter().find(|chosen| chosen.target == database);
            match chosen {
                Some(chosen) if chosen.whole => full.push((database, None, String::new())),
                Some(chosen) if includes_object(chosen, &name) => {
                    full.push((database, Some(name), row.string(2)))
                }
                Some(_) => {}
                None if named || options.resume => {}
                None => {
                    return Err(Error::ServerNotEmpty {
                        target: options.address.to_string(),
                        found: quote_name(&database),
                    });
                }
            }
        }
        full.sort();
        full.dedup();
        if options.resume {
            return Ok(());
        }
        for (database, name, kind) in full {
            let shown = match &name {
                Some(name) => qualify_name(&database, name),
                None => quote_name(&database),
            };
            if !options.overwrite {
                return Err(Error::DatabaseNotEmpty {
                    target: options.address.to_string(),
                    found: shown,
                });
            }
            self.drop_statements.push(match (name, kind.as_str()) {
                (None, _) => format!("DROP DATABASE {shown}"),
                (Some(_), "VIEW") => format!("DROP VIEW {shown}"),
                (Some(_), "SEQUENCE") => format!("DROP SEQUENCE {shown}"),
                _ => format!("DROP TABLE {shown}"),
            });
        }
        Ok(())
    }

    /// The plan as text for people.
    pub(crate) fn build_plan(
        &self,
        selected: &[SelectedDatabase],
        accounts: usize,
        options: &MysqlRestoreOptions,
    ) -> MysqlRestorePlan {
        let mut tables = Vec::new();
        let mut objects = 0;
        for chosen in selected {
            let database = &chosen.database;
            objects += database.views.len()
                + database.routines.len()
                + database.triggers.len()
                + database.events.len();
            tables.extend(database.tables.iter().map(|table| PlannedTable {
                database: chosen.target.clone(),
                table: table.name.clone(),
                rows: table.rows,
            }));
        }
        MysqlRestorePlan {
            target: options.address.to_string(),
            target_version: self.server.facts.version.clone(),
            tables,
            objects,
            accounts,
            dropped: self.drop_statements.clone(),
            problems: self.problems.clone(),
            warnings: self.warnings.clone(),
            forward: None,
        }
    }

    /// Whether the target is of this flavour.
    pub(crate) fn is_flavour(&self, flavour: Flavour) -> bool {
        self.server.facts.flavour == flavour
    }
}

fn includes_object(chosen: &SelectedDatabase, name: &str) -> bool {
    let database = &chosen.database;
    database.tables.iter().any(|table| table.name == name)
        || database.views.iter().any(|view| view.name == name)
        || database
            .sequences
            .iter()
            .any(|sequence| sequence.name == name)
}

/// The names after `COLLATE`, `CHARSET` and `CHARACTER SET`, including those in comments that a server executes.
fn find_collations(sql: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut expected = false;
    for token in SqlTokens::new(sql).map_while(std::result::Result::ok) {
        let word = token.kind == TokenKind::Word;
        if expected && token.is_symbol(b'=') {
            continue;
        }
        if expected && word && !token.is_word("SET") {
            found.insert(String::from_utf8_lossy(token.text).to_lowercase());
        }
        expected = token.is_word("COLLATE")
            || token.is_word("CHARSET")
            || token.is_word("CHARACTER")
            || (expected && token.is_word("SET"));
    }
    found
}

/// The statement that a database of the target needs before its tables, under its new name.
pub(crate) fn create_database_statement(chosen: &SelectedDatabase) -> Vec<u8> {
    let sql = chosen.database.sql.as_bytes();
    let name = quote_name(&chosen.database.name);
    let rest =
        memchr::memmem::find(sql, name.as_bytes()).map_or(&[][..], |at| &sql[at + name.len()..]);
    [
        b"CREATE DATABASE IF NOT EXISTS ".as_slice(),
        quote_name(&chosen.target).as_bytes(),
        rest,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_collations_are_found_outside_texts() {
        let sql = b"CREATE TABLE `t` (`a` varchar(5) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT 'COLLATE none', `COLLATE` int) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci";
        let found: Vec<String> = find_collations(sql).into_iter().collect();
        assert_eq!(
            found,
            ["latin1", "latin1_bin", "utf8mb4", "utf8mb4_0900_ai_ci"]
        );
    }
}
