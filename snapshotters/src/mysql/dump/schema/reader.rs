//! Reads the definitions of a server: tablespaces, databases, and what is in them.

use reprise_mysql::sql::{quote_name, quote_text};
use reprise_mysql::{
    DatabaseError, Filter, Flavour, MysqlDatabase, ObjectDefinition, Privileges, ServerInfo,
    Session,
};
use reprise_repository::RawText;

use crate::mysql::dump::schema::server_schema::{ServerSchema, raw_text};
use crate::mysql::dump::schema::view_order;

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

pub(crate) struct SchemaReader<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) server: &'a ServerInfo,
    pub(crate) filter: &'a Filter,
    pub(crate) rights: Privileges,
    pub(crate) schema: ServerSchema,
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

    pub(crate) fn add_warning(&mut self, warning: String) {
        self.schema.warnings.push(warning);
    }
}
