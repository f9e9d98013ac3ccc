//! What a verification has found.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::format::pack::PackRecord;
use crate::id::{ChunkId, ObjectId};
use crate::store::finding::VerifyFinding;
use crate::verify::unreadable::UnreadableObjects;

/// The result of a verification.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// Snapshots whose structure was checked.
    pub snapshots: u64,
    /// Packs known to the index.
    pub packs: u64,
    /// Packs that were read and decrypted.
    pub packs_read: u64,
    /// Bytes of those.
    pub bytes_read: u64,
    /// Distinct chunks that the checked snapshots refer to.
    pub chunks: u64,
    /// Log segments.
    pub log_segments: u64,
    /// Log segments that were read and decrypted.
    pub log_segments_read: u64,
    /// What is wrong. Empty means: nothing.
    pub findings: Vec<VerifyFinding>,
    /// What is there and could not be checked, as it is encrypted to others than the given identities.
    pub unreadable: Vec<UnreadableObjects>,
    /// What is not wrong but worth knowing.
    pub notes: Vec<String>,
}

/// The detailed result of a verification.
#[derive(Debug)]
pub(crate) struct DetailedVerifyReport {
    /// The report for users.
    pub(crate) report: VerifyReport,
    /// Packs that are good and in no fragment.
    pub(crate) unindexed: Vec<PackRecord>,
    /// Snapshots that miss something or cannot be read, with the chunks: none, where these are unknown.
    pub(crate) lost_chunks: BTreeMap<ObjectId, Vec<ChunkId>>,
    /// Chunks that are needed and in no pack.
    pub(crate) missing_chunks: Vec<ChunkId>,
    /// Damage that the quarantine lists and that affects nothing.
    pub(crate) harmless: Vec<VerifyFinding>,
}
