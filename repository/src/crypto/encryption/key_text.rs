//! Keys as text: what must never be shown, and what does not matter when two are compared.

/// What all secret keys of age contain, including those of plugins.
pub(super) const SECRET_KEY_MARKER: &str = "SECRET-KEY-";

/// The prefix of the signing keys of hosts and keepers.
pub(crate) const SIGNING_KEY_PREFIX: &str = "REPRISE-SIGNING-KEY-";

/// What all private keys of SSH contain.
const PRIVATE_KEY_MARKER: &str = "PRIVATE KEY";

/// A text that is safe to show, even if it is a secret key by mistake.
#[must_use]
pub fn mask_secret(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let marks = [
        SECRET_KEY_MARKER,
        PRIVATE_KEY_MARKER,
        SIGNING_KEY_PREFIX,
        "AGE-PLUGIN-",
    ];
    match marks.iter().any(|mark| upper.contains(mark)) {
        true => "(a secret key)".to_owned(),
        false => text.to_owned(),
    }
}

pub(super) fn collapse_whitespace(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
