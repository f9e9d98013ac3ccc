//! The address and account of a MySQL or MariaDB server: from a URL, an option file, or a policy.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::connection::option_file;

const PORT_DEFAULT: u16 = 3306;

const IDLE_LIMIT_DEFAULT: Duration = Duration::from_secs(60);

const CONNECT_LIMIT_MAX: Duration = Duration::from_secs(30);

/// How a connection is encrypted. The names are those of the MySQL clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Never.
    Off,
    /// On this host if the server supports it, to other hosts always; see `Required`.
    #[default]
    Preferred,
    /// Always. The certificate of another host must have the public key that was seen first; on this host it is not
    /// checked.
    Required,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority for this exact host.
    VerifyIdentity,
}

impl FromStr for Tls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().replace('_', "-").as_str() {
            "off" | "disabled" => Ok(Self::Off),
            "preferred" => Ok(Self::Preferred),
            "required" => Ok(Self::Required),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-identity" => Ok(Self::VerifyIdentity),
            other => Err(format!(
                "`{other}` is not a TLS mode: use off, preferred, required, verify-ca or verify-identity"
            )),
        }
    }
}

/// A password. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// A server, and an account there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// A host name or an IP address; `None`: this machine.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// A Unix socket instead of host and port.
    pub socket: Option<PathBuf>,
    /// A Docker container instead of a host: its IP address is queried from the engine.
    pub container: Option<String>,
    /// The account's name.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Password>,
    /// How the connection is encrypted.
    pub tls: Option<Tls>,
    /// The authorities that sign servers' certificates, as a PEM file.
    pub tls_ca: Option<PathBuf>,
    /// The server's RSA public key, as a PEM file: to it a password is encrypted where the connection is not.
    pub server_public_key: Option<PathBuf>,
    /// The database that the URL names.
    pub database: Option<String>,
    /// What this host demands of the connection.
    pub settings: ConnectionSettings,
}

/// What a host demands of its connections, whatever the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionSettings {
    /// The directory that remembers the public keys of servers.
    pub pins: Option<PathBuf>,
    /// A server that is silent for this long is asked whether it still answers. `None`: the default.
    pub idle_limit: Option<Duration>,
}

impl ConnectionSettings {
    /// How long a server may be silent.
    #[must_use]
    pub fn idle_limit(&self) -> Duration {
        self.idle_limit.unwrap_or(IDLE_LIMIT_DEFAULT)
    }

    /// How long a connection may take to be made.
    #[must_use]
    pub fn connect_limit(&self) -> Duration {
        self.idle_limit().min(CONNECT_LIMIT_MAX)
    }
}

impl Address {
    /// Parses `mysql://[user[:password]@]host[:port]/[database][?socket=…&container=…&tls=…&tls-ca=…&server-public-key=…&defaults-file=…]`.
    ///
    /// # Errors
    /// What is wrong. It never contains a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let whole = insert_missing_host(text);
        let hostless = whole != text;
        let url = Url::parse(&whole).map_err(|error| format!("it is not a valid URL: {error}"))?;
        if !matches!(url.scheme(), "mysql" | "mariadb") {
            return Err("the URL must have the form mysql://user@host:port/".to_owned());
        }
        let mut address = Self {
            host: url
                .host_str()
                .filter(|host| !host.is_empty() && !hostless)
                .map(|host| percent_decode(host.trim_matches(['[', ']'])))
                .transpose()?,
            port: url.port(),
            user: Some(url.username())
                .filter(|user| !user.is_empty())
                .map(percent_decode)
                .transpose()?,
            password: url
                .password()
                .map(percent_decode)
                .transpose()?
                .map(Password),
            ..Self::default()
        };
        let path = url.path().trim_matches('/');
        if !path.is_empty() {
            address.database = Some(percent_decode(path)?);
        }
        let mut defaults = None;
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "socket" => address.socket = Some(PathBuf::from(value.as_ref())),
                "container" => address.container = Some(value.into_owned()),
                "tls" | "ssl-mode" => address.tls = Some(value.parse()?),
                "tls-ca" | "ssl-ca" => address.tls_ca = Some(PathBuf::from(value.as_ref())),
                "server-public-key" | "server-public-key-path" => {
                    address.server_public_key = Some(PathBuf::from(value.as_ref()));
                }
                "defaults-file" => defaults = Some(PathBuf::from(value.as_ref())),
                other => {
                    return Err(format!(
                        "unknown URL parameter `{other}`: use socket, container, tls, tls-ca, server-public-key or defaults-file"
                    ));
                }
            }
        }
        match defaults {
            Some(file) => address.with_defaults_file(&file),
            None => Ok(address),
        }
    }

    /// Adds missing values from an option file, as `~/.my.cnf`.
    ///
    /// # Errors
    /// The file and what is wrong with it.
    pub fn with_defaults_file(self, file: &Path) -> Result<Self, String> {
        Ok(self.with_defaults(option_file::read_option_file(file)?))
    }

    /// Adds missing values from another address.
    #[must_use]
    pub fn with_defaults(self, other: Self) -> Self {
        // Where a server is named, no part of another server's address is used.
        let placed = self.host.is_some() || self.socket.is_some() || self.container.is_some();
        Self {
            host: if placed { self.host } else { other.host },
            socket: if placed { self.socket } else { other.socket },
            container: if placed {
                self.container
            } else {
                other.container
            },
            port: self.port.or(other.port),
            user: self.user.or(other.user),
            password: self.password.or(other.password),
            tls: self.tls.or(other.tls),
            tls_ca: self.tls_ca.or(other.tls_ca),
            server_public_key: self.server_public_key.or(other.server_public_key),
            database: self.database.or(other.database),
            settings: self.settings,
        }
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(PORT_DEFAULT)
    }

    /// The host to connect to, when there is neither socket nor container.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("127.0.0.1")
    }

    /// The account's name; by default that of the user of this machine, as in other clients.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the default of every MySQL client is the user of this machine"
    )]
    pub fn user(&self) -> String {
        self.user.clone().unwrap_or_else(|| {
            std::env::var("USER")
                .ok()
                .filter(|user| !user.is_empty())
                .unwrap_or_else(|| "root".to_owned())
        })
    }
}

/// For people, without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysql://{}@", self.user())?;
        match (&self.socket, &self.container) {
            (Some(socket), _) => write!(f, "localhost/?socket={}", socket.display()),
            (None, Some(container)) => write!(f, "/?container={container}"),
            (None, None) => write!(f, "{}:{}/", self.host(), self.port()),
        }
    }
}

/// An account without a host, as in `mysql://root@/?container=db`, is not a valid URL.
fn insert_missing_host(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.ends_with('@') {
        true => format!("{scheme}://{authority}localhost{path}"),
        false => text.to_owned(),
    }
}

fn percent_decode(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "it has percent-encoded bytes that are not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_account_server_and_database() {
        let address =
            Address::parse("mysql://back%20up:p%40ss@db.example:3307/app?tls=verify-ca").unwrap();
        assert_eq!(address.user(), "back up");
        assert_eq!(address.password, Some(Password::new("p@ss")));
        assert_eq!((address.host(), address.port()), ("db.example", 3307));
        assert_eq!(address.database.as_deref(), Some("app"));
        assert_eq!(address.tls, Some(Tls::VerifyCa));
        let socket =
            Address::parse("mysql://root@localhost/?socket=/run/mysqld/mysqld.sock").unwrap();
        assert_eq!(
            socket.socket,
            Some(PathBuf::from("/run/mysqld/mysqld.sock"))
        );
        assert_eq!(Address::parse("mysql:///").unwrap().port(), 3306);
        for text in ["mysql://u:p@/d?container=c", "mysql://u:p@?container=c"] {
            let inside = Address::parse(text).unwrap();
            assert_eq!(
                (inside.host.as_deref(), inside.user()),
                (None, "u".to_owned())
            );
            assert_eq!(inside.container.as_deref(), Some("c"));
        }
        assert_eq!(Address::parse("mysql://[::1]/").unwrap().host(), "::1");
    }

    #[test]
    fn a_password_is_never_shown() {
        let address = Address::parse("mysql://u:secret@h/").unwrap();
        for shown in [address.to_string(), format!("{address:?}")] {
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        for (text, part) in [
            ("db.example", "not a valid URL"),
            ("http://h/", "mysql://"),
            ("mysql://h/?tls=maybe", "verify-identity"),
            ("mysql://h/?colour=red", "colour"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_named_server_takes_no_other_servers_socket() {
        let file = Address {
            socket: Some("/run/mysqld/mysqld.sock".into()),
            user: Some("backup".to_owned()),
            ..Address::default()
        };
        let address = Address::parse("mysql://db/")
            .unwrap()
            .with_defaults(file.clone());
        assert_eq!(address.socket, None);
        assert_eq!(address.user(), "backup");
        assert_eq!(
            Address::default().with_defaults(file.clone()).socket,
            file.socket
        );
    }
}
