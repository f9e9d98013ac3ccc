//! Keeps secrets in URLs out of messages.

/// Replaces all that may be a secret in a URL, or in a text that is none, with `***`: what stands before an `@`, as a key
/// may contain a slash, and what stands behind a `?` or `#`, as a signature does.
#[must_use]
pub fn mask_secrets(text: &str) -> String {
    let (head, rest) = match text.rsplit_once('@') {
        Some((before, after)) => {
            let scheme_end = before.find("://").map_or(0, |at| at + 3);
            (format!("{}***@", &before[..scheme_end]), after)
        }
        None => (String::new(), text),
    };
    match rest.find(['?', '#']) {
        Some(at) => format!("{head}{}***", &rest[..=at]),
        None => format!("{head}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_may_be_a_secret_is_shown() {
        for (text, shown) in [
            ("s3://id:se/cret@bucket/x", "s3://***@bucket/x"),
            ("azure://a/c?sv=1&sig=secret", "azure://a/c?***"),
            ("ftp://u:secret@h/x?y=secret", "ftp://***@h/x?***"),
            ("s3:secret@b", "***@b"),
            ("s3://id:hun?ter2@bucket", "s3://***@bucket"),
            ("s3://b/p#sig=secret", "s3://b/p#***"),
            ("http://u:p@ss@h/x", "http://***@h/x"),
            ("file://host/x", "file://host/x"),
        ] {
            assert_eq!(mask_secrets(text), shown);
        }
    }
}
