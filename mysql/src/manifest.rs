//! What a snapshot of a server states about itself: `manifest.json`. It contains names and statements, so it is
//! stored as contents and only the recovery identities can read it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use reprise_repository::RawText;
use serde::{Deserialize, Serialize};

/// Path of the manifest in the snapshot's tree.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The manifest format that this program writes and reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// The role that every account has (MariaDB).
pub const PUBLIC_ROLE: &str = "PUBLIC";

/// The longest file name that every file system accepts, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// Everything but the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The manifest format of the program that wrote it.
    pub format: u32,
    /// The server.
    pub server: ServerFacts,
    /// The consistent state that all rows belong to.
    pub moment: ConsistentSnapshot,
    /// General tablespaces.
    pub tablespaces: Vec<ObjectDefinition>,
    /// Databases, by name.
    pub databases: Vec<MysqlDatabase>,
    /// Accounts; `None` when they were not requested or could not be read.
    pub accounts: Option<Vec<MysqlAccount>>,
}

/// MySQL or MariaDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// MySQL, Percona Server.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Flavour {
    /// The flavour of a server with this `VERSION()`.
    #[must_use]
    pub fn from_version(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") {
            Self::Mariadb
        } else {
            Self::Mysql
        }
    }
}

/// What the target of a restore is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// Its version, as the server reports it.
    pub version: String,
    /// Its UUID; MariaDB has none.
    pub uuid: Option<String>,
    /// Settings that matter for the stored data, by name.
    pub variables: BTreeMap<String, String>,
    /// Plugins that were loaded from a library.
    pub plugins: Vec<String>,
    /// Installed components.
    pub components: Vec<String>,
    /// Loadable functions, each with its library.
    pub functions: BTreeMap<String, String>,
}

/// The proof that all rows belong to one consistent state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// `performance_schema.log_status` was the same before and after all connections had their snapshots.
    LogStatus,
    /// `gtid_executed` was the same before and after.
    Gtid,
    /// All connections report the same position of their snapshots in the binary log (MariaDB).
    BinlogSnapshot,
    /// Snapshots were opened under a global read lock.
    GlobalReadLock,
    /// One connection read everything.
    OneConnection,
}

impl Consistency {
    /// The name that is stored and documented.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LogStatus => "log-status",
            Self::Gtid => "gtid",
            Self::BinlogSnapshot => "binlog-snapshot",
            Self::GlobalReadLock => "global-read-lock",
            Self::OneConnection => "one-connection",
        }
    }
}

/// The consistent state that all rows belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistentSnapshot {
    /// By the server's clock, just before the snapshots were opened.
    pub time: DateTime<Utc>,
    /// The proof.
    pub consistency: Consistency,
    /// The transactions that the rows contain (MySQL: a set; MariaDB: a position).
    pub gtid: Option<String>,
    /// The binary log's file.
    pub file: Option<String>,
    /// The position in it, in bytes.
    pub position: Option<u64>,
    /// Whether the coordinates belong to exactly this state; otherwise they are a little earlier.
    pub exact: bool,
    /// How many connections read rows.
    pub connections: usize,
    /// A binary log position, shortly before, at which no transaction was prepared but uncommitted: rows of one that
    /// was prepared since then and committed after the snapshot are in the log after it.
    #[serde(default)]
    pub log_from: Option<LogStartCoordinates>,
    /// How many transactions were always prepared but uncommitted before the snapshot, if known.
    #[serde(default)]
    pub undecided: Option<u64>,
}

/// A binary log position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStartCoordinates {
    /// The transactions before it (MySQL: a set; MariaDB: a position).
    pub gtid: Option<String>,
    /// The binary log's file.
    pub file: Option<String>,
    /// The position in it, in bytes.
    pub position: Option<u64>,
}

/// An object that is created by one statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDefinition {
    /// Its name.
    pub name: String,
    /// The statement.
    pub sql: RawText,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlDatabase {
    /// Its name.
    pub name: String,
    /// `CREATE DATABASE`, with its defaults.
    pub sql: RawText,
    /// Its default collation.
    pub collation: String,
    /// Tables, by name.
    pub tables: Vec<MysqlTable>,
    /// Sequences (MariaDB).
    pub sequences: Vec<Sequence>,
    /// Views, by name.
    pub views: Vec<MysqlStoredObject>,
    /// Libraries, procedures and functions.
    pub routines: Vec<MysqlStoredObject>,
    /// Triggers, those of one table in the order in which they run.
    pub triggers: Vec<MysqlStoredObject>,
    /// Events.
    pub events: Vec<MysqlStoredObject>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlTable {
    /// Its name.
    pub name: String,
    /// `CREATE TABLE`.
    pub sql: RawText,
    /// Its engine.
    pub engine: String,
    /// Whether its rows are consistent with the others: the engine is transactional, or the table was locked.
    pub consistent: bool,
    /// Whether row history is stored with the rows (MariaDB).
    pub versioned: bool,
    /// The columns of the files, in order, without generated ones.
    pub columns: Vec<TableColumn>,
    /// The files, in order.
    pub pieces: Vec<TableDataFile>,
    /// Number of rows.
    pub rows: u64,
    /// The sum of the 128-bit XXH3 hashes of all lines, modulo 2^128, in hexadecimal. The order of rows does
    /// not matter, repeated rows do.
    pub checksum: String,
    /// The longest line, in bytes.
    pub line_bytes_max: u64,
}

/// A column of a table's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// How its values are written.
    pub form: ValueFormat,
}

/// How values are written and loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueFormat {
    /// As is: numbers in digits, bytes as they are stored.
    Plain,
    /// Four digits, as `0` would become 2000.
    Year,
    /// `2026-11-21`
    Date,
    /// `2026-11-21 03:00:00`, with this many fractional digits.
    Datetime(u8),
    /// `-838:59:59`, with this many fractional digits.
    Time(u8),
    /// The value's index.
    Enum,
    /// A document as utf8mb4 text.
    Json,
    /// utf8mb4 text for types that are not binary strings (UUID, INET6).
    Unicode,
}

/// A file with rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDataFile {
    /// Its path in the snapshot's tree.
    pub path: String,
    /// Number of rows.
    pub rows: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: String,
    /// `CREATE SEQUENCE`.
    pub sql: RawText,
    /// The next value that no session has used yet.
    pub next: String,
    /// Its current cycle.
    pub cycle: String,
}

/// A stored object: its text depends on the session settings when it was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlStoredObject {
    /// Its name.
    pub name: String,
    /// `LIBRARY`, `PROCEDURE`, `FUNCTION`, `VIEW`, `TRIGGER`, `EVENT`, `PACKAGE`, `PACKAGE BODY`.
    pub kind: String,
    /// The statement, in the character set of its creator.
    pub sql: RawText,
    /// `sql_mode` when it was created; views have none.
    pub sql_mode: Option<String>,
    /// `character_set_client` when it was created.
    pub charset: String,
    /// `collation_connection` when it was created.
    pub collation: String,
    /// The database's collation when it was created.
    pub database_collation: Option<String>,
    /// An event's time zone.
    pub time_zone: Option<String>,
    /// The table of a trigger.
    pub table: Option<String>,
    /// An event's state: `ENABLED`, `DISABLED`, `SLAVESIDE_DISABLED`, …
    pub status: Option<String>,
    /// Whether the server cannot read this view: it uses missing objects, or objects that its definer may not use.
    #[serde(default)]
    pub broken: bool,
}

/// A user or role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlAccount {
    /// Its name.
    pub user: String,
    /// Its host; roles of MariaDB have none.
    pub host: Option<String>,
    /// The statement that creates it; empty for built-in accounts.
    pub create: RawText,
    /// `GRANT` statements, roles among them.
    pub grants: Vec<RawText>,
    /// `SET DEFAULT ROLE`, once all accounts exist.
    pub default_roles: Option<RawText>,
}

impl MysqlDatabase {
    /// Whether nothing in it may be changed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        memchr::memmem::find(self.sql.as_bytes(), b"/* READ ONLY = 1 */").is_some()
    }
}

impl MysqlStoredObject {
    /// The collation of its database when it was created, if that is different now.
    #[must_use]
    pub fn differing_database_collation(&self, database: &MysqlDatabase) -> Option<&str> {
        let collation = self.database_collation.as_deref();
        collation.filter(|collation| *collation != database.collation)
    }
}

impl Manifest {
    /// Parses a manifest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let format: Format = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if format.format > MANIFEST_FORMAT {
            return Err(format!(
                "it has format {}, this version of reprise supports up to format {MANIFEST_FORMAT}",
                format.format
            ));
        }
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// Number of objects of each kind, for comparison and for people.
    #[must_use]
    pub fn object_counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        let mut add = |what, number: usize| {
            *counts.entry(what).or_insert(0) += number as u64;
        };
        add("databases", self.databases.len());
        add("tablespaces", self.tablespaces.len());
        add("accounts", self.accounts.as_ref().map_or(0, Vec::len));
        for database in &self.databases {
            add("tables", database.tables.len());
            add("sequences", database.sequences.len());
            add("views", database.views.len());
            add("routines", database.routines.len());
            add("triggers", database.triggers.len());
            add("events", database.events.len());
        }
        counts
    }

    /// Number of rows in all tables.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        let tables = self.databases.iter().flat_map(|database| &database.tables);
        tables.map(|table| table.rows).sum()
    }
}

/// The directory of a table's data files. Names are encoded for every file system and script.
#[must_use]
pub fn table_directory(database: &str, table: &str) -> String {
    format!(
        "data/{}/{}",
        encode_file_name(database),
        encode_file_name(table)
    )
}

/// A name with everything but letters, digits, `_` and `-` encoded as `%` and two digits. Names that would be too long
/// are truncated and distinguished by a hash.
#[must_use]
fn encode_file_name(name: &str) -> String {
    let mut file = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_alphanumeric() || matches!(c, '_' | '-') {
            file.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                file.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if file.len() <= FILE_NAME_BYTES_MAX {
        return file;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let mut end = FILE_NAME_BYTES_MAX - 17;
    while !file.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}~{}", &file[..end], &hash[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_safe_short_and_unique() {
        assert_eq!(encode_file_name("users"), "users");
        assert_eq!(encode_file_name("a/b.c%`\n"), "a%2Fb%2Ec%25%60%0A");
        assert_eq!(encode_file_name("Größe-表_1"), "Größe-表_1");
        let long =
            |last: char| -> String { std::iter::repeat_n('…', 63).chain([last]).collect() };
        assert_eq!(encode_file_name(&long('a')).len(), 255);
        assert_ne!(encode_file_name(&long('a')), encode_file_name(&long('b')));
    }

    #[test]
    fn a_newer_manifest_is_not_taken_for_a_damaged_one() {
        let error = Manifest::parse(br#"{"format": 2, "unheard": "of"}"#).unwrap_err();
        assert!(error.contains("format 2"), "{error}");
    }
}
