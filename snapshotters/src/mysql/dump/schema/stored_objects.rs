//! Reads the definitions of routines, triggers and events.

use reprise_mysql::sql::{qualify_name, quote_text};
use reprise_mysql::{DatabaseError, MysqlStoredObject, TextRow, error_code};
use reprise_repository::RawText;

use crate::mysql::dump::schema::reader::SchemaReader;
use crate::mysql::dump::schema::server_schema::raw_text;

impl SchemaReader<'_> {
    pub(crate) fn read_routines(
        &mut self,
        database: &str,
    ) -> Result<Vec<MysqlStoredObject>, DatabaseError> {
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

    pub(crate) fn read_triggers(
        &mut self,
        database: &str,
    ) -> Result<Vec<MysqlStoredObject>, DatabaseError> {
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

    pub(crate) fn read_events(
        &mut self,
        database: &str,
    ) -> Result<Vec<MysqlStoredObject>, DatabaseError> {
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

pub(crate) fn new_stored_object(kind: &str, name: &str, sql: RawText) -> MysqlStoredObject {
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
