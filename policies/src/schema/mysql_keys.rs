//! The part of the key table that describes MySQL and MariaDB servers.

use super::shape::{KeyShape, TableObject, key, object};

/// More connections than this would slow the server more than they help.
pub(crate) const THREADS_MAX: u32 = 32;

/// The words for how a connection is encrypted.
pub(crate) const TLS_MODES: &[&str] = &[
    "off",
    "preferred",
    "required",
    "verify-ca",
    "verify-identity",
];

/// `sources.NAME.mysql`
pub(crate) static MYSQL: TableObject = object(
    "`mysql`",
    &[
        key("url", KeyShape::MysqlUrl, "`mysql://[USER@]HOST[:PORT]/[DATABASE]`, without a password. `?socket=PATH` connects to a local server, `?container=NAME` to one in Docker.")
            .required()
            .example("\"mysql://backup@db.example/\""),
        key("password", KeyShape::Reference, "`${env:NAME}`, or `file:PATH` for a file that holds the password alone.")
            .example("\"${env:DB_PASSWORD}\""),
        key("defaults_file", KeyShape::Path, "An option file of MySQL, relative to this file; its groups `client`, `mysql` and `reprise` are read.")
            .example("\"/root/.my.cnf\""),
        key("databases", KeyShape::List(&KeyShape::Text), "The databases, by name; `*` and `?` match any letters and any one. Default: all but the server's own.")
            .example("[\"app\", \"shop_*\"]"),
        key("exclude_databases", KeyShape::List(&KeyShape::Text), "Databases to leave out, in the same way.").example("[\"tmp_*\"]"),
        key("tables", KeyShape::List(&KeyShape::TablePattern), "The tables, as `DATABASE.TABLE`, each part in the same way. Default: all.")
            .example("[\"app.*\"]"),
        key("exclude_tables", KeyShape::List(&KeyShape::TablePattern), "Tables to leave out, in the same way.").example("[\"app.cache_*\"]"),
        key("threads", KeyShape::CountTo(THREADS_MAX), "Number of connections that read at once, 1 to 32. Default: 4.").example("4"),
        key("tls", KeyShape::Word(TLS_MODES), "How the connection is encrypted. Default: what the option file says, or preferred.")
            .example("\"verify-identity\""),
        key("tls_ca", KeyShape::Path, "The certificates that are trusted, relative to this file.").example("\"ca.pem\""),
        key("server_public_key", KeyShape::Path, "The server's RSA key (`public_key.pem` in its data directory), relative to this file: for a password over a connection without TLS.")
            .example("\"public_key.pem\""),
        key("users", KeyShape::Flag, "Include accounts and their privileges in the snapshot. Default: true."),
        key("hold_nontransactional", KeyShape::Flag, "Lock non-transactional tables until they are read, so that they are consistent too. Default: false."),
        key("log_archive", KeyShape::Object(&LOG_ARCHIVE), "`reprise archive` archives the server's binary log, for point-in-time recovery. `{}` for the defaults."),
    ],
);

/// `sources.NAME.mysql.log_archive`
pub(crate) static LOG_ARCHIVE: TableObject = object(
    "`log_archive`",
    &[
        key("flush", KeyShape::Duration, "Store received log after at most this time. This much is lost if this host fails. Default: 5s.").example("\"5s\""),
        key("spool", KeyShape::Path, "Spool directory for log that waits to be stored, relative to this file. Default: in the cache.").example("\"/var/spool/reprise\""),
        key("spool_max", KeyShape::Size, "Maximum size of the spool. Default: 1GiB.").example("\"1GiB\""),
    ],
);
