//! The location of a repository: a directory, an S3 bucket or an Azure container.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::values::{names, paths};

/// A repository's location.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RepositoryUrl {
    /// A directory on this host, absolute.
    Directory(PathBuf),
    /// `s3://bucket/prefix`
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// `azure://account/container/prefix`
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// The prefix, without slashes at its ends; may be empty.
        prefix: String,
    },
}

/// Why a text is not a repository's location. Nothing that may be a password is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The text is empty.
    #[error("the repository URL is empty")]
    Empty,
    /// The scheme is not one of a repository.
    #[error("`{scheme}` is not a supported URL scheme; use `file`, `s3`, `azure` or a plain path")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// `s3:x` instead of `s3://x`.
    #[error("`{scheme}:` must be followed by `//`")]
    MissingSlashes {
        /// The scheme.
        scheme: &'static str,
    },
    /// A user name or password before an `@`.
    #[error("the URL contains credentials, which a policy must not contain")]
    Credentials,
    /// The part that names a bucket, an account or a container is missing or not a name.
    #[error("the name of the {what} is missing or invalid")]
    InvalidPart {
        /// Which part.
        what: &'static str,
    },
    /// A `file` URL that names another host or no absolute path.
    #[error("a `file` URL needs an absolute path: `file:///path`")]
    NotAbsolute,
    /// A `%` that does not begin two hexadecimal digits, or bytes that are not UTF-8.
    #[error("`%` in a URL must be followed by two hexadecimal digits that give UTF-8 text")]
    InvalidEscape,
    /// A `?` or `#`, which no kind of repository uses.
    #[error("a repository URL must not contain `?` or `#`")]
    QueryOrFragment,
}

impl LocationError {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownScheme { scheme } => names::did_you_mean(scheme, SCHEMES),
            Self::Credentials => Some(
                "leave them out; S3 reads the AWS variables and profiles, Azure `AZURE_STORAGE_KEY` and similar variables"
                    .to_owned(),
            ),
            Self::InvalidPart { .. } => {
                Some("write `s3://bucket/prefix` or `azure://account/container/prefix`".to_owned())
            }
            _ => None,
        }
    }
}

const SCHEMES: [&str; 3] = ["file", "s3", "azure"];

impl RepositoryUrl {
    /// Reads a plain path (relative to `base`) or a URL.
    ///
    /// # Errors
    /// When the scheme is unknown, a part is missing, or credentials are inside.
    pub fn parse(text: &str, base: &Path) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        let Some((scheme, rest)) = text
            .split_once("://")
            .filter(|(scheme, _)| is_scheme(scheme))
        else {
            if let Some(scheme) = SCHEMES.into_iter().find(|scheme| has_scheme(text, scheme)) {
                return Err(LocationError::MissingSlashes { scheme });
            }
            return Ok(Self::Directory(paths::resolve(base, text)));
        };
        if rest
            .split('/')
            .next()
            .is_some_and(|authority| authority.contains('@'))
        {
            return Err(LocationError::Credentials);
        }
        if rest.contains(['?', '#']) {
            return Err(LocationError::QueryOrFragment);
        }
        match scheme.to_ascii_lowercase().as_str() {
            "file" => parse_file_url(rest),
            "s3" => parse_s3_url(rest),
            "azure" => parse_azure_url(rest),
            _ => Err(LocationError::UnknownScheme {
                scheme: scheme.chars().take(20).collect(),
            }),
        }
    }

    /// The directory, if it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::S3 { .. } | Self::Azure { .. } => None,
        }
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, prefix) = match self {
            Self::Directory(path) => return write!(formatter, "{}", path.display()),
            Self::S3 { bucket, prefix } => (format!("s3://{bucket}"), prefix),
            Self::Azure {
                account,
                container,
                prefix,
            } => (format!("azure://{account}/{container}"), prefix),
        };
        formatter.write_str(&head)?;
        if prefix.is_empty() {
            Ok(())
        } else {
            write!(formatter, "/{prefix}")
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn has_scheme(text: &str, scheme: &str) -> bool {
    text.strip_prefix(scheme)
        .is_some_and(|rest| rest.starts_with(':'))
}

fn parse_file_url(rest: &str) -> Result<RepositoryUrl, LocationError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(LocationError::NotAbsolute);
    }
    Ok(RepositoryUrl::Directory(paths::normalise(Path::new(
        &unescape(path)?,
    ))))
}

fn parse_s3_url(rest: &str) -> Result<RepositoryUrl, LocationError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    Ok(RepositoryUrl::S3 {
        bucket: check_part(bucket, "bucket")?,
        prefix: prefix.trim_matches('/').to_owned(),
    })
}

fn parse_azure_url(rest: &str) -> Result<RepositoryUrl, LocationError> {
    let (account, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    Ok(RepositoryUrl::Azure {
        account: check_part(account, "storage account")?,
        container: check_part(container, "container")?,
        prefix: prefix.trim_matches('/').to_owned(),
    })
}

fn check_part(text: &str, what: &'static str) -> Result<String, LocationError> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'$'));
    if text.is_empty() || !plain {
        Err(LocationError::InvalidPart { what })
    } else {
        Ok(text.to_owned())
    }
}

fn unescape(text: &str) -> Result<String, LocationError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = rest
                .next()
                .and_then(hex_digit)
                .zip(rest.next().and_then(hex_digit));
            let (high, low) = digits.ok_or(LocationError::InvalidEscape)?;
            bytes.push(high * 16 + low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| LocationError::InvalidEscape)
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        let url = RepositoryUrl::parse(text, Path::new("/base"));
        url.map(|url| url.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn places_are_read_and_shown_in_one_form() {
        for (text, shown) in [
            ("./scratch/repository", "/base/scratch/repository"),
            ("/srv/x/", "/srv/x"),
            ("file:///srv/a%20b", "/srv/a b"),
            ("s3://bucket", "s3://bucket"),
            ("S3://bucket/a/b/", "s3://bucket/a/b"),
            ("azure://account/container/a", "azure://account/container/a"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        for text in [
            "s3://user:hunter2@bucket/x",
            "sftp://u:hunter2@h/p",
            "s3://user@bucket",
        ] {
            let message = parse(text).unwrap_err();
            assert!(
                message.contains("credentials") && !message.contains("hunter2"),
                "{message}"
            );
        }
    }

    #[test]
    fn other_places_are_refused() {
        for text in [
            "ftp://host/x",
            "s3:bucket",
            "s3://",
            "azure://a",
            "file://host/x",
            "file:///%zz",
            "s3://b?x=1",
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = RepositoryUrl::parse("azur://a/b", Path::new("/")).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean `azure`?"));
    }
}
