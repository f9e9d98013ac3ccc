//! Repository locations: parsing what `-r/--repository` takes.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder of a local or mounted file system.
    Local(PathBuf),
}

impl Location {
    /// Understands a plain path or `file:///path`.
    ///
    /// # Errors
    /// [`Error::Location`] for other schemes and relative or remote `file:` URLs.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fail = |reason: &str| {
            Err(Error::Location {
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
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Local(PathBuf::from(rest))),
            "file" => fail("a file URL has three slashes before an absolute path: file:///path"),
            "s3" | "azure" => fail("this version stores on local or mounted file systems only"),
            _ => fail("its scheme is not known"),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
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
                Location::parse(text).unwrap(),
                Location::Local("/srv/b".into())
            );
        }
        assert_eq!(Location::parse("b").unwrap(), Location::Local("b".into()));
    }

    #[test]
    fn what_is_not_local_is_refused_with_a_reason() {
        for text in [
            "",
            "file://host/x",
            "file://x",
            "s3://b/p",
            "azure://a/c",
            "ftp://x/y",
        ] {
            assert!(Location::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        assert_eq!(mask_password("ftp://u:p@ss@h/x"), "ftp://u:***@h/x");
        assert_eq!(mask_password("s3://bucket/a@b:c"), "s3://bucket/a@b:c");
        let error = Location::parse("ftp://u:geheim@h/x").unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}
