//! From a location to a backend: its settings, and what is known of what the destination really does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reprise_repository::backend::{
    Backend, BackendError, BackendResult, Immutable, Location, Probed, RemoteOptions,
};
use reprise_repository::backend_at;
use serde::{Deserialize, Serialize};

use crate::context::{Context, now};
use crate::failure::{Exit, Failure};
use crate::quantities::duration;
use crate::{progress, quantities};

/// How a policy wants a destination to be treated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) immutable: Option<Immutable>,
    pub(crate) storage_class: Option<String>,
    pub(crate) path_style: Option<bool>,
    pub(crate) limit_upload: Option<u64>,
    pub(crate) limit_download: Option<u64>,
    pub(crate) retry_for: Option<Duration>,
}

/// What was found out about a destination, kept beside the host's keys.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    location: String,
    probed_at: DateTime<Utc>,
    probed: Probed,
}

/// A backend to read from; nothing is tried.
pub(crate) fn reading(
    context: &Context,
    location: &Location,
    wishes: &Wishes,
) -> Result<Arc<dyn Backend>, Failure> {
    let known = recorded(context, location);
    Ok(backend_at(location, &options(context, wishes, known)?)?)
}

/// A backend to write to. What it really does is tried first, unless that is known.
pub(crate) fn writing(
    context: &Context,
    location: &Location,
    wishes: &Wishes,
) -> Result<Arc<dyn Backend>, Failure> {
    let known = match recorded(context, location) {
        Some(known) => known,
        None => probe(context, location, wishes)?,
    };
    if wishes.immutable.is_some() && !known.locks.holds() {
        let message = format!(
            "the policy requires `immutable_days`, but {location} does not lock objects: {}",
            if location.folder().is_some() {
                "a local directory cannot"
            } else {
                "the probe could delete a locked object, or the destination rejected the lock"
            }
        );
        let hint = "create the bucket with Object Lock (S3) or the container with version-level immutability (Azure),\nor remove `immutable_days`; see docs/destinations.md";
        return Err(Failure::new(Exit::Refused, message, hint));
    }
    Ok(backend_at(
        location,
        &options(context, wishes, Some(known))?,
    )?)
}

/// Tries what a destination really does, and records it.
pub(crate) fn probe(
    context: &Context,
    location: &Location,
    wishes: &Wishes,
) -> Result<Probed, Failure> {
    let backend = backend_at(location, &options(context, wishes, None)?)?;
    record(context, location, backend.probe())
}

/// As [`probe_destination`], for someone who may have no right to write: then there is nothing to tell.
pub(crate) fn probe_if_allowed(
    context: &Context,
    location: &Location,
    wishes: &Wishes,
) -> Result<Option<Probed>, Failure> {
    if location.folder().is_some() {
        return Ok(None);
    }
    let backend = backend_at(location, &options(context, wishes, None)?)?;
    match backend.probe() {
        Err(BackendError::PermissionDenied { .. }) => Ok(None),
        found => record(context, location, found).map(Some),
    }
}

fn options(
    context: &Context,
    wishes: &Wishes,
    probed: Option<Probed>,
) -> Result<RemoteOptions, Failure> {
    let global = &context.global;
    let rate = |given: &Option<String>, option: &str| {
        let rate = given.as_ref().map(|text| quantities::rate(text, option));
        rate.transpose()
    };
    let time = |given: &Option<String>, option: &str| {
        let way_out = "write it as 30s or 15m";
        let time = given.as_ref().map(|text| duration(text, option, way_out));
        time.transpose()
    };
    let default = RemoteOptions::default();
    Ok(RemoteOptions {
        probed,
        immutable: wishes.immutable,
        storage_class: wishes.storage_class.clone(),
        path_style: wishes.path_style,
        limit_upload: rate(&global.limit_upload, "--limit-upload")?.or(wishes.limit_upload),
        limit_download: rate(&global.limit_download, "--limit-download")?.or(wishes.limit_download),
        retry_for: time(&global.retry_for, "--retry-for")?
            .or(wishes.retry_for)
            .unwrap_or(default.retry_for),
        stall_max: time(&global.request_timeout, "--request-timeout")?.unwrap_or(default.stall_max),
        stop: progress::wish_to_stop(),
    })
}

/// One file for each destination. Another endpoint is another destination, whatever the bucket is called.
fn record_file(context: &Context, location: &Location) -> PathBuf {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let endpoint = match location {
        Location::S3 { .. } => variable("AWS_ENDPOINT_URL_S3") + &variable("AWS_ENDPOINT_URL"),
        _ => variable("AZURE_STORAGE_SERVICE_ENDPOINT"),
    };
    let name = reprise_repository::ObjectId::of(format!("{location} {endpoint}").as_bytes());
    let name = name.to_string();
    let folder = context.host.path().join("destinations");
    folder.join(format!("{}.json", &name[..16]))
}

fn recorded(context: &Context, location: &Location) -> Option<Probed> {
    let bytes = std::fs::read(record_file(context, location)).ok()?;
    match serde_json::from_slice::<Record>(&bytes) {
        Ok(record) => Some(record.probed),
        Err(error) => {
            tracing::debug!(%location, %error, "cannot read the recorded capabilities of the destination");
            None
        }
    }
}

/// Records what was found at a destination, unless it is a folder.
fn record(
    context: &Context,
    location: &Location,
    found: BackendResult<Probed>,
) -> Result<Probed, Failure> {
    let probed = found.map_err(|source| reprise_repository::Error::Backend {
        location: location.to_string(),
        source,
    })?;
    if location.folder().is_none() {
        let file = record_file(context, location);
        let record = Record {
            location: location.to_string(),
            probed_at: now(),
            probed,
        };
        write(&file, &record).map_err(|error| Failure::file("write", &file, &error))?;
    }
    Ok(probed)
}

fn write(file: &Path, record: &Record) -> std::io::Result<()> {
    std::fs::create_dir_all(file.parent().unwrap_or(file))?;
    let unfinished = file.with_extension(format!("{}", std::process::id()));
    std::fs::write(&unfinished, serde_json::to_vec_pretty(record)?)?;
    std::fs::rename(&unfinished, file)
}

/// The abilities in a line for people.
pub(crate) fn line(probed: &Probed) -> String {
    let named = probed
        .named()
        .map(|(name, found)| format!("{name}: {found}"));
    format!("destination capabilities (probed): {}", named.join(", "))
}
