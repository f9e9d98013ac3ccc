//! The capabilities of a backend, as data: those that it promises, and those of a destination that probing found. Some
//! services accept headers that they ignore, so they are tested.

use serde::{Deserialize, Serialize};

/// The capabilities of a backend, as data. Callers check these and never the type of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// The storage itself refuses a second `put` of a key with other bytes.
    pub refuses_overwrite: bool,
    /// Listing all packs is cheap enough to do at every snapshot.
    pub cheap_listing: bool,
    /// How many parallel reads are useful.
    pub parallel_reads: usize,
    /// How many parallel uploads are useful.
    pub parallel_puts: usize,
    /// Whether received bytes may differ from the stored ones, so that a mismatch is worth another read.
    pub reads_may_be_corrupted: bool,
    /// Whether nothing between the storage and here can change bytes unnoticed: TLS, or no network. Where it is not,
    /// what has no hash is read again until two answers agree.
    pub protected_in_transit: bool,
}

/// How far the storage itself has verified a stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVerification {
    /// The storage compared the bytes that it received with our own hash, and reported the same hash afterwards.
    Verified,
    /// Not verified: read it back before relying on it.
    Unverified,
}

/// The result of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapabilitySupport {
    /// Supported.
    Yes,
    /// Not supported, whatever the responses say.
    No,
    /// Unknown, for instance because a permission is missing.
    Unknown,
}

impl CapabilitySupport {
    /// Whether it may be relied on.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self == Self::Yes
    }

    pub(super) fn from_bool(condition: bool) -> Self {
        if condition { Self::Yes } else { Self::No }
    }
}

impl std::fmt::Display for CapabilitySupport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        })
    }
}

/// The capabilities of a destination, as probing found them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedCapabilities {
    /// Creating an object that exists is rejected.
    pub conditional_create: CapabilitySupport,
    /// An upload whose bytes do not match the hash given with it is rejected.
    pub checks_uploads: CapabilitySupport,
    /// Deleted or overwritten objects are kept as versions.
    pub versions: CapabilitySupport,
    /// A locked object cannot be deleted before its time.
    pub locks: CapabilitySupport,
}

impl ProbedCapabilities {
    /// The capabilities with their names, for display.
    #[must_use]
    pub fn list_capabilities(&self) -> [(&'static str, CapabilitySupport); 4] {
        [
            ("conditional create", self.conditional_create),
            ("checks uploads", self.checks_uploads),
            ("versions", self.versions),
            ("locks", self.locks),
        ]
    }
}
