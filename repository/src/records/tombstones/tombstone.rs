//! A tombstone: what it names, who wrote it and why.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::ObjectKey;
use crate::crypto::signing::SignerId;
use crate::error::Error;
use crate::id::ObjectId;

/// The policy file that decided, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Its name.
    pub file: String,
    /// The Git commit of its work tree, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Whether it was changed since that commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
}

/// Who forgets or unforgets, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TombstoneMetadata {
    /// When, by the clock of its author.
    pub at: DateTime<Utc>,
    /// Who, as `user@host`.
    pub by: String,
    /// The reason.
    pub reason: String,
    /// The policy, if any.
    pub policy: Option<PolicyVersion>,
    /// The program that wrote it, with version.
    pub program: String,
}

/// The forgotten beginning of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenLog {
    /// The source.
    pub source: String,
    /// The number of the first log segment that is kept.
    pub before: u64,
}

/// The content of a tombstone, as it is stored (catalog class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// Snapshots that are forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<ObjectId>,
    /// Logs with a forgotten beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<ForgottenLog>,
    /// Revoked tombstones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoke: Vec<ObjectId>,
    /// When, by the clock of its author.
    pub at: DateTime<Utc>,
    /// Who, as `user@host`.
    pub by: String,
    /// The reason.
    pub reason: String,
    /// The policy, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyVersion>,
    /// The program that wrote it, with version.
    pub program: String,
}

/// A valid tombstone.
#[derive(Debug, Clone)]
pub struct Tombstone {
    /// Its ID.
    pub id: ObjectId,
    /// The keeper.
    pub signer: SignerId,
    /// When the storage received it.
    pub received: Option<DateTime<Utc>>,
    /// Its content.
    pub record: TombstoneRecord,
}

impl Tombstone {
    /// Since when it is in effect: by the storage's clock where there is one.
    pub(crate) fn effective_since(&self) -> DateTime<Utc> {
        self.received.unwrap_or(self.record.at)
    }
}

impl TombstoneRecord {
    /// One that names nothing yet.
    pub(super) fn with_metadata(why: &TombstoneMetadata) -> Self {
        Self {
            forget: Vec::new(),
            logs: Vec::new(),
            revoke: Vec::new(),
            at: why.at,
            by: why.by.clone(),
            reason: why.reason.clone(),
            policy: why.policy.clone(),
            program: why.program.clone(),
        }
    }
}

/// An object in the directory of tombstones that is ignored.
#[derive(Debug)]
pub struct RefusedTombstone {
    /// Its key.
    pub object: ObjectKey,
    /// What is wrong with it.
    pub error: Error,
    /// Whether it may have been genuine once, or is one for a newer version or other identities: then it is unknown
    /// whether it revoked another one, and nothing should be deleted for good. What no keeper ever signed is not one.
    pub may_revoke: bool,
    /// When the storage received it.
    pub received: Option<DateTime<Utc>>,
    /// Whether its content does not match its name, so that it means nothing unless it `may_revoke`.
    pub is_damaged: bool,
}
