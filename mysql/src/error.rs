//! Errors of a database server, or of the connection to it.

use std::fmt;
use std::path::PathBuf;

use mysql_async::DriverError;
use reprise_repository::ErrorClass;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The server returned an error.
    #[error("the server returned error {code}: {message}")]
    Server {
        /// The error code.
        code: u16,
        /// The error message.
        message: String,
    },
    /// The server could not be reached, or the connection broke.
    #[error("the connection to {address} failed: {reason}")]
    Connection {
        /// Which server.
        address: String,
        /// Why.
        reason: String,
    },
    /// The server demands an unsupported authentication plugin. For an unknown user it demands any.
    #[error("{address} requires the authentication plugin {plugin}, which is not supported")]
    UnsupportedAuthPlugin {
        /// Which server, as whom.
        address: String,
        /// The plugin's name.
        plugin: String,
    },
    /// The server's public key is not the one that this host remembers.
    #[error("{0}")]
    ServerKeyChanged(Box<ServerKeyChange>),
    /// The server offers no TLS, which the connection to it needs.
    #[error("{address} does not support TLS, and nothing is sent to it unencrypted")]
    TlsNotOffered {
        /// Which server.
        address: String,
    },
    /// The server asks for the password itself, over a connection on which an impostor could read it.
    #[error("the password is not sent to {address}: {reason}")]
    PasswordNotSent {
        /// Which server.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The server's response is invalid.
    #[error("{0}")]
    UnexpectedResponse(String),
    /// A stop was requested.
    #[error("interrupted")]
    Interrupted,
}

/// A server that shows another public key than the remembered one.
#[derive(Debug)]
pub struct ServerKeyChange {
    /// Which server.
    pub address: String,
    /// SHA-256 of the key that it shows.
    pub found: String,
    /// The one that is remembered.
    pub known: String,
    /// The file that remembers it.
    pub file: PathBuf,
}

impl fmt::Display for ServerKeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} shows another public key than before: SHA-256 {}, not {}",
            self.address, self.found, self.known
        )
    }
}

/// Server error codes that are handled specially.
pub mod error_code {
    /// Unknown database.
    pub const UNKNOWN_DATABASE: u16 = 1049;
    /// Unknown table.
    pub const NO_SUCH_TABLE: u16 = 1146;
    /// Lock wait timeout.
    pub const LOCK_WAIT_TIMEOUT: u16 = 1205;
    /// Rolled back to resolve a deadlock.
    pub const DEADLOCK: u16 = 1213;
    /// The binary log cannot be read from there.
    pub const BINLOG_READ_FAILED: u16 = 1236;
    /// A table's definition is not the one of the snapshot being read.
    pub const TABLE_DEFINITION_CHANGED: u16 = 1412;
    /// Unknown system variable.
    pub const UNKNOWN_SYSTEM_VARIABLE: u16 = 1193;
}

const ACCESS_DENIED: [u16; 9] = [1044, 1045, 1142, 1143, 1227, 1370, 1698, 3879, 4151];
const PASSWORD_EXPIRED: [u16; 2] = [1820, 1862];
const DISK_FULL: [u16; 4] = [1021, 1041, 1114, 1037];

impl DatabaseError {
    pub(super) fn from_driver(error: mysql_async::Error, address: &str) -> Self {
        match error {
            mysql_async::Error::Server(error) => Self::Server {
                code: error.code,
                message: error.message,
            },
            mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { name }) => {
                Self::UnsupportedAuthPlugin {
                    address: address.to_owned(),
                    plugin: name,
                }
            }
            // Whoever answers there wants to read the password.
            mysql_async::Error::Driver(DriverError::CleartextPluginDisabled) => {
                Self::UnsupportedAuthPlugin {
                    address: address.to_owned(),
                    plugin: "mysql_clear_password".to_owned(),
                }
            }
            error => Self::Connection {
                address: address.to_owned(),
                reason: innermost_cause(&error),
            },
        }
    }

    /// The server's error code.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            Self::Connection { .. }
            | Self::UnsupportedAuthPlugin { .. }
            | Self::ServerKeyChanged(_)
            | Self::TlsNotOffered { .. }
            | Self::PasswordNotSent { .. }
            | Self::UnexpectedResponse(_)
            | Self::Interrupted => None,
        }
    }

    /// What the caller must do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        if matches!(
            self,
            Self::UnsupportedAuthPlugin { .. }
                | Self::ServerKeyChanged(_)
                | Self::TlsNotOffered { .. }
                | Self::PasswordNotSent { .. }
        ) {
            return ErrorClass::Refused;
        }
        match self.code() {
            Some(code) if ACCESS_DENIED.contains(&code) || PASSWORD_EXPIRED.contains(&code) => {
                ErrorClass::Refused
            }
            Some(error_code::UNKNOWN_DATABASE | error_code::NO_SUCH_TABLE) => ErrorClass::NotFound,
            _ => ErrorClass::Failed,
        }
    }

    /// What to do next, in a sentence; empty when the error says it all.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Connection { reason, .. } if reason.contains("ertificate") => {
                "set tls-ca to the file with the certificate of the certificate authority, or choose another TLS mode"
            }
            Self::ServerKeyChanged(change) => {
                return format!(
                    "if the server got a new certificate, compare the key (docs/mysql.md says how) and delete {};\nif not, somebody else answers at this address",
                    change.file.display()
                );
            }
            Self::TlsNotOffered { .. } => {
                "enable TLS on the server; or use tls=off if the network to it is trusted: the password itself is not sent then either"
            }
            Self::PasswordNotSent { .. } => {
                "use TLS; or copy the server's public key (public_key.pem in its data directory) to this host, and give it with server-public-key=FILE"
            }
            Self::Connection { .. } => "check host, port and network, and that the server is running",
            Self::UnsupportedAuthPlugin { .. } => {
                "check the user name: for an unknown user a server may require any plugin; if the account exists, change its plugin to caching_sha2_password or mysql_native_password"
            }
            Self::Server { code, .. } => hint_for_error_code(*code),
            Self::UnexpectedResponse(_) | Self::Interrupted => "",
        }
        .to_owned()
    }
}

fn hint_for_error_code(code: u16) -> &'static str {
    match code {
        1045 | 1698 => "check user and password, and that the account may connect from this host",
        1820 | 1862 => "set a new password for the account",
        1273 | 1115 => {
            "the target server does not know this character set or collation: use a server of the same flavour (MySQL or MariaDB) and of at least the same version"
        }
        1153 | 1301 => "raise max_allowed_packet on the server",
        error_code::LOCK_WAIT_TIMEOUT => {
            "another session held a lock for too long: find it with SHOW PROCESSLIST, then run again"
        }
        3024 | 1969 => {
            "the server stops long statements: raise max_execution_time (MariaDB: max_statement_time) for this account, or set it to 0 (no limit)"
        }
        1317 => {
            "the statement or connection was killed on the server: exclude this account from whatever kills long statements, then run again"
        }
        3948 | 4166 => "set local_infile=ON on the target server during the restore",
        _ if DISK_FULL.contains(&code) => "free disk space on the server",
        _ if ACCESS_DENIED.contains(&code) => {
            "grant the missing privilege; docs/mysql.md lists the privileges that are needed"
        }
        _ => "",
    }
}

/// The innermost cause: the outer errors repeat it.
fn innermost_cause(error: &mysql_async::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_nobody_speaks_may_mean_a_user_that_nobody_knows() {
        let name = "sha256_password".to_owned();
        let error = mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { name });
        let error = DatabaseError::from_driver(error, "mysql://nobody@db/");
        assert_eq!(error.class(), ErrorClass::Refused);
        assert!(error.hint().contains("unknown user") && error.to_string().contains("sha256"));
    }

    #[test]
    fn a_server_that_asks_for_the_password_in_clear_is_refused_by_name() {
        let error = mysql_async::Error::Driver(DriverError::CleartextPluginDisabled);
        let error = DatabaseError::from_driver(error, "mysql://root@db/");
        assert_eq!(error.class(), ErrorClass::Refused);
        assert!(
            error.to_string().contains("mysql_clear_password"),
            "{error}"
        );
    }
}
