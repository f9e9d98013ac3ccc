//! Destinations over a network: S3 and Azure Blob, and what they share.

mod azure;
mod bandwidth;
mod gate;
mod http;
mod reading;
mod runtime;
mod s3;
mod split;
mod trouble;
mod weather;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::probe::{Found, Probed};
use super::{Abilities, BackendError, BackendResult, ObjectInfo, ObjectKey};

pub use azure::{AzureBackend, AzureEndpoint};
pub use http::Traffic;
pub use s3::S3Backend;

/// Listings without TLS are believed when two answers in a row agree; this many are asked for at most.
const LISTINGS_MAX: u32 = 6;

/// How to treat a destination.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// What was found out about the destination before; `None` when nothing was.
    pub probed: Option<Probed>,
    /// How stored objects are locked, if at all.
    pub immutable: Option<Immutable>,
    /// The storage class (S3) or access tier (Azure) of packs; `None`: the destination's default.
    pub storage_class: Option<String>,
    /// Whether the bucket's name goes into the path; `None`: where `AWS_ENDPOINT_URL` is set.
    pub path_style: Option<bool>,
    /// Bytes per second sent, at most.
    pub limit_upload: Option<u64>,
    /// Bytes per second received, at most.
    pub limit_download: Option<u64>,
    /// How long a failing request is repeated.
    pub retry_for: Duration,
    /// How long a request may stand still.
    pub stall_max: Duration,
    /// Set by a wish to stop.
    pub stop: Arc<AtomicBool>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            probed: None,
            immutable: None,
            storage_class: None,
            path_style: None,
            limit_upload: None,
            limit_download: None,
            retry_for: Duration::from_secs(15 * 60),
            stall_max: Duration::from_secs(60),
            stop: Arc::default(),
        }
    }
}

impl RemoteOptions {
    /// What is known about one capability.
    fn found(&self, choose: impl Fn(&Probed) -> Found) -> Found {
        self.probed.as_ref().map_or(Found::Unknown, choose)
    }

    /// Whether the server is known to compare what it receives with our own hash.
    fn checks_uploads(&self) -> bool {
        self.found(|probed| probed.checks_uploads).holds()
    }

    fn abilities(&self, parallel_puts: usize) -> Abilities {
        Abilities {
            refuses_overwrite: self.found(|probed| probed.conditional_create).holds(),
            cheap_listing: false,
            parallel_reads: 8,
            parallel_puts,
            reads_may_be_garbled: true,
        }
    }

    /// How strictly a lock is extended.
    fn lock_mode(&self) -> LockMode {
        self.immutable.map_or(LockMode::Governance, |i| i.mode)
    }
}

/// How strictly an object is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Someone with a special right can lift the lock (S3 governance, Azure unlocked).
    Governance,
    /// Nobody can lift the lock before its time (S3 compliance, Azure locked).
    Compliance,
}

/// How stored objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Immutable {
    /// For how many days from the moment of storing.
    pub days: u32,
    /// How strictly.
    pub mode: LockMode,
}

impl Immutable {
    /// The moment until which something stored now is locked.
    #[must_use]
    pub fn until(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.checked_add_signed(TimeDelta::days(i64::from(self.days)))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

fn http_of(options: &RemoteOptions) -> BackendResult<http::Http> {
    http::Http::new(
        options.stall_max,
        options.limit_upload,
        options.limit_download,
    )
    .map_err(|error| BackendError::Io {
        operation: "start",
        key: "the network client".to_owned(),
        source: Box::new(error),
    })
}

/// A key below a prefix.
fn joined(prefix: &str, key: &str) -> String {
    match (prefix.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => prefix.to_owned(),
        _ => format!("{prefix}/{key}"),
    }
}

/// The part of a name below a prefix.
fn below<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(name);
    }
    name.strip_prefix(prefix)?.strip_prefix('/')
}

/// An answer that cannot be what the server sent.
fn garbled(source: impl Into<super::Cause>) -> weather::Trouble {
    weather::Trouble::Passing {
        source: source.into(),
        retry_after: None,
        throttled: false,
        answered: true,
    }
}

/// An object as a listing shows it. Foreign objects are left out: they have names that no key can have.
fn listed(
    prefix: &str,
    name: Option<&str>,
    size_bytes: Option<u64>,
    received: Option<DateTime<Utc>>,
) -> Result<Option<ObjectInfo>, weather::Trouble> {
    let (Some(name), Some(size_bytes)) = (name, size_bytes) else {
        return Err(garbled("an object in the listing has no name or no size"));
    };
    let key = below(prefix, name).and_then(ObjectKey::new);
    Ok(key.map(|key| ObjectInfo {
        key,
        size_bytes,
        received,
    }))
}

/// Whether an object whose lock is shown is really locked: then the lock is the reason not to delete it.
fn lock_holds(deleted: BackendResult<()>) -> BackendResult<Found> {
    match deleted {
        Ok(()) => Ok(Found::No),
        Err(BackendError::Locked { .. } | BackendError::PermissionDenied { .. }) => Ok(Found::Yes),
        Err(error) => Err(error),
    }
}

/// A body that is what its answer announces and what was asked for.
fn exactly(
    body: Bytes,
    announced: Option<u64>,
    wanted: Option<u64>,
    key: &str,
) -> Result<Bytes, weather::Trouble> {
    let length = body.len() as u64;
    if announced.is_some_and(|announced| announced != length) {
        return Err(garbled("the response is shorter than its Content-Length"));
    }
    match wanted {
        // Leads to asking for the object's real size.
        Some(wanted) if length < wanted => Err(weather::Trouble::Final(BackendError::Rejected {
            operation: "read",
            key: key.to_owned(),
            source: "the range extends beyond the end of the object".into(),
        })),
        Some(wanted) if length > wanted => {
            Err(garbled("the response is longer than the requested range"))
        }
        _ => Ok(body),
    }
}

/// A listing that can be believed. Without TLS (`plain`) nothing protects an answer: a flipped bit would hide
/// an object or invent one. So two answers in a row must agree there.
fn believed(
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

/// Random bytes for a name that nobody else uses.
fn random<const N: usize>() -> BackendResult<[u8; N]> {
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
fn probe_name() -> BackendResult<String> {
    Ok(format!("probes/{}", hex::encode(random::<12>()?)))
}

/// What became of removing a probe. A host that may only add leaves its probes: they are a few bytes, and the
/// sweep removes them.
fn forgotten(key: &str, removed: BackendResult<()>) {
    if let Err(error) = removed {
        tracing::debug!(key, %error, "cannot delete a probe object");
    }
}
