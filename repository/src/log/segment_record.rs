//! A log segment: its record and its key.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::ObjectKey;
use crate::crypto::signing::SignerId;
use crate::id::ObjectId;

/// Digits of a log segment's sequence number in its key.
pub(super) const DIGITS: usize = 16;

/// The description of a log segment that is not stored yet.
#[derive(Debug, Clone)]
pub struct NewLogSegment {
    /// The source's name.
    pub source: String,
    /// Its sequence number: the first has 1.
    pub sequence: u64,
    /// The segment before it; the first has none.
    pub previous: Option<ObjectId>,
    /// When it is made.
    pub written: DateTime<Utc>,
    /// The program that makes it, with version.
    pub program: String,
    /// What its content is, in a form that the source's kind defines. No names from the content.
    pub facts: serde_json::Value,
}

/// The record of a stored log segment (catalog class).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogSegmentRecord {
    /// The source's name.
    pub source: String,
    /// Its sequence number: the first has 1.
    pub sequence: u64,
    /// The segment before it; the first has none.
    pub previous: Option<ObjectId>,
    /// When it was made.
    pub written: DateTime<Utc>,
    /// The program that made it, with version.
    pub program: String,
    /// The length of the log's bytes.
    pub plain: u64,
    /// Their stored length.
    pub length: u64,
    /// The hash of the stored bytes.
    pub hash: ObjectId,
    /// What its content is.
    pub facts: serde_json::Value,
    /// The ID of the set of recipients of its content; unknown in older segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<ObjectId>,
    /// Who signed it. Not a part of the record itself.
    #[serde(skip)]
    pub signer: Option<SignerId>,
}

#[cfg(test)]
use crate::crypto::signing::HostSigner;

#[cfg(test)]
impl LogSegmentRecord {
    pub(crate) fn for_test(sequence: u64, previous: Option<ObjectId>) -> Self {
        Self {
            source: "db".to_owned(),
            sequence,
            previous,
            written: DateTime::UNIX_EPOCH,
            program: "a test".to_owned(),
            plain: sequence,
            length: sequence,
            hash: ObjectId::from_content(b"content"),
            facts: serde_json::json!({ "n": sequence }),
            recipients: None,
            signer: Some(HostSigner::from_secret(&[1; 32]).id()),
        }
    }
}

/// The location of a stored log segment.
#[derive(Debug, Clone)]
pub struct LogSegmentKey {
    /// Its sequence number, as in its name.
    pub sequence: u64,
    /// The hash of all its bytes, as in its name.
    pub id: ObjectId,
    /// Its size in stored bytes.
    pub size: u64,
    /// When the storage received it, by the storage's own clock; `None` where that is unknown or was not requested.
    pub received: Option<DateTime<Utc>>,
    pub(super) directory: String,
}

impl PartialEq for LogSegmentKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for LogSegmentKey {}

impl PartialOrd for LogSegmentKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LogSegmentKey {
    /// By sequence number; it does not matter when it was received.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let parts = |key: &Self| (key.sequence, key.id, key.size);
        let folders = || self.directory.cmp(&other.directory);
        parts(self).cmp(&parts(other)).then_with(folders)
    }
}

impl LogSegmentKey {
    #[cfg(test)]
    pub(crate) fn for_test(sequence: u64, id: ObjectId, received: Option<DateTime<Utc>>) -> Self {
        Self {
            sequence,
            id,
            size: 1000,
            received,
            directory: "logs/test".to_owned(),
        }
    }

    pub(crate) fn to_object_key(&self) -> ObjectKey {
        object_key(&self.directory, self.sequence, &self.id)
    }
}

impl std::fmt::Display for LogSegmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_object_key().fmt(f)
    }
}

pub(super) fn object_key(directory: &str, sequence: u64, id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("{directory}/{sequence:0DIGITS$}.{id}"))
}
