//! Everything that can be seen of a server as text, so that two servers are compared with one assertion.

use std::collections::BTreeMap;

use super::database::{Database, Row};

/// The same view of both servers, whatever their settings. Comments with a version are MySQL's alone.
const SESSION: &str = "
SET SESSION sql_mode = '', time_zone = '+00:00';
/*!80030 SET SESSION show_gipk_in_create_table_and_information_schema = ON */;
/*!80017 SET SESSION print_identified_with_as_hex = ON */;
";

const SYSTEM: &str = "('mysql', 'sys', 'information_schema', 'performance_schema')";

/// Marks where the rows of the next query begin.
const MARK: &str = "the rows of query";

/// Each object with all that its server shows of it.
pub type ServerDescription = BTreeMap<String, String>;

/// What the left and the right server say of the objects on which they differ.
#[must_use]
pub fn differences(
    left: &ServerDescription,
    right: &ServerDescription,
) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let names = left.keys().chain(right.keys());
    let both = names.map(|name| (name, left.get(name), right.get(name)));
    both.filter(|(_, left, right)| left != right)
        .map(|(name, left, right)| (name.clone(), (left.cloned(), right.cloned())))
        .collect()
}

/// Databases, tables with counts and checksums, views, triggers, routines, events and users: the name of each
/// with all that the server says of it.
///
/// # Panics
/// When the server refuses a query.
#[must_use]
pub fn describe(server: &impl Database) -> ServerDescription {
    let queries = ServerDescriber { server }.queries();
    let mut script = SESSION.to_owned();
    for (number, query) in queries.iter().enumerate() {
        script += &format!("SELECT '{MARK}', {number};\n{};\n", query.sql);
    }
    let mut results = vec![Vec::new(); queries.len()];
    let mut current = None;
    for row in server.query(&script) {
        match row.as_slice() {
            [Some(mark), Some(number)] if mark == MARK => current = Some(number.parse().unwrap()),
            _ => results[current.unwrap_or(0_usize)].push(row),
        }
    }
    let named = queries.into_iter().zip(results);
    named
        .map(|(query, rows)| (query.name.clone(), query.format_rows(rows)))
        .collect()
}

/// A statement that tells something of an object.
struct ServerQuery {
    name: String,
    sql: String,
    /// How many columns count; the rest tells when the object was made.
    columns: usize,
    /// Whether the rows come in no order.
    sorted: bool,
}

impl ServerQuery {
    fn new(name: String, sql: String) -> Self {
        Self {
            name,
            sql,
            columns: usize::MAX,
            sorted: false,
        }
    }

    fn format_rows(&self, rows: Vec<Row>) -> String {
        let line = |row: Row| {
            let values = row.into_iter().take(self.columns);
            let values: Vec<String> = values
                .map(|value| value.unwrap_or("NULL".to_owned()))
                .collect();
            values.join("\n")
        };
        let mut lines: Vec<String> = rows.into_iter().map(line).collect();
        if self.sorted {
            lines.sort();
        }
        canonical(&lines.join("\n----\n"))
    }
}

struct ServerDescriber<'a, D> {
    server: &'a D,
}

impl<D: Database> ServerDescriber<'_, D> {
    fn queries(&self) -> Vec<ServerQuery> {
        let mut queries = self.databases();
        queries.extend(self.tables());
        queries.extend(self.histories());
        queries.extend(self.triggers());
        queries.extend(self.routines());
        queries.extend(self.show_create(
            "event",
            "SELECT event_schema, event_name FROM information_schema.events",
        ));
        if self.has("LIBRARIES") {
            let libraries = "SELECT library_schema, library_name FROM information_schema.libraries";
            queries.extend(self.show_create("library", libraries));
        }
        queries.extend(self.users());
        queries
    }

    fn databases(&self) -> Vec<ServerQuery> {
        let sql = format!(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN {SYSTEM}"
        );
        let query = |row: Vec<String>| {
            let name = identifier(&row[0]);
            ServerQuery::new(
                format!("database {name}"),
                format!("SHOW CREATE DATABASE {name}"),
            )
        };
        self.rows(&sql).into_iter().map(query).collect()
    }

    fn tables(&self) -> Vec<ServerQuery> {
        let sql = format!(
            "SELECT table_schema, table_name, table_type FROM information_schema.tables \
             WHERE table_schema NOT IN {SYSTEM}"
        );
        let queries = |row: Vec<String>| {
            let name = qualified(&row[0], &row[1]);
            let made = |kind: &str| {
                ServerQuery::new(
                    format!("{kind} {name}"),
                    format!("SHOW CREATE {kind} {name}"),
                )
            };
            let rows = |sql: String| ServerQuery::new(format!("rows of {name}"), sql);
            match row[2].as_str() {
                "VIEW" => vec![made("view")],
                "SEQUENCE" => vec![made("sequence"), rows(format!("SELECT * FROM {name}"))],
                _ => vec![
                    made("table"),
                    rows(format!(
                        "SELECT COUNT(*) FROM {name};\nCHECKSUM TABLE {name} EXTENDED"
                    )),
                ],
            }
        };
        self.rows(&sql).into_iter().flat_map(queries).collect()
    }

    /// A checksum is of the rows of the present alone.
    fn histories(&self) -> Vec<ServerQuery> {
        let period = |row: &str, implicit: &str| {
            format!(
                "COALESCE((SELECT column_name FROM information_schema.columns AS c WHERE \
                 c.table_schema = t.table_schema AND c.table_name = t.table_name AND \
                 generation_expression = 'ROW {row}'), '{implicit}')"
            )
        };
        let (start, end) = (period("START", "row_start"), period("END", "row_end"));
        let sql = format!(
            "SELECT table_schema, table_name, {start}, {end} FROM information_schema.tables AS t \
             WHERE table_type = 'SYSTEM VERSIONED'"
        );
        let query = |row: Vec<String>| {
            let name = qualified(&row[0], &row[1]);
            let (start, end) = (identifier(&row[2]), identifier(&row[3]));
            let sql = format!("SELECT *, {start}, {end} FROM {name} FOR SYSTEM_TIME ALL");
            ServerQuery {
                sorted: true,
                ..ServerQuery::new(format!("history of {name}"), sql)
            }
        };
        self.rows(&sql).into_iter().map(query).collect()
    }

    fn triggers(&self) -> Vec<ServerQuery> {
        let sql = format!(
            "SELECT trigger_schema, trigger_name, action_order FROM information_schema.triggers \
             WHERE trigger_schema NOT IN {SYSTEM}"
        );
        let query = |row: Vec<String>| {
            let name = qualified(&row[0], &row[1]);
            let order = &row[2];
            ServerQuery {
                // After them comes the time at which it was made.
                columns: 6,
                ..ServerQuery::new(
                    format!("trigger {name}"),
                    format!("SELECT 'order', {order};\nSHOW CREATE TRIGGER {name}"),
                )
            }
        };
        self.rows(&sql).into_iter().map(query).collect()
    }

    fn routines(&self) -> Vec<ServerQuery> {
        let sql = format!(
            "SELECT routine_schema, routine_name, routine_type FROM information_schema.routines \
             WHERE routine_schema NOT IN {SYSTEM} AND routine_type <> 'LIBRARY'"
        );
        let query = |row: Vec<String>| {
            let (name, kind) = (qualified(&row[0], &row[1]), row[2].to_lowercase());
            ServerQuery::new(
                format!("{kind} {name}"),
                format!("SHOW CREATE {kind} {name}"),
            )
        };
        self.rows(&sql).into_iter().map(query).collect()
    }

    fn show_create(&self, kind: &str, sql: &str) -> Vec<ServerQuery> {
        let query = |row: Vec<String>| {
            let name = qualified(&row[0], &row[1]);
            ServerQuery::new(
                format!("{kind} {name}"),
                format!("SHOW CREATE {kind} {name}"),
            )
        };
        self.rows(sql).into_iter().map(query).collect()
    }

    /// A role of MySQL is a user; one of MariaDB has no host.
    fn users(&self) -> Vec<ServerQuery> {
        let mariadb = self.server.value("SELECT VERSION() LIKE '%MariaDB%'") == "1";
        let role = if mariadb { "is_role" } else { "'N'" };
        let sql = format!(
            "SELECT user, host, {role} FROM mysql.user WHERE user NOT LIKE 'mysql.%' AND user <> 'mariadb.sys'"
        );
        let mut queries = Vec::new();
        for row in self.rows(&sql) {
            let user = match (row[0].as_str(), row[2].as_str()) {
                ("PUBLIC", "Y") => "PUBLIC".to_owned(),
                (role, "Y") => identifier(role),
                (user, _) => format!("{}@{}", identifier(user), identifier(&row[1])),
            };
            if row[2] == "N" {
                let sql = format!("SHOW CREATE USER {user}");
                queries.push(ServerQuery::new(format!("user {user}"), sql));
            }
            let sql = format!("SHOW GRANTS FOR {user}");
            queries.push(ServerQuery {
                sorted: true,
                ..ServerQuery::new(format!("grants of {user}"), sql)
            });
        }
        queries
    }

    fn has(&self, view: &str) -> bool {
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.tables \
             WHERE table_schema = 'information_schema' AND table_name = '{view}'"
        );
        self.server.value(&sql) == "1"
    }

    fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = self.server.query(sql).into_iter();
        rows.map(|row| row.into_iter().map(Option::unwrap_or_default).collect())
            .collect()
    }
}

/// A collation says the character set. MySQL leaves the set out where nobody wrote the collation, so that a table
/// made from what it shows of a table is shown with it.
fn canonical(definition: &str) -> String {
    let (start, collation) = (" CHARACTER SET ", " COLLATE ");
    let mut parts = definition.split(start);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(' ').unwrap_or(part.len());
        match part[end..].starts_with(collation) {
            true => text += &part[end..],
            false => text += &[start, part].concat(),
        }
    }
    text
}

fn qualified(database: &str, name: &str) -> String {
    format!("{}.{}", identifier(database), identifier(name))
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn a_character_set_goes_where_a_collation_says_it() {
        let shown = "`a` text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, `b` text CHARACTER SET latin1, `c` int";
        let known = "`a` text COLLATE utf8mb4_bin, `b` text CHARACTER SET latin1, `c` int";
        assert_eq!(canonical(shown), known);
        assert_eq!(canonical(known), known);
    }
}
