//! From a location to a backend: its settings, and the capabilities of the destination that were probed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reprise_repository::backend::{
    Backend, BackendError, BackendResult, ImmutabilityPolicy, ProbedCapabilities, RemoteOptions,
    RepositoryLocation,
};
use reprise_repository::open_backend;
use serde::{Deserialize, Serialize};

use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::quantities::parse_duration_option;
use crate::{progress, quantities};

/// A policy's options for a destination.
#[derive(Debug, Clone, Default)]
pub(crate) struct DestinationOptions {
    pub(crate) immutable: Option<ImmutabilityPolicy>,
    pub(crate) storage_class: Option<String>,
    pub(crate) path_style: Option<bool>,
    pub(crate) limit_upload: Option<u64>,
    pub(crate) limit_download: Option<u64>,
    pub(crate) retry_for: Option<Duration>,
}

/// The result of a probe of a destination, kept beside the host's keys.
#[derive(Debug, Serialize, Deserialize)]
struct ProbeRecord {
    location: String,
    probed_at: DateTime<Utc>,
    probed: ProbedCapabilities,
}

/// Parses a repository location from the command line or a policy.
pub(crate) fn parse_location(text: &str) -> Result<RepositoryLocation, Failure> {
    let location = RepositoryLocation::parse(text).map_err(reprise_repository::Error::from)?;
    Ok(location)
}

/// Opens a backend for reading, without a probe.
pub(crate) fn open_for_reading(
    context: &Context,
    location: &RepositoryLocation,
    wishes: &DestinationOptions,
) -> Result<Arc<dyn Backend>, Failure> {
    let known = load_probe_record(context, location);
    Ok(open_backend(
        location,
        &remote_options(context, wishes, known)?,
    )?)
}

/// Opens a backend for writing. Its capabilities are probed first, unless they are known.
pub(crate) fn open_for_writing(
    context: &Context,
    location: &RepositoryLocation,
    wishes: &DestinationOptions,
) -> Result<Arc<dyn Backend>, Failure> {
    let known = match load_probe_record(context, location) {
        Some(known) => known,
        None => probe_destination(context, location, wishes)?,
    };
    if wishes.immutable.is_some() && !known.locks.is_supported() {
        let message = format!(
            "the policy requires `immutable_days`, but {location} does not lock objects: {}",
            if location.directory().is_some() {
                "a local directory cannot"
            } else {
                "the probe could delete a locked object, or the destination rejected the lock"
            }
        );
        let hint = "create the bucket with Object Lock (S3) or the container with version-level immutability (Azure),\nor remove `immutable_days`; see docs/destinations.md";
        return Err(Failure::new(Exit::Refused, message, hint));
    }
    Ok(open_backend(
        location,
        &remote_options(context, wishes, Some(known))?,
    )?)
}

/// Probes the capabilities of a destination, and records them.
pub(crate) fn probe_destination(
    context: &Context,
    location: &RepositoryLocation,
    wishes: &DestinationOptions,
) -> Result<ProbedCapabilities, Failure> {
    let backend = open_backend(location, &remote_options(context, wishes, None)?)?;
    save_probe_record(context, location, backend.probe())
}

/// As [`probe_destination`], for a user who may lack the permission to write: then there is no result.
pub(crate) fn probe_if_allowed(
    context: &Context,
    location: &RepositoryLocation,
    wishes: &DestinationOptions,
) -> Result<Option<ProbedCapabilities>, Failure> {
    if location.directory().is_some() {
        return Ok(None);
    }
    let backend = open_backend(location, &remote_options(context, wishes, None)?)?;
    match backend.probe() {
        Err(BackendError::PermissionDenied { .. }) => Ok(None),
        found => save_probe_record(context, location, found).map(Some),
    }
}

fn remote_options(
    context: &Context,
    wishes: &DestinationOptions,
    probed: Option<ProbedCapabilities>,
) -> Result<RemoteOptions, Failure> {
    let global = &context.global;
    let rate = |given: &Option<String>, option: &str| {
        let rate = given
            .as_ref()
            .map(|text| quantities::parse_rate_option(text, option));
        rate.transpose()
    };
    let time = |given: &Option<String>, option: &str| {
        let way_out = "write it as 30s or 15m";
        let time = given
            .as_ref()
            .map(|text| parse_duration_option(text, option, way_out));
        time.transpose()
    };
    let default = RemoteOptions::default();
    Ok(RemoteOptions {
        probed_capabilities: probed,
        immutability: wishes.immutable,
        storage_class: wishes.storage_class.clone(),
        path_style: wishes.path_style,
        limit_upload: rate(&global.limit_upload, "--limit-upload")?.or(wishes.limit_upload),
        limit_download: rate(&global.limit_download, "--limit-download")?.or(wishes.limit_download),
        retry_for: time(&global.retry_for, "--retry-for")?
            .or(wishes.retry_for)
            .unwrap_or(default.retry_for),
        stall_timeout: time(&global.request_timeout, "--request-timeout")?
            .unwrap_or(default.stall_timeout),
        stop_requested: progress::stop_flag(),
    })
}

/// One file for each destination. Another endpoint is another destination, whatever the bucket is called.
fn probe_record_path(context: &Context, location: &RepositoryLocation) -> PathBuf {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let endpoint = match location {
        RepositoryLocation::S3 { .. } => {
            variable("AWS_ENDPOINT_URL_S3") + &variable("AWS_ENDPOINT_URL")
        }
        _ => variable("AZURE_STORAGE_SERVICE_ENDPOINT"),
    };
    let name =
        reprise_repository::ObjectId::from_content(format!("{location} {endpoint}").as_bytes());
    let name = name.to_string();
    let directory = context.host.path().join("destinations");
    directory.join(format!("{}.json", &name[..16]))
}

fn load_probe_record(
    context: &Context,
    location: &RepositoryLocation,
) -> Option<ProbedCapabilities> {
    let bytes = std::fs::read(probe_record_path(context, location)).ok()?;
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
    context: &Context,
    location: &RepositoryLocation,
    found: BackendResult<ProbedCapabilities>,
) -> Result<ProbedCapabilities, Failure> {
    let probed = found.map_err(|source| reprise_repository::Error::Backend {
        location: location.to_string(),
        source,
    })?;
    if location.directory().is_none() {
        let file = probe_record_path(context, location);
        let record = ProbeRecord {
            location: location.to_string(),
            probed_at: current_time(),
            probed,
        };
        write_record(&file, &record)
            .map_err(|error| Failure::file_error("write", &file, &error))?;
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
pub(crate) fn describe_capabilities(probed: &ProbedCapabilities) -> String {
    let named = probed
        .list_capabilities()
        .map(|(name, found)| format!("{name}: {found}"));
    format!("destination capabilities (probed): {}", named.join(", "))
}
