//! Keeps secrets in URLs out of messages.

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

/// Replaces all that may be a secret in a text that is no location: a key may contain a slash, and a signature is in the
/// query.
pub(crate) fn mask_secrets(text: &str) -> String {
    let (text, query) = match text.split_once('?') {
        Some((text, _)) => (text, "?***"),
        None => (text, ""),
    };
    match text.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.split_once("://").map(|(scheme, _)| scheme);
            let scheme = scheme.map(|scheme| format!("{scheme}://"));
            format!("{}***@{after}{query}", scheme.unwrap_or_default())
        }
        None => format!("{text}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        assert_eq!(mask_password("ftp://u:p@ss@h/x"), "ftp://u:***@h/x");
        assert_eq!(mask_password("s3://bucket/a@b:c"), "s3://bucket/a@b:c");
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_shown() {
        for (text, shown) in [
            ("s3://id:se/cret@bucket/x", "s3://***@bucket/x"),
            ("azure://a/c?sv=1&sig=secret", "azure://a/c?***"),
            ("ftp://u:secret@h/x?y=secret", "ftp://***@h/x?***"),
            ("s3:secret@b", "***@b"),
            ("file://host/x", "file://host/x"),
        ] {
            assert_eq!(mask_secrets(text), shown);
        }
    }
}
