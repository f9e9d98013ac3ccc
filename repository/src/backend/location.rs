//! Repository locations: parses the value of `-r/--repository`.

use std::fmt;
use std::path::{Path, PathBuf};

/// A repository location that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("repository location `{location}` cannot be used: {reason}")]
pub struct InvalidLocation {
    /// The location as given, without passwords.
    pub location: String,
    /// The reason.
    pub reason: String,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryLocation {
    /// A directory of a local or mounted file system.
    Local(PathBuf),
    /// A bucket, or a prefix in it.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix without slashes around it; may be empty.
        prefix: String,
    },
    /// A container of Azure Blob Storage, or a prefix in it.
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// The prefix without slashes around it; may be empty.
        prefix: String,
    },
}

impl RepositoryLocation {
    /// Parses a plain path, `file:///path`, `s3://bucket/prefix` and `azure://account/container/prefix`.
    ///
    /// # Errors
    /// [`InvalidLocation`] for other schemes, missing parts, and relative or remote `file:` URLs.
    pub fn parse(text: &str) -> Result<Self, InvalidLocation> {
        let fail = |reason: &str| {
            Err(InvalidLocation {
                location: mask_password(text),
                reason: reason.to_owned(),
            })
        };
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.contains('\0') {
            return fail("it contains a NUL byte");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Local(PathBuf::from(text)));
        };
        let authority = rest.split('/').next().unwrap_or_default();
        if matches!(scheme, "s3" | "azure") && authority.contains('@') {
            return fail("credentials are not allowed in it: set them in the environment");
        }
        if matches!(scheme, "s3" | "azure") && rest.contains(['?', '#']) {
            return fail("`?` and `#` are not allowed in it");
        }
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Local(PathBuf::from(rest))),
            "file" => fail("a file URL has three slashes before an absolute path: file:///path"),
            "s3" => match split_at_slash(rest) {
                ("", _) => fail("the bucket name is missing"),
                (bucket, prefix) => Ok(Self::S3 {
                    bucket: bucket.to_owned(),
                    prefix: prefix.to_owned(),
                }),
            },
            "azure" => {
                let (account, rest) = split_at_slash(rest);
                let (container, prefix) = split_at_slash(rest);
                if account.is_empty() || container.is_empty() {
                    return fail("the name of the storage account or of the container is missing");
                }
                Ok(Self::Azure {
                    account: account.to_owned(),
                    container: container.to_owned(),
                    prefix: prefix.to_owned(),
                })
            }
            _ => fail("its scheme is not supported"),
        }
    }

    /// The directory, if the location is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::S3 { .. } | Self::Azure { .. } => None,
        }
    }
}

/// The part before the first slash, and the rest without slashes around it.
fn split_at_slash(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    (first, rest.trim_matches('/'))
}

impl fmt::Display for RepositoryLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self {
            Self::Local(path) => return write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } => {
                write!(f, "s3://{bucket}")?;
                prefix
            }
            Self::Azure {
                account,
                container,
                prefix,
            } => {
                write!(f, "azure://{account}/{container}")?;
                prefix
            }
        };
        if prefix.is_empty() {
            Ok(())
        } else {
            write!(f, "/{prefix}")
        }
    }
}

/// Replaces the password of a URL's user information with `***`.
#[must_use]
pub fn mask_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let Some((user_info, host)) = authority.rsplit_once('@') else {
        return url.to_owned();
    };
    match user_info.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_urls_are_local() {
        for text in ["/srv/b", "file:///srv/b"] {
            assert_eq!(
                RepositoryLocation::parse(text).unwrap(),
                RepositoryLocation::Local("/srv/b".into())
            );
        }
        assert_eq!(
            RepositoryLocation::parse("b").unwrap(),
            RepositoryLocation::Local("b".into())
        );
    }

    #[test]
    fn buckets_and_containers_are_shown_in_one_form() {
        for (text, shown) in [
            ("s3://b", "s3://b"),
            ("s3://b/", "s3://b"),
            ("s3://b/p/q/", "s3://b/p/q"),
            ("azure://a/c", "azure://a/c"),
            ("azure://a/c/p", "azure://a/c/p"),
        ] {
            assert_eq!(RepositoryLocation::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_names_no_place_is_refused_with_a_reason() {
        for text in [
            "",
            "file://host/x",
            "file://x",
            "s3://",
            "s3:///p",
            "s3://b?x=1",
            "s3://k:s@b",
            "azure://a",
            "azure://a/",
            "ftp://x/y",
        ] {
            assert!(RepositoryLocation::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        assert_eq!(mask_password("ftp://u:p@ss@h/x"), "ftp://u:***@h/x");
        assert_eq!(mask_password("s3://bucket/a@b:c"), "s3://bucket/a@b:c");
        let error = RepositoryLocation::parse("ftp://u:geheim@h/x").unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}
