//! What brings a snapshot back with nothing but the `mysql` client: one script, and a guide.

use reprise_repository::RawText;

use super::manifest::{Account, Code, Database, Flavour, Manifest};
use super::sql::{load, qualified, quoted, text};

/// Where the script with everything but accounts is.
pub const SCRIPT: &str = "load.sql";

/// Where the accounts are.
pub const ACCOUNTS: &str = "accounts.sql";

/// Where the guide is.
pub const GUIDE: &str = "README.txt";

/// What a session that loads rows must be set to.
pub const LOADING: [&str; 6] = [
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'",
    "SET SESSION foreign_key_checks = 0",
    "SET SESSION unique_checks = 0",
    "SET SESSION innodb_strict_mode = 0",
];

/// What only one flavour understands, in comments that the other skips.
const LOADING_COMMENTED: [&str; 3] = [
    "/*!80013 SET SESSION sql_require_primary_key = 0 */",
    "/*!80030 SET SESSION sql_generate_invisible_primary_key = 0 */",
    "/*M!101100 SET SESSION system_versioning_insert_history = 1 */",
];

/// The script that makes everything but the accounts.
pub(super) fn script(manifest: &Manifest) -> Vec<u8> {
    let mut out = Script::default();
    out.line("-- Everything but the accounts, which are in accounts.sql. README.txt says how to run this.");
    for statement in LOADING.into_iter().chain(LOADING_COMMENTED) {
        out.statement(statement);
    }
    for tablespace in &manifest.tablespaces {
        out.raw_statement(&tablespace.sql);
    }
    for database in &manifest.databases {
        out.raw_statement(&database.sql);
    }
    for database in &manifest.databases {
        for sequence in &database.sequences {
            out.statement(&format!("USE {}", quoted(&database.name)));
            out.raw_statement(&sequence.sql);
            out.statement(&set_sequence(&database.name, sequence));
        }
    }
    for database in &manifest.databases {
        out.statement(&format!("USE {}", quoted(&database.name)));
        for table in &database.tables {
            out.raw_statement(&table.sql);
            for piece in &table.pieces {
                out.statement(&load(&piece.path, &database.name, table));
            }
        }
    }
    let routines = |database: &Database| database.routines.clone();
    let views = |database: &Database| database.views.clone();
    let triggers = |database: &Database| database.triggers.clone();
    let events = |database: &Database| database.events.clone();
    for kind in [routines, views, triggers, events] {
        for database in &manifest.databases {
            out.code(database, &kind(database));
        }
    }
    out.0
}

/// Continues a sequence where it was.
#[must_use]
pub fn set_sequence(database: &str, sequence: &super::manifest::Sequence) -> String {
    format!(
        "DO SETVAL({}, {}, 0, {})",
        qualified(database, &sequence.name),
        sequence.next,
        sequence.cycle
    )
}

/// The script that makes the accounts.
pub(super) fn accounts_script(accounts: &[Account]) -> Vec<u8> {
    let mut out = Script::default();
    out.line("-- Users and roles. Those that exist at the target make a statement fail: leave them out, or use --force.");
    out.statement("SET NAMES utf8mb4");
    out.statement("SET SESSION sql_mode = ''");
    for account in accounts
        .iter()
        .filter(|account| !account.create.as_bytes().is_empty())
    {
        out.raw_statement(&account.create);
    }
    for account in accounts {
        account
            .grants
            .iter()
            .for_each(|grant| out.raw_statement(grant));
    }
    for account in accounts {
        account
            .default_roles
            .iter()
            .for_each(|roles| out.raw_statement(roles));
    }
    out.0
}

/// What a session must be set to before something with a body is made.
#[must_use]
pub fn surroundings(code: &Code) -> Vec<String> {
    let mut set = vec![
        format!("SET character_set_client = {}", code.charset),
        format!("SET collation_connection = {}", code.collation),
    ];
    if let Some(mode) = &code.sql_mode {
        set.push(format!("SET sql_mode = {}", text(mode)));
    }
    if let Some(zone) = &code.time_zone {
        set.push(format!("SET time_zone = {}", text(zone)));
    }
    set
}

/// Makes the session as it was before [`surroundings`].
pub const SURROUNDINGS_END: [&str; 3] = [
    "SET NAMES utf8mb4",
    "SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'",
    "SET time_zone = '+00:00'",
];

#[derive(Default)]
struct Script(Vec<u8>);

impl Script {
    fn line(&mut self, line: &str) {
        self.0.extend_from_slice(line.as_bytes());
        self.0.push(b'\n');
    }

    fn statement(&mut self, statement: &str) {
        self.line(&format!("{statement};"));
    }

    fn raw_statement(&mut self, statement: &RawText) {
        self.0.extend_from_slice(statement.as_bytes());
        self.0.extend_from_slice(b";\n");
    }

    fn code(&mut self, database: &Database, codes: &[Code]) {
        if codes.is_empty() {
            return;
        }
        self.statement(&format!("USE {}", quoted(&database.name)));
        for code in codes {
            for statement in surroundings(code) {
                self.statement(&statement);
            }
            let end = delimiter(code.sql.as_bytes());
            self.line(&format!("DELIMITER {end}"));
            self.0.extend_from_slice(code.sql.as_bytes());
            self.line(&format!("\n{end}"));
            self.line("DELIMITER ;");
        }
        for statement in SURROUNDINGS_END {
            self.statement(statement);
        }
    }
}

/// Something that the text does not contain.
fn delimiter(text: &[u8]) -> String {
    let mut end = "//".to_owned();
    while memchr::memmem::find(text, end.as_bytes()).is_some() {
        end.push('/');
    }
    end
}

/// The guide for people.
pub(super) fn guide(manifest: &Manifest) -> String {
    let server = &manifest.server;
    let moment = &manifest.moment;
    let name = match server.flavour {
        Flavour::Mysql => "MySQL",
        Flavour::Mariadb => "MariaDB",
    };
    let mut text = format!(
        "Snapshot of a {name} server, version {}\n\
         Moment of the data: {} (consistency: {})\n",
        server.version,
        moment.time.format("%Y-%m-%d %H:%M:%S%.6f UTC"),
        moment.consistency.as_str(),
    );
    if let Some(gtid) = &moment.gtid {
        text.push_str(&format!("Transactions: {gtid}\n"));
    }
    if let (Some(file), Some(position)) = (&moment.file, moment.position) {
        text.push_str(&format!("Binary log: {file}, position {position}\n"));
    }
    text.push_str(
        "\n\
         load.sql      makes databases, tables, routines, views, triggers and events, and loads the rows\n\
         accounts.sql  makes users and roles\n\
         data/         the rows: one folder a table, values apart by tabs, \\N is NULL\n\
         manifest.json the same for programs, with the number of rows and a checksum of each table\n\
         \n\
         To load everything into an empty server of the same flavour, in this folder:\n\
         \n\
         mysql -e 'SET GLOBAL local_infile = ON'\n\
         mysql --binary-mode --local-infile=1 --default-character-set=utf8mb4 --show-warnings < load.sql\n\
         mysql --binary-mode < accounts.sql\n\
         \n\
         For a part of it, copy the statements of those databases or tables from load.sql.\n",
    );
    let variable = |name: &str| server.variables.get(name).map_or("?", String::as_str);
    text.push_str(&format!(
        "\nThe server had lower_case_table_names={}, character_set_server={}, collation_server={}.\n",
        variable("lower_case_table_names"),
        variable("character_set_server"),
        variable("collation_server"),
    ));
    if !server.components.is_empty() || !server.plugins.is_empty() || !server.functions.is_empty() {
        text.push_str(&format!(
            "Components: {}\nPlugins: {}\nFunctions from libraries: {}\n",
            server.components.join(", "),
            server.plugins.join(", "),
            server
                .functions
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_nowhere_in_the_text() {
        assert_eq!(delimiter(b"BEGIN SELECT 1; END"), "//");
        assert_eq!(delimiter(b"BEGIN -- // /// \nEND"), "////");
    }
}
