//! Objects in listings.

use chrono::{DateTime, Utc};

use super::attempt::{AttemptError, corrupt_response};
use super::object_name::strip_key_prefix;
use crate::backend::{BackendError, BackendResult, ObjectInfo, ObjectKey};

/// Listings without TLS are trusted when two in a row agree; at most this many are requested.
const LISTINGS_MAX: u32 = 6;

/// An object in a listing. Foreign objects are left out: their names are not valid keys.
pub(super) fn parse_listed_object(
    prefix: &str,
    name: Option<&str>,
    size_bytes: Option<u64>,
    received: Option<DateTime<Utc>>,
) -> Result<Option<ObjectInfo>, AttemptError> {
    let (Some(name), Some(size_bytes)) = (name, size_bytes) else {
        return Err(corrupt_response(
            "an object in the listing has no name or no size",
        ));
    };
    let key = strip_key_prefix(prefix, name).and_then(ObjectKey::new);
    Ok(key.map(|key| ObjectInfo {
        key,
        size_bytes,
        received,
    }))
}

/// A listing that can be trusted. Without TLS nothing protects a response, and nothing else notices a flipped bit that hides
/// an object: a listing has no hash, and foreign names in it are left out. So two listings in a row must agree there.
pub(super) fn list_until_stable(
    uses_tls: bool,
    directory: &str,
    list: impl Fn() -> BackendResult<Vec<ObjectInfo>>,
) -> BackendResult<Vec<ObjectInfo>> {
    if uses_tls {
        return list();
    }
    let sorted = || {
        list().map(|mut found| {
            found.sort_by(|a, b| a.key.cmp(&b.key));
            found
        })
    };
    let mut last = sorted()?;
    for _ in 1..LISTINGS_MAX {
        let next = sorted()?;
        if next == last {
            return Ok(next);
        }
        last = next;
    }
    Err(BackendError::Unavailable {
        operation: "list",
        key: directory.to_owned(),
        attempts: LISTINGS_MAX,
        seconds: 0,
        source: "consecutive listings differed; use https, or wait until nothing writes to the destination".into(),
    })
}
