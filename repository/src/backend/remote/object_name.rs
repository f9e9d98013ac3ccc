//! The names of objects at a destination: keys below the prefix of the repository.

use crate::backend::{BackendError, BackendResult};

/// A key with the prefix.
pub(super) fn join_key(prefix: &str, key: &str) -> String {
    match (prefix.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}/{key}"),
    }
}

/// A name without the prefix.
pub(super) fn strip_key_prefix<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(name);
    }
    name.strip_prefix(prefix)?.strip_prefix('/')
}

/// Random bytes for a unique name.
pub(super) fn random_bytes<const N: usize>() -> BackendResult<[u8; N]> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(BackendError::Io {
            operation: "generate",
            key: "a random name".to_owned(),
            source: error.into(),
        }),
    }
}
