//! The grammar of locations.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::error::{InvalidLocation, LocationProblem};

/// The schemes of repository URLs.
pub const SCHEMES: [&str; 3] = ["file", "s3", "azure"];

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepositoryLocation {
    /// A directory of a local or mounted file system.
    Directory(PathBuf),
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
    /// When the scheme is unknown, a part is missing, or something is inside that no repository URL has.
    pub fn parse(text: &str) -> Result<Self, InvalidLocation> {
        parse(text).map_err(|problem| InvalidLocation::new(text, problem))
    }

    /// The directory, if the location is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::S3 { .. } | Self::Azure { .. } => None,
        }
    }
}

/// The canonical form, which parses to the same location.
impl fmt::Display for RepositoryLocation {
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

fn parse(text: &str) -> Result<RepositoryLocation, LocationProblem> {
    if text.is_empty() {
        return Err(LocationProblem::Empty);
    }
    if text.contains('\0') {
        return Err(LocationProblem::NulByte);
    }
    let Some((scheme, rest)) = split_scheme(text) else {
        return parse_plain_path(text);
    };
    let (authority, _) = split_at_slash(rest);
    if authority.contains('@') {
        return Err(LocationProblem::Credentials);
    }
    if rest.contains(['?', '#']) {
        return Err(LocationProblem::QueryOrFragment);
    }
    match scheme.to_ascii_lowercase().as_str() {
        "file" => parse_file_url(rest),
        "s3" => parse_s3_url(rest),
        "azure" => parse_azure_url(rest),
        _ => Err(LocationProblem::UnknownScheme {
            scheme: scheme.chars().take(20).collect(),
        }),
    }
}

/// The scheme of a URL, and what stands behind its slashes. `./a://b` is a path.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    text.split_once("://").filter(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

fn parse_plain_path(text: &str) -> Result<RepositoryLocation, LocationProblem> {
    let before_colon = text.split_once(':').map(|(before, _)| before);
    let scheme = before_colon.and_then(|before| {
        let mut schemes = SCHEMES.into_iter();
        schemes.find(|scheme| scheme.eq_ignore_ascii_case(before))
    });
    match scheme {
        Some(scheme) => Err(LocationProblem::MissingSlashes { scheme }),
        None => Ok(RepositoryLocation::Directory(PathBuf::from(text))),
    }
}

fn parse_file_url(rest: &str) -> Result<RepositoryLocation, LocationProblem> {
    let (host, _) = rest.split_once('/').ok_or(LocationProblem::NotAbsolute)?;
    if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
        return Err(LocationProblem::NotAbsolute);
    }
    let path = decode_escapes(&rest[host.len()..])?;
    if path.contains('\0') {
        return Err(LocationProblem::NulByte);
    }
    Ok(RepositoryLocation::Directory(PathBuf::from(path)))
}

fn parse_s3_url(rest: &str) -> Result<RepositoryLocation, LocationProblem> {
    let (bucket, prefix) = split_at_slash(rest);
    Ok(RepositoryLocation::S3 {
        bucket: check_part(bucket, "bucket")?,
        prefix: prefix.to_owned(),
    })
}

fn parse_azure_url(rest: &str) -> Result<RepositoryLocation, LocationProblem> {
    let (account, rest) = split_at_slash(rest);
    let (container, prefix) = split_at_slash(rest);
    Ok(RepositoryLocation::Azure {
        account: check_part(account, "storage account")?,
        container: check_part(container, "container")?,
        prefix: prefix.to_owned(),
    })
}

/// The part before the first slash, and the rest without slashes around it.
fn split_at_slash(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    (first, rest.trim_matches('/'))
}

/// A name that every service of this kind might accept; `$` is in `$root` and `$web` of Azure.
fn check_part(text: &str, what: &'static str) -> Result<String, LocationProblem> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'$'));
    if text.is_empty() || !is_plain {
        Err(LocationProblem::InvalidPart { what })
    } else {
        Ok(text.to_owned())
    }
}

fn decode_escapes(path: &str) -> Result<String, LocationProblem> {
    let begins_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !path.split('%').skip(1).all(begins_escape) {
        return Err(LocationProblem::InvalidEscape);
    }
    let decoded = percent_decode_str(path).decode_utf8();
    decoded
        .map(String::from)
        .map_err(|_| LocationProblem::InvalidEscape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn directory(path: &str) -> RepositoryLocation {
        RepositoryLocation::Directory(PathBuf::from(path))
    }

    fn bucket(bucket: &str, prefix: &str) -> RepositoryLocation {
        RepositoryLocation::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    fn container(account: &str, container: &str, prefix: &str) -> RepositoryLocation {
        RepositoryLocation::Azure {
            account: account.to_owned(),
            container: container.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    #[test]
    fn locations_are_read_and_shown_in_one_form() {
        for (text, location, shown) in [
            ("/srv/b", directory("/srv/b"), "/srv/b"),
            ("b", directory("b"), "b"),
            ("./s3:x", directory("./s3:x"), "./s3:x"),
            ("./a://b", directory("./a://b"), "./a://b"),
            ("a:b", directory("a:b"), "a:b"),
            ("/a%20b?c#d@e", directory("/a%20b?c#d@e"), "/a%20b?c#d@e"),
            ("file:///srv/b", directory("/srv/b"), "/srv/b"),
            ("file:///a%20b", directory("/a b"), "/a b"),
            ("file:///a%3Fb%23c", directory("/a?b#c"), "/a?b#c"),
            ("file:///%c3%a4", directory("/ä"), "/ä"),
            ("FILE://LocalHost/x", directory("/x"), "/x"),
            ("file:///a@b", directory("/a@b"), "/a@b"),
            ("s3://b", bucket("b", ""), "s3://b"),
            ("S3://b/", bucket("b", ""), "s3://b"),
            ("s3://b//p/q//", bucket("b", "p/q"), "s3://b/p/q"),
            ("s3://b/a%20b", bucket("b", "a%20b"), "s3://b/a%20b"),
            ("s3://b/x@y", bucket("b", "x@y"), "s3://b/x@y"),
            ("azure://a/c", container("a", "c", ""), "azure://a/c"),
            (
                "Azure://a/$web/p",
                container("a", "$web", "p"),
                "azure://a/$web/p",
            ),
        ] {
            let parsed = RepositoryLocation::parse(text).unwrap();
            assert_eq!(parsed, location, "{text}");
            assert_eq!(parsed.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_names_no_place_is_refused_with_a_reason() {
        let invalid = |what| LocationProblem::InvalidPart { what };
        let slashes = |scheme| LocationProblem::MissingSlashes { scheme };
        let unknown = |scheme: &str| LocationProblem::UnknownScheme {
            scheme: scheme.to_owned(),
        };
        for (text, problem) in [
            ("", LocationProblem::Empty),
            ("a\0b", LocationProblem::NulByte),
            ("file:///a%00b", LocationProblem::NulByte),
            ("file://host/x", LocationProblem::NotAbsolute),
            ("file://localhostx/y", LocationProblem::NotAbsolute),
            ("file://localhost", LocationProblem::NotAbsolute),
            ("file://x", LocationProblem::NotAbsolute),
            ("file:///%zz", LocationProblem::InvalidEscape),
            ("file:///%4", LocationProblem::InvalidEscape),
            ("file:///%ff", LocationProblem::InvalidEscape),
            ("file:///a?b", LocationProblem::QueryOrFragment),
            ("file:/x", slashes("file")),
            ("s3:bucket", slashes("s3")),
            ("AZURE:a/c", slashes("azure")),
            ("s3://", invalid("bucket")),
            ("s3:///p", invalid("bucket")),
            ("s3://b:c/p", invalid("bucket")),
            ("s3://b?x=1", LocationProblem::QueryOrFragment),
            ("s3://b/p#x", LocationProblem::QueryOrFragment),
            ("s3://k:s@b", LocationProblem::Credentials),
            ("sftp://u:hunter2@h/p", LocationProblem::Credentials),
            ("azure://a", invalid("container")),
            ("azure:///c", invalid("storage account")),
            ("ftp://x/y", unknown("ftp")),
        ] {
            let error = RepositoryLocation::parse(text).unwrap_err();
            assert_eq!(error.problem, problem, "{text:?}");
        }
    }

    #[test]
    fn messages_name_the_text_without_its_secrets() {
        for text in [
            "s3://id:hunter2@bucket/x",
            "s3://id:hun/hunter2@bucket",
            "azure://a/c?sig=hunter2",
            "ftp://u:hunter2@h/x",
        ] {
            let error = RepositoryLocation::parse(text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(error.to_string().contains(&text[..4]), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(
            text in "((file://(localhost)?/)|[sS]3://|azure://a[a-z]*/|[./]?)[a-z0-9.]{1,4}[ -~ä]{0,12}",
        ) {
            if let Ok(location) = RepositoryLocation::parse(&text) {
                let shown = location.to_string();
                prop_assert_eq!(RepositoryLocation::parse(&shown), Ok(location));
            }
        }
    }
}
