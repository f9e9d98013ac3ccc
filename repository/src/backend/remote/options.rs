//! The settings of a network destination.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::backend::{Capabilities, CapabilitySupport, ProbedCapabilities};

/// Settings of a destination.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Capabilities that an earlier probe found; `None` if there was none.
    pub probed_capabilities: Option<ProbedCapabilities>,
    /// How stored objects are locked, if at all.
    pub immutability: Option<ImmutabilityPolicy>,
    /// The storage class (S3) or access tier (Azure) of packs; `None`: the destination's default.
    pub storage_class: Option<String>,
    /// Whether the bucket's name goes into the path; `None`: only where `AWS_ENDPOINT_URL` is set.
    pub path_style: Option<bool>,
    /// Whether plain HTTP to another host is accepted.
    pub allow_http: bool,
    /// Maximum bytes per second sent.
    pub limit_upload: Option<u64>,
    /// Maximum bytes per second received.
    pub limit_download: Option<u64>,
    /// How long a failing request is retried.
    pub retry_for: Duration,
    /// How long a request may stall.
    pub stall_timeout: Duration,
    /// Set to cancel.
    pub stop_requested: Arc<AtomicBool>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            probed_capabilities: None,
            immutability: None,
            storage_class: None,
            path_style: None,
            allow_http: false,
            limit_upload: None,
            limit_download: None,
            retry_for: Duration::from_secs(15 * 60),
            stall_timeout: Duration::from_secs(60),
            stop_requested: Arc::default(),
        }
    }
}

impl RemoteOptions {
    /// What is known about one capability.
    pub(super) fn capability_support(
        &self,
        choose: impl Fn(&ProbedCapabilities) -> CapabilitySupport,
    ) -> CapabilitySupport {
        self.probed_capabilities
            .as_ref()
            .map_or(CapabilitySupport::Unknown, choose)
    }

    /// Whether the server is known to compare what it receives with our own hash.
    pub(super) fn checks_uploads(&self) -> bool {
        self.capability_support(|probed| probed.checks_uploads)
            .is_supported()
    }

    pub(super) fn capabilities(&self, parallel_puts: usize, uses_tls: bool) -> Capabilities {
        Capabilities {
            refuses_overwrite: self
                .capability_support(|probed| probed.conditional_create)
                .is_supported(),
            cheap_listing: false,
            parallel_reads: 8,
            parallel_puts,
            reads_may_be_corrupted: true,
            protected_in_transit: uses_tls,
        }
    }

    /// How strictly a lock is extended.
    pub(super) fn lock_mode(&self) -> LockMode {
        self.immutability.map_or(LockMode::Governance, |i| i.mode)
    }
}

/// How strictly an object is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// The lock can be lifted with a special permission (S3 governance, Azure unlocked).
    Governance,
    /// The lock cannot be lifted before its time (S3 compliance, Azure locked).
    Compliance,
}

/// How stored objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImmutabilityPolicy {
    /// For how many days from the time of storing.
    pub days: u32,
    /// How strictly.
    pub mode: LockMode,
}

impl ImmutabilityPolicy {
    /// The time until which something stored now is locked.
    #[must_use]
    pub fn lock_expiry(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.checked_add_signed(TimeDelta::days(i64::from(self.days)))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}
