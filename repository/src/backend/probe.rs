//! What a destination really does, as data. Look-alikes accept headers that they ignore, so it is tried.

use serde::{Deserialize, Serialize};

/// What trying found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapabilitySupport {
    /// It does it.
    Yes,
    /// It does not, whatever it answers.
    No,
    /// It could not be found out, for instance for want of a right.
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
    /// Creating an object that exists is refused.
    pub conditional_create: CapabilitySupport,
    /// An upload whose bytes do not have the hash given with it is refused.
    pub checks_uploads: CapabilitySupport,
    /// What is deleted or overwritten is kept as a version.
    pub versions: CapabilitySupport,
    /// A locked object cannot be deleted before its time.
    pub locks: CapabilitySupport,
}

impl ProbedCapabilities {
    /// The capabilities with their names, for people.
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
