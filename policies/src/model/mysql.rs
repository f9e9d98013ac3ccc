//! A MySQL or MariaDB server in a policy: how to connect to it, and what to read from it.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::mysql_url::decode_mysql_url;
use crate::model::repository::decode_path;
use crate::schema::mysql_keys::{LOG_ARCHIVE, MYSQL, THREADS_MAX, TLS_MODES};
use crate::values::names::quote;
use crate::values::paths;
use crate::values::secret::{ParsedReference, SecretRef, parse_reference};
use crate::yaml::decoder::{Decoder, Field};

/// Enough to keep a server with a few cores busy, and few enough to leave some to others.
const THREADS_DEFAULT: u32 = 4;

/// Databases of a MySQL or MariaDB server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyMysqlSource {
    /// `mysql://[USER@]HOST[:PORT]/[DATABASE][?socket=PATH][&container=NAME]`, never with a password.
    pub url: String,
    /// The password; never [`SecretRef::Literal`].
    pub password: Option<SecretRef>,
    /// An option file, absolute.
    pub defaults_file: Option<PathBuf>,
    /// Patterns for names of databases, in which only `*` and `?` are special; empty means: all but the
    /// server's own.
    pub databases: Vec<String>,
    /// Patterns for databases to exclude.
    pub exclude_databases: Vec<String>,
    /// Patterns `DATABASE.TABLE`, split at the first dot; empty means: all.
    pub tables: Vec<String>,
    /// Patterns for tables to exclude.
    pub exclude_tables: Vec<String>,
    /// How many connections read in parallel, 1 to 32.
    pub threads: u32,
    /// How the connection is encrypted; `None` when the policy does not say.
    pub tls: Option<TlsMode>,
    /// The trusted certificates, absolute.
    pub tls_ca: Option<PathBuf>,
    /// The server's RSA key, to which a password is encrypted where there is no TLS; absolute.
    pub server_public_key: Option<PathBuf>,
    /// Accounts and their privileges are part of the snapshot.
    pub users: bool,
    /// Tables of engines without transactions are locked until they are read.
    pub hold_nontransactional: bool,
    /// How the binary log is archived; `None`: it is not.
    pub log_archive: Option<LogArchive>,
}

/// How a server's binary log is archived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogArchive {
    /// Received data is stored after this time at the latest.
    pub flush: Option<Duration>,
    /// A directory for data that waits to be stored, absolute.
    pub spool: Option<PathBuf>,
    /// How much may wait there, in bytes.
    pub spool_max: Option<u64>,
}

/// How a connection to a server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// If the server supports it.
    Preferred,
    /// Always, with any certificate.
    Required,
    /// Always, with a certificate of a trusted authority.
    VerifyCa,
    /// The same, and the certificate matches this host.
    VerifyIdentity,
}

impl TlsMode {
    const ALL: [Self; 5] = [
        Self::Off,
        Self::Preferred,
        Self::Required,
        Self::VerifyCa,
        Self::VerifyIdentity,
    ];

    /// The mode as the policy writes it, for example `verify-ca`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCa => "verify-ca",
            Self::VerifyIdentity => "verify-identity",
        }
    }
}

/// Decodes `sources.NAME.mysql`.
pub(crate) fn decode(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<PolicyMysqlSource> {
    let fields = decoder.object(field, &MYSQL)?;
    let url = decoder.value(&fields, "url", decode_mysql_url);
    let password = decoder.value(&fields, "password", decode_password);
    let defaults_file = decoder.value(&fields, "defaults_file", decode_path);
    let databases = decoder.list(fields.get("databases"), Decoder::owned_text);
    let exclude_databases = decoder.list(fields.get("exclude_databases"), Decoder::owned_text);
    let tables = decoder.list(fields.get("tables"), decode_table_pattern);
    let exclude_tables = decoder.list(fields.get("exclude_tables"), decode_table_pattern);
    let threads = fields
        .get("threads")
        .and_then(|field| decoder.count_up_to(&field, THREADS_MAX));
    let tls = decoder.value(&fields, "tls", decode_tls_mode);
    let tls_ca = decoder.value(&fields, "tls_ca", decode_path);
    let server_public_key = decoder.value(&fields, "server_public_key", decode_path);
    let users = decoder
        .value(&fields, "users", Decoder::flag)
        .unwrap_or(true);
    let hold_nontransactional = decoder
        .value(&fields, "hold_nontransactional", Decoder::flag)
        .unwrap_or(false);
    let log_archive = fields
        .get("log_archive")
        .and_then(|field| decode_log_archive(decoder, field));
    Some(PolicyMysqlSource {
        url: url?,
        password,
        defaults_file,
        databases,
        exclude_databases,
        tables,
        exclude_tables,
        threads: threads.map_or(THREADS_DEFAULT, std::num::NonZeroU32::get),
        tls,
        tls_ca,
        server_public_key,
        users,
        hold_nontransactional,
        log_archive,
    })
}

fn decode_log_archive(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<LogArchive> {
    let fields = decoder.object(field, &LOG_ARCHIVE)?;
    Some(LogArchive {
        flush: decoder.value(&fields, "flush", Decoder::duration),
        spool: decoder.value(&fields, "spool", decode_path),
        spool_max: decoder.value(&fields, "spool_max", Decoder::size),
    })
}

/// A reference to a secret, never the secret itself.
pub(crate) fn decode_password(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<SecretRef> {
    let is_named = |text: &str| {
        matches!(
            parse_reference(text),
            ParsedReference::Env(_) | ParsedReference::File(_)
        )
    };
    if !field.node.text().is_some_and(is_named) {
        // It may be a secret: neither the message nor the excerpt may show it.
        decoder.report.hide_secret(field.node.mark);
    }
    let text = decoder.text(field)?;
    let help = "write `${env:NAME}` to take it from the environment, or `file:PATH`".to_owned();
    match parse_reference(text) {
        ParsedReference::Env(name) => Some(SecretRef::Env(name.to_owned())),
        ParsedReference::File(file) => Some(SecretRef::File(paths::resolve(decoder.base, file))),
        ParsedReference::Malformed(reason) => {
            decoder.report_error_with_help(field, reason, Some(help));
            None
        }
        ParsedReference::Plain => {
            let message = "a password is a secret, which a policy must not contain";
            decoder.report_error_with_help(field, message, Some(help));
            None
        }
    }
}

fn decode_table_pattern(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    match text.split_once('.') {
        Some((database, table)) if !database.is_empty() && !table.is_empty() => {
            Some(text.to_owned())
        }
        _ => {
            let message = format!(
                "{} is not a table pattern of the form `DATABASE.TABLE`",
                quote(text)
            );
            let table = text.trim_matches('.');
            let help = format!("write for example `app.{table}`, or `*.{table}` for any database");
            decoder.report_error_with_help(field, message, Some(help));
            None
        }
    }
}

fn decode_tls_mode(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<TlsMode> {
    decoder.word(field, ("TLS mode", "mode"), TLS_MODES, |word| {
        TlsMode::ALL.into_iter().find(|mode| mode.as_str() == word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_words_of_all_modes() {
        assert_eq!(TlsMode::ALL.map(TlsMode::as_str), TLS_MODES);
    }
}
