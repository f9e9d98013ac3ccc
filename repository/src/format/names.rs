//! The names of objects. Whoever may add objects can give them any other name: those are ignored.

use crate::backend::ObjectKey;
use crate::format::pack::pack_key;
use crate::id::{ObjectId, are_hex_digits};

/// The ID in a key, if it is exactly the key of the object with this ID in its directory. Log segments have another
/// form of name.
pub(crate) fn id_from_key(key: &ObjectKey) -> Option<ObjectId> {
    let id = key.name().parse().ok()?;
    let (directory, rest) = key.as_str().split_once('/')?;
    let is_its_own = match directory {
        "packs" => *key == pack_key(&id),
        _ => rest == key.name(),
    };
    is_its_own.then_some(id)
}

/// The greatest sequence number of a log segment: names have 16 digits.
pub(crate) const LOG_SEQUENCE_MAX: u64 = 9_999_999_999_999_999;

/// Number and ID of a log segment, if the key is exactly its key in this directory.
pub(crate) fn log_segment_from_key(directory: &str, key: &ObjectKey) -> Option<(u64, ObjectId)> {
    let (number, id) = key.name().split_once('.')?;
    let (number, id): (u64, _) = (number.parse().ok()?, id.parse().ok()?);
    if !(1..=LOG_SEQUENCE_MAX).contains(&number) {
        return None;
    }
    let own = format!("{directory}/{number:016}.{id}");
    (own == key.as_str()).then_some((number, id))
}

/// As [`id_from_key`], for log segments as well.
pub(crate) fn object_id_from_key(key: &ObjectKey) -> Option<ObjectId> {
    let (directory, _) = key.as_str().rsplit_once('/')?;
    match is_log_segment(key) {
        true => log_segment_from_key(directory, key).map(|(_, id)| id),
        false => id_from_key(key),
    }
}

/// Whether this is the key of a log segment, `logs/<32 hex>/<16 digits>.<id>`.
pub(crate) fn is_log_segment(key: &ObjectKey) -> bool {
    let Some((directory, _)) = key.as_str().rsplit_once('/') else {
        return false;
    };
    let log = directory.strip_prefix("logs/").unwrap_or_default();
    log.len() == 32
        && are_hex_digits(log.as_bytes())
        && log_segment_from_key(directory, key).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_objects_own_key_has_its_id() {
        let id = ObjectId::from_content(b"x");
        let key = |text: String| ObjectKey::new(text).unwrap();
        assert_eq!(id_from_key(&pack_key(&id)), Some(id));
        assert_eq!(id_from_key(&key(format!("index/{id}"))), Some(id));
        for foreign in [
            format!("packs/{id}"),
            format!("packs/zz/{id}"),
            format!("index/zz/{id}"),
            format!("snapshots/a/b/{id}"),
            "index/foo".to_owned(),
            id.to_string(),
        ] {
            assert_eq!(id_from_key(&key(foreign.clone())), None, "{foreign}");
        }
    }

    #[test]
    fn only_a_log_segment_in_its_own_directory_is_one() {
        let id = ObjectId::from_content(b"x");
        let key = |text: String| ObjectKey::new(text).unwrap();
        let own = key(format!("logs/f/0000000000000007.{id}"));
        assert_eq!(log_segment_from_key("logs/f", &own), Some((7, id)));
        assert_eq!(log_segment_from_key("logs/g", &own), None);
        let log = "0".repeat(32);
        let own = key(format!("logs/{log}/0000000000000007.{id}"));
        assert!(is_log_segment(&own) && object_id_from_key(&own) == Some(id));
        assert_eq!(object_id_from_key(&pack_key(&id)), Some(id));
        for foreign in [
            format!("logs/x/0000000000000007.{id}"),
            format!("logs/{log}/x/0000000000000007.{id}"),
            format!("snapshots/{log}/0000000000000007.{id}"),
        ] {
            assert!(!is_log_segment(&key(foreign)));
        }
        for number in [0, LOG_SEQUENCE_MAX + 1, u64::MAX] {
            let beyond = key(format!("logs/{log}/{number:016}.{id}"));
            assert!(!is_log_segment(&beyond), "{beyond}");
        }
        for foreign in [
            format!("logs/f/7.{id}"),
            format!("logs/f/zz/0000000000000007.{id}"),
        ] {
            assert_eq!(log_segment_from_key("logs/f", &key(foreign)), None);
        }
    }
}
