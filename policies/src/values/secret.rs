//! A policy names secrets, and they are read only when used, so a policy can be checked where they are absent.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use zeroize::Zeroizing;

/// The source of secrets. The contract: a call reads the current value each time and caches nothing.
pub trait SecretEnvironment {
    /// The value of an environment variable; `None` when it is unset or not Unicode.
    fn variable(&self, name: &str) -> Option<String>;

    /// The whole text of a file.
    ///
    /// # Errors
    /// Any error of the file system; `InvalidData` when the file is not UTF-8.
    fn read_file(&self, path: &Path) -> io::Result<String>;
}

/// The environment variables and the file system of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl SecretEnvironment for ProcessEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment that is passed in"
    )]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A secret's value. It is wiped from memory when dropped, and cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes ownership of a secret.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretString(***)")
    }
}

/// Why a secret could not be read. No variant holds any part of a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set.
    #[error("the environment variable `{name}` is not set")]
    VariableMissing {
        /// The variable.
        name: String,
    },
    /// The file could not be read.
    #[error("cannot read the secret file {}", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The variable or file exists but is empty, which is never intended.
    #[error("the secret in {place} is empty")]
    Empty {
        /// The variable or file.
        place: String,
    },
}

impl SecretError {
    /// A hint for the user.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::VariableMissing { name } => {
                format!("set `{name}` for the process that runs this policy")
            }
            Self::FileUnreadable { path, .. } => {
                format!(
                    "check that {} exists and may be read by this user",
                    path.display()
                )
            }
            Self::Empty { place } => format!("put the secret into {place}"),
        }
    }
}

/// A value that may be secret, as the policy names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// `${env:NAME}`
    Env(String),
    /// `file:PATH`, resolved against the policy file's directory. One line end at the end of the file is ignored.
    File(PathBuf),
    /// The value itself, allowed only where its name does not look like a secret's.
    Literal(String),
}

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// When the variable or file is missing or empty. A literal never fails.
    pub fn resolve(
        &self,
        environment: &impl SecretEnvironment,
    ) -> Result<SecretString, SecretError> {
        match self {
            Self::Env(name) => read_variable(environment, name).map(SecretString::new),
            Self::File(path) => read_secret_file(environment, path),
            Self::Literal(value) => Ok(SecretString::new(value.clone())),
        }
    }
}

/// The path of the identity file for reading. Only the path is ever taken from here, not the file's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityRef {
    /// `${env:NAME}`: the variable's value is the path of the identity file.
    Env(String),
    /// `file:PATH`, resolved against the policy file's directory.
    File(PathBuf),
}

impl IdentityRef {
    /// The path of the identity file.
    ///
    /// # Errors
    /// When the environment variable is missing or empty.
    pub fn path(&self, environment: &impl SecretEnvironment) -> Result<PathBuf, SecretError> {
        match self {
            Self::Env(name) => read_variable(environment, name).map(PathBuf::from),
            Self::File(path) => Ok(path.clone()),
        }
    }
}

fn read_variable(environment: &impl SecretEnvironment, name: &str) -> Result<String, SecretError> {
    let value = environment
        .variable(name)
        .ok_or_else(|| SecretError::VariableMissing {
            name: name.to_owned(),
        })?;
    if value.is_empty() {
        return Err(SecretError::Empty {
            place: format!("the environment variable `{name}`"),
        });
    }
    Ok(value)
}

fn read_secret_file(
    environment: &impl SecretEnvironment,
    path: &Path,
) -> Result<SecretString, SecretError> {
    let unreadable = |source| SecretError::FileUnreadable {
        path: path.to_owned(),
        source,
    };
    let text = Zeroizing::new(environment.read_file(path).map_err(unreadable)?);
    // Editors and `echo` end a file with a line end that is not meant as part of a password.
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(SecretError::Empty {
            place: format!("the file {}", path.display()),
        });
    }
    Ok(SecretString::new(value.to_owned()))
}

/// A reference as written, before its path is resolved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParsedReference<'a> {
    Env(&'a str),
    File(&'a str),
    /// Not a reference.
    Plain,
    /// A malformed reference.
    Malformed(&'static str),
}

/// Recognises `${env:NAME}` and `file:PATH`.
pub(crate) fn parse_reference(text: &str) -> ParsedReference<'_> {
    if let Some(path) = text.strip_prefix("file:") {
        return match path {
            "" => ParsedReference::Malformed("`file:` needs a path after it"),
            _ if path.starts_with("//") => {
                ParsedReference::Malformed("write `file:PATH`, not a `file://` URL")
            }
            _ => ParsedReference::File(path),
        };
    }
    if let Some(name) = text
        .strip_prefix("${env:")
        .and_then(|rest| rest.strip_suffix('}'))
    {
        return if is_variable_name(name) {
            ParsedReference::Env(name)
        } else {
            ParsedReference::Malformed(
                "the name of an environment variable has letters, digits and `_` only",
            )
        };
    }
    if text.contains("${") {
        return ParsedReference::Malformed("a reference `${env:NAME}` must be the whole value");
    }
    ParsedReference::Plain
}

/// Whether a shell accepts this as the name of a variable.
pub(crate) fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a variable of this name usually holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "key", "credential"]
        .iter()
        .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl SecretEnvironment for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "SET" => Some("hunter2".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }

        fn read_file(&self, path: &Path) -> io::Result<String> {
            match path.to_str() {
                Some("/with-line-end") => Ok("a b\r\n".to_owned()),
                Some("/empty") => Ok("\n".to_owned()),
                _ => Err(io::Error::from(io::ErrorKind::NotFound)),
            }
        }
    }

    #[test]
    fn references_are_resolved_on_demand() {
        let value = |reference: SecretRef| {
            reference
                .resolve(&Fixed)
                .map(|secret| secret.expose().to_owned())
        };
        assert_eq!(value(SecretRef::Env("SET".into())).unwrap(), "hunter2");
        assert_eq!(
            value(SecretRef::File("/with-line-end".into())).unwrap(),
            "a b"
        );
        assert_eq!(value(SecretRef::Literal("x".into())).unwrap(), "x");
    }

    #[test]
    fn a_missing_secret_is_named_without_its_value() {
        let message = |reference: SecretRef| reference.resolve(&Fixed).unwrap_err().to_string();
        assert_eq!(
            message(SecretRef::Env("UNSET".into())),
            "the environment variable `UNSET` is not set"
        );
        assert_eq!(
            message(SecretRef::Env("EMPTY".into())),
            "the secret in the environment variable `EMPTY` is empty"
        );
        assert_eq!(
            message(SecretRef::File("/none".into())),
            "cannot read the secret file /none"
        );
        assert_eq!(
            message(SecretRef::File("/empty".into())),
            "the secret in the file /empty is empty"
        );
    }

    #[test]
    fn debug_output_hides_the_secret() {
        assert_eq!(
            format!("{:?}", SecretString::new("hunter2".into())),
            "SecretString(***)"
        );
    }

    #[test]
    fn a_reference_is_the_whole_value_or_an_error() {
        assert_eq!(parse_reference("${env:A_1}"), ParsedReference::Env("A_1"));
        assert_eq!(parse_reference("file:a/b"), ParsedReference::File("a/b"));
        assert_eq!(parse_reference("plain"), ParsedReference::Plain);
        for bad in [
            "x${env:A}",
            "${env:A}x",
            "${env:}",
            "${env:1A}",
            "${A}",
            "file:",
            "file:///x",
        ] {
            assert!(
                matches!(parse_reference(bad), ParsedReference::Malformed(_)),
                "{bad}"
            );
        }
    }
}
