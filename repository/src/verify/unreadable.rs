//! What cannot be checked because it is encrypted to others than the given identities.
//!
//! It is not damaged: hashes and signatures are compared before anything is decrypted.

use serde::Serialize;

use crate::error::{Error, PossibleReaders};
use crate::store::finding::VerifyFinding;
use crate::verify::VerifyReport;

/// What objects are, or of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnreadableKind {
    /// Contents of packs.
    Packs,
    /// Directories of packs that no index fragment describes.
    PackDirectories,
    /// Index fragments.
    IndexFragments,
    /// Chunks that may be in packs whose description cannot be read.
    Chunks,
    /// Snapshot roots.
    Snapshots,
    /// Entry lists or reference lists of snapshots.
    EntryLists,
    /// Records of log segments.
    LogRecords,
    /// Contents of log segments.
    LogSegments,
    /// Tombstones, leases and other records.
    Records,
}

/// Objects of one kind that none of the given identities decrypts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableObjects {
    /// What they are.
    pub kind: UnreadableKind,
    /// How many there are.
    pub count: u64,
    /// One of them.
    pub example: String,
    /// Who may be able to read them.
    #[serde(flatten)]
    pub readers: PossibleReaders,
}

/// Sorts what went wrong into damage and what only others can read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorSorter {
    /// Whether a given identity must be able to decrypt everything.
    pub(crate) must_read_all: bool,
}

impl ErrorSorter {
    /// Adds a problem of an object to a report.
    pub(crate) fn add_error(
        self,
        report: &mut VerifyReport,
        kind: UnreadableKind,
        object: &str,
        error: &Error,
    ) {
        match self.is_unreadable(error) {
            true => report.add_unreadable(kind, object, error),
            false => report.findings.push(self.finding(object, error)),
        }
    }

    /// Whether an object is only encrypted to others.
    pub(crate) fn is_unreadable(self, error: &Error) -> bool {
        !self.must_read_all && error.is_missing_identity()
    }

    /// The finding for an error.
    pub(crate) fn finding(self, object: &str, error: &Error) -> VerifyFinding {
        let reason = if let Error::Damaged {
            object: inner,
            reason,
        } = error
            && inner == object
        {
            reason.clone()
        } else if error.is_missing_identity() {
            "it is encrypted to others than the repository's recipients: a given identity has been a recipient since the \
             repository exists, and does not decrypt it"
                .to_owned()
        } else {
            error.to_string()
        };
        VerifyFinding {
            object: object.to_owned(),
            reason,
            affected_snapshots: Vec::new(),
        }
    }
}

impl VerifyReport {
    /// Counts an object that none of the given identities decrypts.
    pub(crate) fn add_unreadable(&mut self, kind: UnreadableKind, object: &str, error: &Error) {
        let mut readers = PossibleReaders {
            recipients: Vec::new(),
            reads_others: true,
        };
        if let Error::NoMatchingIdentity { readers: named, .. } = error {
            readers = named.clone();
        }
        let mut known = self.unreadable.iter_mut();
        if let Some(known) = known.find(|known| known.kind == kind) {
            known.count += 1;
            return;
        }
        self.unreadable.push(UnreadableObjects {
            kind,
            count: 1,
            example: object.to_owned(),
            readers,
        });
    }

    /// Whether parts of the catalog cannot be read, so that what they describe seems to be missing.
    pub(crate) fn has_unreadable_index(&self) -> bool {
        let is_index = |kind| {
            matches!(
                kind,
                UnreadableKind::IndexFragments | UnreadableKind::PackDirectories
            )
        };
        self.unreadable.iter().any(|known| is_index(known.kind))
    }
}
