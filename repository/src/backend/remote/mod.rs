//! Network destinations: S3 and Azure Blob, and what they share.

mod azure;
mod bandwidth;
mod classify;
mod http;
mod limiter;
mod object_read;
mod retry;
mod runtime;
mod s3;
mod split;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::probe::{CapabilitySupport, ProbedCapabilities};
use super::{BackendError, BackendResult, Capabilities, ObjectInfo, ObjectKey};

pub use azure::{AzureBackend, AzureEndpoint};
pub use http::Traffic;
pub use s3::S3Backend;

/// Listings without TLS are trusted when two in a row agree; at most this many are requested.
const LISTINGS_MAX: u32 = 6;

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
    fn capability_support(
        &self,
        choose: impl Fn(&ProbedCapabilities) -> CapabilitySupport,
    ) -> CapabilitySupport {
        self.probed_capabilities
            .as_ref()
            .map_or(CapabilitySupport::Unknown, choose)
    }

    /// Whether the server is known to compare what it receives with our own hash.
    fn checks_uploads(&self) -> bool {
        self.capability_support(|probed| probed.checks_uploads)
            .is_supported()
    }

    fn capabilities(&self, parallel_puts: usize) -> Capabilities {
        Capabilities {
            refuses_overwrite: self
                .capability_support(|probed| probed.conditional_create)
                .is_supported(),
            cheap_listing: false,
            parallel_reads: 8,
            parallel_puts,
            reads_may_be_corrupted: true,
        }
    }

    /// How strictly a lock is extended.
    fn lock_mode(&self) -> LockMode {
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

fn new_network_client(options: &RemoteOptions) -> BackendResult<http::NetworkClient> {
    http::NetworkClient::new(
        options.stall_timeout,
        options.limit_upload,
        options.limit_download,
    )
    .map_err(|error| BackendError::Io {
        operation: "start",
        key: "the network client".to_owned(),
        source: Box::new(error),
    })
}

/// A key with the prefix.
fn join_key(prefix: &str, key: &str) -> String {
    match (prefix.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}/{key}"),
    }
}

/// A name without the prefix.
fn strip_key_prefix<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(name);
    }
    name.strip_prefix(prefix)?.strip_prefix('/')
}

/// A response that cannot be what the server sent.
fn corrupt_response(source: impl Into<super::Cause>) -> retry::AttemptError {
    retry::AttemptError::Transient {
        source: source.into(),
        retry_after: None,
        throttled: false,
        answered: true,
    }
}

/// An object in a listing. Foreign objects are left out: their names are not valid keys.
fn parse_listed_object(
    prefix: &str,
    name: Option<&str>,
    size_bytes: Option<u64>,
    received: Option<DateTime<Utc>>,
) -> Result<Option<ObjectInfo>, retry::AttemptError> {
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

/// Whether an object that shows a lock is really locked: then the lock is the reason why it cannot be deleted.
fn lock_support_from_delete(deleted: BackendResult<()>) -> BackendResult<CapabilitySupport> {
    match deleted {
        Ok(()) => Ok(CapabilitySupport::No),
        Err(BackendError::Locked { .. } | BackendError::PermissionDenied { .. }) => {
            Ok(CapabilitySupport::Yes)
        }
        Err(error) => Err(error),
    }
}

/// Checks that a body is what its response announces and what was requested.
fn check_body_length(
    body: Bytes,
    announced: Option<u64>,
    wanted: Option<u64>,
    key: &str,
) -> Result<Bytes, retry::AttemptError> {
    let length = body.len() as u64;
    if announced.is_some_and(|announced| announced != length) {
        return Err(corrupt_response(
            "the response is shorter than its Content-Length",
        ));
    }
    match wanted {
        // Makes the caller request the object's real size.
        Some(wanted) if length < wanted => {
            Err(retry::AttemptError::Permanent(BackendError::Rejected {
                operation: "read",
                key: key.to_owned(),
                source: "the range extends beyond the end of the object".into(),
            }))
        }
        Some(wanted) if length > wanted => Err(corrupt_response(
            "the response is longer than the requested range",
        )),
        _ => Ok(body),
    }
}

/// A listing that can be trusted. Without TLS (`plain`) nothing protects a response: a flipped bit could hide
/// an object or invent one. So two listings in a row must agree there.
fn list_until_stable(
    plain: bool,
    directory: &str,
    list: impl Fn() -> BackendResult<Vec<ObjectInfo>>,
) -> BackendResult<Vec<ObjectInfo>> {
    if !plain {
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

/// Random bytes for a unique name.
fn random_bytes<const N: usize>() -> BackendResult<[u8; N]> {
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

/// A name for an object that only a probe uses.
fn random_probe_key() -> BackendResult<String> {
    Ok(format!("probes/{}", hex::encode(random_bytes::<12>()?)))
}

/// The outcome of removing a probe. A host that may only add leaves its probes: they are a few bytes, and the
/// prune removes them.
fn log_leftover_probe(key: &str, removed: BackendResult<()>) {
    if let Err(error) = removed {
        tracing::debug!(key, %error, "cannot delete a probe object");
    }
}
