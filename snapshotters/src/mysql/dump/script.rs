//! How to restore a snapshot with only the `mysql` client: one script, and a guide.

use reprise_mysql::load_statements::{
    LOAD_SESSION_SETTINGS, SESSION_SETTINGS_RESET, session_settings_for, set_collation_statement,
    set_sequence_statement,
};
use reprise_mysql::sql::{load_data_statement, quote_name};
use reprise_mysql::{Flavour, Manifest, MysqlAccount, MysqlDatabase, MysqlStoredObject};
use reprise_repository::RawText;

use crate::mysql::dump::schema::view_order;

/// Path of the script with everything but accounts.
pub(crate) const LOAD_SCRIPT_FILE: &str = "load.sql";

/// Path of the accounts script.
pub(crate) const ACCOUNTS_SCRIPT_FILE: &str = "accounts.sql";

/// Path of the script with the privileges on tables, columns and routines.
pub(crate) const GRANTS_SCRIPT_FILE: &str = "grants.sql";

/// Path of the script with the views that the server itself could not read.
pub(crate) const BROKEN_VIEWS_SCRIPT_FILE: &str = "broken-views.sql";

/// Path of the guide.
pub(crate) const README_FILE: &str = "README.txt";

/// Settings that not every account may set or only one flavour knows, in comments that the other skips.
const OPTIONAL_LOAD_SETTINGS: [&str; 5] = [
    "SET SESSION innodb_strict_mode = 0",
    "/*!80013 SET SESSION sql_require_primary_key = 0 */",
    "/*!80030 SET SESSION sql_generate_invisible_primary_key = 0 */",
    "/*!80400 SET SESSION restrict_fk_on_non_standard_key = 0 */",
    "/*M!101100 SET SESSION system_versioning_insert_history = 1 */",
];

/// The script that creates everything but the accounts and the broken views.
pub(crate) fn build_load_script(manifest: &Manifest) -> Vec<u8> {
    let mut out = SqlScript::default();
    out.push_line(
        "-- Databases with their rows; create the accounts first. README.txt says how to run this.",
    );
    for statement in LOAD_SESSION_SETTINGS
        .into_iter()
        .chain(OPTIONAL_LOAD_SETTINGS)
    {
        out.push_statement(statement);
    }
    for tablespace in &manifest.tablespaces {
        out.push_raw_statement(&tablespace.sql);
    }
    for database in &manifest.databases {
        out.push_raw_statement(&database.sql);
    }
    // Table defaults may use sequences, of other databases too.
    for database in &manifest.databases {
        out.push_sequences(database);
    }
    for database in &manifest.databases {
        out.push_tables(database);
    }
    for database in &manifest.databases {
        out.push_stored_objects(database, &database.routines);
    }
    out.push_views(manifest, false);
    for database in &manifest.databases {
        out.push_stored_objects(database, &database.triggers);
    }
    // From here on, events run.
    for database in &manifest.databases {
        out.push_stored_objects(database, &database.events);
    }
    for database in manifest.databases.iter().filter(|one| one.is_read_only()) {
        let name = quote_name(&database.name);
        out.push_statement(&format!("ALTER DATABASE {name} READ ONLY = 1"));
    }
    out.bytes
}

/// The script that creates the views that the server itself could not read; `None` when it could read all.
pub(crate) fn build_broken_views_script(manifest: &Manifest) -> Option<Vec<u8>> {
    let mut views = manifest.databases.iter().flat_map(|one| &one.views);
    if !views.any(|view| view.broken) {
        return None;
    }
    let mut out = SqlScript::default();
    out.push_line("-- Views that the server could not read. They can be created only once the objects that they use exist.");
    out.push_statement("SET NAMES utf8mb4");
    out.push_views(manifest, true);
    Some(out.bytes)
}

/// The script that creates the accounts, with the privileges that name no object: views need those of their definers.
pub(crate) fn build_accounts_script(accounts: &[MysqlAccount]) -> Vec<u8> {
    let mut out = SqlScript::for_accounts(
        "-- Users and roles. Existing ones keep their passwords and get the privileges too.",
    );
    for account in accounts {
        out.push_account(account);
    }
    let grants = accounts.iter().flat_map(|account| &account.grants);
    for grant in grants.filter(|grant| !is_object_grant(grant)) {
        out.push_raw_statement(grant);
    }
    // Default roles must have been granted.
    for roles in accounts.iter().flat_map(|account| &account.default_roles) {
        out.push_raw_statement(roles);
    }
    out.bytes
}

/// The script that grants the privileges on tables, columns and routines, which must exist.
pub(crate) fn build_grants_script(accounts: &[MysqlAccount]) -> Vec<u8> {
    let mut out = SqlScript::for_accounts("-- Privileges on tables, columns and routines.");
    let grants = accounts.iter().flat_map(|account| &account.grants);
    for grant in grants.filter(|grant| is_object_grant(grant)) {
        out.push_raw_statement(grant);
    }
    out.bytes
}

/// Whether a privilege is on a table, its columns or a routine.
fn is_object_grant(grant: &RawText) -> bool {
    let plain = without_names(grant.as_bytes());
    let Some((_, object)) = plain.split_once(" ON ") else {
        return false;
    };
    [
        "`.`",
        "PROCEDURE ",
        "FUNCTION ",
        "PACKAGE ",
        "TABLE ",
        "LIBRARY ",
    ]
    .iter()
    .any(|start| object.starts_with(start))
}

/// A statement with one backtick in place of each name.
fn without_names(sql: &[u8]) -> String {
    let outside = sql.split(|byte| *byte == b'`').step_by(2);
    let mut plain = String::new();
    for part in outside {
        // A name with a backtick in it has nothing between its halves.
        if !part.is_empty() && !plain.is_empty() {
            plain.push('`');
        }
        plain.push_str(&String::from_utf8_lossy(part));
    }
    plain
}

#[derive(Default)]
struct SqlScript {
    bytes: Vec<u8>,
    /// The current database.
    current_database: Option<String>,
}

impl SqlScript {
    fn for_accounts(comment: &str) -> Self {
        let mut out = Self::default();
        out.push_line(comment);
        out.push_statement("SET NAMES utf8mb4");
        out.push_statement("SET SESSION sql_mode = ''");
        out
    }

    fn push_line(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
    }

    fn push_statement(&mut self, statement: &str) {
        self.push_line(&format!("{statement};"));
    }

    fn push_raw_statement(&mut self, statement: &RawText) {
        self.bytes.extend_from_slice(statement.as_bytes());
        self.bytes.extend_from_slice(b";\n");
    }

    fn use_database(&mut self, database: &MysqlDatabase) {
        if self.current_database.as_ref() != Some(&database.name) {
            self.push_statement(&format!("USE {}", quote_name(&database.name)));
            self.current_database = Some(database.name.clone());
        }
    }

    fn push_sequences(&mut self, database: &MysqlDatabase) {
        for sequence in &database.sequences {
            self.use_database(database);
            self.push_raw_statement(&sequence.sql);
            self.push_statement(&set_sequence_statement(&database.name, sequence));
        }
    }

    fn push_tables(&mut self, database: &MysqlDatabase) {
        for table in &database.tables {
            self.use_database(database);
            self.push_raw_statement(&table.sql);
            for piece in &table.pieces {
                self.push_statement(&load_data_statement(&piece.path, &database.name, table));
            }
        }
    }

    fn push_views(&mut self, manifest: &Manifest, broken: bool) {
        for (database, view) in view_order::sort_all_views(&manifest.databases) {
            if view.broken == broken {
                self.push_stored_objects(database, std::slice::from_ref(view));
            }
        }
    }

    fn push_stored_objects(&mut self, database: &MysqlDatabase, codes: &[MysqlStoredObject]) {
        for code in codes {
            self.use_database(database);
            let other = code.differing_database_collation(database);
            if let Some(collation) = other {
                self.push_statement(&set_collation_statement(&database.name, collation));
            }
            for statement in session_settings_for(code) {
                self.push_statement(&statement);
            }
            self.push_body(&code.sql);
            for statement in SESSION_SETTINGS_RESET {
                self.push_statement(statement);
            }
            if other.is_some() {
                self.push_statement(&set_collation_statement(
                    &database.name,
                    &database.collation,
                ));
            }
        }
    }

    fn push_body(&mut self, sql: &RawText) {
        let end = unused_delimiter(sql.as_bytes());
        self.push_line(&format!("DELIMITER {end}"));
        self.bytes.extend_from_slice(sql.as_bytes());
        self.push_line(&format!("\n{end}"));
        self.push_line("DELIMITER ;");
    }

    fn push_account(&mut self, account: &MysqlAccount) {
        let create = account.create.as_bytes();
        for kind in ["CREATE USER ", "CREATE ROLE "] {
            if let Some(rest) = create.strip_prefix(kind.as_bytes()) {
                let start = format!("{kind}IF NOT EXISTS ");
                self.push_raw_statement(&RawText::new([start.as_bytes(), rest].concat()));
            }
        }
    }
}

/// A delimiter that the text does not contain.
fn unused_delimiter(text: &[u8]) -> String {
    let mut end = "//".to_owned();
    while memchr::memmem::find(text, end.as_bytes()).is_some() {
        end.push('/');
    }
    end
}

/// The guide's text about the files.
const README_FILES: &str = "
load.sql          creates databases, tables, routines, views, triggers and events, and loads the rows
data/             the rows: one directory per table, tab-separated values, \\N is NULL
manifest.json     the same for programs, with the row count and a checksum of each table
";

const README_ACCOUNT_FILES: &str = "\
accounts.sql      creates users and roles, with their global and database privileges
grants.sql        grants the privileges on tables, columns and routines, once these exist
";

const README_BROKEN_VIEWS_FILE: &str = "\
broken-views.sql  views that the server could not read: the objects that they use do not exist or are not accessible
";

const README_LOAD_STEPS: &str = "
To load everything into an empty server of the same flavour, run in this directory:

mysql -e 'SET GLOBAL local_infile = ON'
";

/// The guide's text about the other files, and the commands.
fn readme_steps(manifest: &Manifest) -> String {
    let accounts = manifest.accounts.is_some();
    let broken = build_broken_views_script(manifest).is_some();
    let mut text = String::new();
    let mut add = |when: bool, part: &str| {
        if when {
            text.push_str(part);
        }
    };
    add(accounts, README_ACCOUNT_FILES);
    add(broken, README_BROKEN_VIEWS_FILE);
    add(true, README_LOAD_STEPS);
    // Definers of views must exist, with their privileges.
    add(accounts, "mysql --binary-mode --comments < accounts.sql\n");
    add(
        true,
        "mysql --binary-mode --comments --local-infile=1 --default-character-set=utf8mb4 < load.sql\n",
    );
    add(
        broken,
        "mysql --force --binary-mode --comments < broken-views.sql\n",
    );
    add(accounts, "mysql --binary-mode --comments < grants.sql\n");
    text
}

/// The guide for people.
pub(crate) fn build_readme(manifest: &Manifest) -> String {
    let server = &manifest.server;
    let moment = &manifest.moment;
    let name = match server.flavour {
        Flavour::Mysql => "MySQL",
        Flavour::Mariadb => "MariaDB",
    };
    let mut text = format!(
        "Snapshot of a {name} server, version {}\n\
         Time of the data: {} (consistency: {})\n",
        server.version,
        moment.time.format("%Y-%m-%d %H:%M:%S%.6f UTC"),
        moment.consistency.as_str(),
    );
    if let Some(gtid) = moment.gtid.as_ref().filter(|gtid| !gtid.is_empty()) {
        text.push_str(&format!("GTIDs: {gtid}\n"));
    }
    if let (Some(file), Some(position)) = (&moment.file, moment.position) {
        text.push_str(&format!("Binary log: {file}, position {position}\n"));
    }
    text.push_str(README_FILES);
    text.push_str(&readme_steps(manifest));
    text.push_str(
        "\nTo load only some databases or tables, copy their statements from load.sql.\n",
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
            "Components: {}\nPlugins: {}\nLoadable functions: {}\n",
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
    fn rights_on_objects_are_told_from_others() {
        for grant in [
            "GRANT SELECT ON `a`.`b` TO `u`@`%`",
            "GRANT SELECT ON `a``b`.`c``` TO `u`@`%`",
            "GRANT SELECT (`c``d`, `x ON y`), INSERT ON `a`.`b` TO `u`@`%` WITH GRANT OPTION",
            "GRANT EXECUTE ON PROCEDURE `a`.`p` TO `u`@`%`",
        ] {
            assert!(is_object_grant(&RawText::from(grant)), "{grant}");
        }
        for grant in [
            "GRANT SELECT ON `a`.* TO `u`@`%`",
            "GRANT USAGE ON *.* TO `u`@`%`",
            "GRANT `r ON `.`@`%` TO `u`@`%`",
            "GRANT PROXY ON `r`@`%` TO `u`@`%`",
        ] {
            assert!(!is_object_grant(&RawText::from(grant)), "{grant}");
        }
    }

    #[test]
    fn the_delimiter_is_nowhere_in_the_text() {
        assert_eq!(unused_delimiter(b"BEGIN SELECT 1; END"), "//");
        assert_eq!(unused_delimiter(b"BEGIN -- // /// \nEND"), "////");
    }
}
