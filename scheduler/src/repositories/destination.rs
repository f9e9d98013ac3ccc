//! From a location to a backend: its settings, and the capabilities of the destination that were probed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reprise_policies::{ProcessEnvironment, SecretEnvironment};
use reprise_repository::backend::{
    Backend, BackendError, BackendResult, ImmutabilityPolicy, ProbedCapabilities, RemoteOptions,
    RepositoryLocation,
};
use reprise_repository::open_backend;
use serde::{Deserialize, Serialize};

use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};

/// A policy's options for a destination.
#[derive(Debug, Clone, Default)]
pub struct DestinationOptions {
    /// Objects are locked for so long.
    pub immutable: Option<ImmutabilityPolicy>,
    /// The storage class of new objects.
    pub storage_class: Option<String>,
    /// Whether the bucket is in the path of URLs instead of the host name.
    pub path_style: Option<bool>,
    /// Whether an endpoint with plain HTTP on another host is accepted.
    pub allow_http: bool,
    /// Bytes per second.
    pub limit_upload: Option<u64>,
    /// Bytes per second.
    pub limit_download: Option<u64>,
    /// How long a failing request is retried.
    pub retry_for: Option<Duration>,
}

/// The result of a probe of a destination, kept beside the host's keys.
#[derive(Debug, Serialize, Deserialize)]
struct ProbeRecord {
    location: String,
    probed_at: DateTime<Utc>,
    probed: ProbedCapabilities,
}

/// Parses a repository location from the command line or a policy.
pub fn parse_location(text: &str) -> JobResult<RepositoryLocation> {
    let location = RepositoryLocation::parse(text).map_err(reprise_repository::Error::from)?;
    Ok(location)
}

/// Opens a backend for reading, without a probe.
pub fn open_for_reading(
    environment: &JobEnvironment,
    location: &RepositoryLocation,
    options: &DestinationOptions,
) -> JobResult<Arc<dyn Backend>> {
    let known = load_probe_record(environment, location);
    Ok(open_backend(
        location,
        &remote_options(environment, options, known),
    )?)
}

/// Opens a backend for writing. Its capabilities are probed first, unless they are known.
pub fn open_for_writing(
    environment: &JobEnvironment,
    location: &RepositoryLocation,
    options: &DestinationOptions,
) -> JobResult<Arc<dyn Backend>> {
    let known = match load_probe_record(environment, location) {
        Some(known) => known,
        None => probe_destination(environment, location, options)?,
    };
    if options.immutable.is_some() && !known.locks.is_supported() {
        return Err(JobError::LocksUnsupported {
            location: location.to_string(),
            reason: if location.directory().is_some() {
                "a local directory cannot"
            } else {
                "the probe could delete a locked object, or the destination rejected the lock"
            },
        });
    }
    Ok(open_backend(
        location,
        &remote_options(environment, options, Some(known)),
    )?)
}

/// Probes the capabilities of a destination, and records them.
pub fn probe_destination(
    environment: &JobEnvironment,
    location: &RepositoryLocation,
    options: &DestinationOptions,
) -> JobResult<ProbedCapabilities> {
    let backend = open_backend(location, &remote_options(environment, options, None))?;
    save_probe_record(environment, location, backend.probe())
}

/// As [`probe_destination`], for a user who may lack the permission to write: then there is no result.
pub fn probe_if_allowed(
    environment: &JobEnvironment,
    location: &RepositoryLocation,
    options: &DestinationOptions,
) -> JobResult<Option<ProbedCapabilities>> {
    if location.directory().is_some() {
        return Ok(None);
    }
    let backend = open_backend(location, &remote_options(environment, options, None))?;
    match backend.probe() {
        Err(BackendError::PermissionDenied { .. }) => Ok(None),
        found => save_probe_record(environment, location, found).map(Some),
    }
}

fn remote_options(
    environment: &JobEnvironment,
    options: &DestinationOptions,
    probed: Option<ProbedCapabilities>,
) -> RemoteOptions {
    let (network, default) = (&environment.network, RemoteOptions::default());
    RemoteOptions {
        probed_capabilities: probed,
        immutability: options.immutable,
        storage_class: options.storage_class.clone(),
        path_style: options.path_style,
        allow_http: network.allow_http || options.allow_http,
        limit_upload: network.limit_upload.or(options.limit_upload),
        limit_download: network.limit_download.or(options.limit_download),
        retry_for: network
            .retry_for
            .or(options.retry_for)
            .unwrap_or(default.retry_for),
        stall_timeout: network.stall_timeout.unwrap_or(default.stall_timeout),
        stop_requested: Arc::clone(&environment.stop_requested),
    }
}

/// One file for each destination. Another endpoint is another destination, whatever the bucket is called.
fn probe_record_path(environment: &JobEnvironment, location: &RepositoryLocation) -> PathBuf {
    let variable = |name: &str| ProcessEnvironment.variable(name).unwrap_or_default();
    let endpoint = match location {
        RepositoryLocation::S3 { .. } => {
            variable("AWS_ENDPOINT_URL_S3") + &variable("AWS_ENDPOINT_URL")
        }
        _ => variable("AZURE_STORAGE_SERVICE_ENDPOINT"),
    };
    let name =
        reprise_repository::ObjectId::from_content(format!("{location} {endpoint}").as_bytes());
    let name = name.to_string();
    let directory = environment.host.path().join("destinations");
    directory.join(format!("{}.json", &name[..16]))
}

fn load_probe_record(
    environment: &JobEnvironment,
    location: &RepositoryLocation,
) -> Option<ProbedCapabilities> {
    let bytes = std::fs::read(probe_record_path(environment, location)).ok()?;
    match serde_json::from_slice::<ProbeRecord>(&bytes) {
        Ok(record) => Some(record.probed),
        Err(error) => {
            tracing::debug!(%location, %error, "cannot read the recorded capabilities of the destination");
            None
        }
    }
}

/// Records the result of a probe, unless the destination is a directory.
fn save_probe_record(
    environment: &JobEnvironment,
    location: &RepositoryLocation,
    found: BackendResult<ProbedCapabilities>,
) -> JobResult<ProbedCapabilities> {
    let probed = found.map_err(|source| reprise_repository::Error::Backend {
        location: location.to_string(),
        source,
    })?;
    if location.directory().is_none() {
        let file = probe_record_path(environment, location);
        let record = ProbeRecord {
            location: location.to_string(),
            probed_at: (environment.clock)(),
            probed,
        };
        write_record(&file, &record).map_err(|reason| JobError::File {
            action: "write",
            path: file.clone(),
            reason,
        })?;
    }
    Ok(probed)
}

fn write_record(file: &Path, record: &ProbeRecord) -> std::io::Result<()> {
    std::fs::create_dir_all(file.parent().unwrap_or(file))?;
    let unfinished = file.with_extension(format!("{}", std::process::id()));
    std::fs::write(&unfinished, serde_json::to_vec_pretty(record)?)?;
    std::fs::rename(&unfinished, file)
}

/// The capabilities in a line for people.
pub fn describe_capabilities(probed: &ProbedCapabilities) -> String {
    let named = probed
        .list_capabilities()
        .map(|(name, found)| format!("{name}: {found}"));
    format!("destination capabilities (probed): {}", named.join(", "))
}
