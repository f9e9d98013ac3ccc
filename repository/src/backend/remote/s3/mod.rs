//! S3 and compatible services.

mod connector;
mod errors;
mod probe;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;
mod upload;

use std::ops::Range;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, retry, timeout};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime as S3Time;
use aws_sdk_s3::types::{
    ChecksumMode, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
};
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::attempt::{AttemptError, corrupt_response};
use super::endpoint;
use super::http::NetworkClient;
use super::listing::{list_until_stable, parse_listed_object};
use super::object_name::join_key;
use super::object_read::{self, ObjectRequests};
use super::retry::Retrier;
use super::runtime::block_on;
use super::split;
use super::{LockMode, RemoteOptions};
use crate::backend::{
    Backend, BackendError, BackendResult, Capabilities, CapabilitySupport, ObjectInfo, ObjectKey,
    ProbedCapabilities, Traffic, WriteVerification,
};
use connector::S3Connector;

/// The region where none is set and the endpoint does not need one.
const REGION_DEFAULT: &str = "us-east-1";

/// A bucket, or a prefix in it.
#[derive(Debug)]
pub struct S3Backend {
    bucket: String,
    prefix: String,
    client: Client,
    http: NetworkClient,
    retrier: Retrier,
    options: RemoteOptions,
    uses_tls: bool,
}

impl S3Backend {
    /// Uses a bucket, with settings and credentials from the usual variables and files.
    ///
    /// # Errors
    /// [`BackendError::Configuration`] when they cannot be used.
    pub fn new(bucket: &str, prefix: &str, options: RemoteOptions) -> BackendResult<Self> {
        let http = NetworkClient::with_options(&options)?;
        let connector = S3Connector(http.clone());
        let config = block_on(async {
            let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(connector);
            Ok(loader.load().await)
        })?;
        let endpoint = resolve_endpoint(&config);
        if let Some(endpoint) = &endpoint {
            endpoint::check_endpoint(endpoint, options.allow_http)?;
        }
        let path_style = options.path_style.unwrap_or(endpoint.is_some());
        let region = config.region().cloned();
        let mut builder =
            aws_sdk_s3::config::Builder::from(&config)
                // We retry requests ourselves: see `retry`.
                .retry_config(retry::RetryConfig::disabled())
                .timeout_config(timeout::TimeoutConfig::disabled())
                .stalled_stream_protection(
                    aws_sdk_s3::config::StalledStreamProtectionConfig::disabled(),
                )
                // Many compatible services reject the checksums that newer clients add by default.
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
                .force_path_style(path_style)
                .region(region.unwrap_or_else(|| Region::from_static(REGION_DEFAULT)));
        // What was checked is what is used: the configuration alone would use an empty one as well.
        builder.set_endpoint_url(endpoint.clone());
        let client = Client::from_conf(builder.build());
        let endpoint = endpoint.as_deref();
        Ok(Self::from_client(
            client, http, endpoint, bucket, prefix, options,
        ))
    }

    fn from_client(
        client: Client,
        http: NetworkClient,
        endpoint: Option<&str>,
        bucket: &str,
        prefix: &str,
        options: RemoteOptions,
    ) -> Self {
        let destination = format!("s3 {} {bucket}", endpoint.unwrap_or_default());
        Self {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            client,
            retrier: Retrier::new(
                &destination,
                Arc::clone(&http.counters),
                options.retry_for,
                Arc::clone(&options.stop_requested),
            ),
            http,
            options,
            uses_tls: endpoint::uses_tls(endpoint),
        }
    }

    fn full_key(&self, key: &str) -> String {
        join_key(&self.prefix, key)
    }

    async fn head_object(&self, key: &str) -> BackendResult<HeadObjectOutput> {
        self.retrier
            .run_with_retries("look up", key, || async {
                self.client
                    .head_object()
                    .bucket(&self.bucket)
                    .key(self.full_key(key))
                    .checksum_mode(ChecksumMode::Enabled)
                    .send()
                    .await
                    .map_err(|error| errors::classify_error(error, "look up", key))
            })
            .await
    }

    async fn list_once(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        let prefix = format!("{}/", self.full_key(directory));
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let attempt = || self.list_page(directory, &prefix, token.clone());
            let (objects, next) = self
                .retrier
                .run_with_retries("list", directory, attempt)
                .await?;
            found.extend(objects);
            if next.is_none() {
                return Ok(found);
            }
            token = next;
        }
    }

    /// A page of a listing, and where the next one begins.
    async fn list_page(
        &self,
        directory: &str,
        prefix: &str,
        token: Option<String>,
    ) -> Result<(Vec<ObjectInfo>, Option<String>), AttemptError> {
        let page = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_continuation_token(token)
            .send()
            .await
            .map_err(|error| errors::classify_error(error, "list", directory))?;
        let mut found = Vec::new();
        for object in page.contents() {
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let received = object.last_modified();
            let received =
                received.and_then(|t| DateTime::from_timestamp(t.secs(), t.subsec_nanos()));
            let info = parse_listed_object(&self.prefix, object.key(), size, received)?;
            found.extend(info);
        }
        let next = page.next_continuation_token.clone();
        Ok((found, next_page(page.is_truncated(), next)?))
    }

    /// All versions of one object, and its delete markers.
    async fn list_versions(&self, key: &str) -> BackendResult<Vec<String>> {
        const OPERATION: &str = "list the versions of";
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let attempt = || self.list_versions_page(OPERATION, key, from.clone());
            let (versions, next) = self
                .retrier
                .run_with_retries(OPERATION, key, attempt)
                .await?;
            found.extend(versions);
            if next.is_none() {
                return Ok(found);
            }
            from = next;
        }
    }

    /// A page of versions, and where the next one begins.
    async fn list_versions_page(
        &self,
        operation: &'static str,
        key: &str,
        from: Option<VersionMarker>,
    ) -> Result<(Vec<String>, Option<VersionMarker>), AttemptError> {
        let full = self.full_key(key);
        let (from_key, from_version) = from.unwrap_or_default();
        let page = self
            .client
            .list_object_versions()
            .bucket(&self.bucket)
            .prefix(&full)
            .set_key_marker(from_key)
            .set_version_id_marker(from_version)
            .send()
            .await
            .map_err(|error| errors::classify_error(error, operation, key))?;
        let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
        let marks = page.delete_markers().iter();
        let marks = marks.map(|mark| (mark.key(), mark.version_id()));
        let mut found = Vec::new();
        for version in marks.chain(versions) {
            let (Some(name), Some(id)) = version else {
                return Err(corrupt_response(
                    "a version in the listing has no name or no ID",
                ));
            };
            // The listing also has longer names that begin with this one.
            if name == full {
                found.push(id.to_owned());
            }
        }
        let next = page.next_key_marker.clone();
        let next = next.map(|key| (Some(key), page.next_version_id_marker.clone()));
        Ok((found, next_page(page.is_truncated(), next)?))
    }

    /// Deletes an object with all its versions.
    async fn delete_all_versions(&self, key: &str) -> BackendResult<()> {
        if self.options.capability_support(|probed| probed.versions) == CapabilitySupport::No {
            return self.delete_version(key, None).await;
        }
        match self.list_versions(key).await {
            Ok(versions) => {
                for version in versions {
                    self.delete_version(key, Some(version)).await?;
                }
                Ok(())
            }
            // Compatible services without versions do not know this request.
            Err(BackendError::Rejected { .. } | BackendError::NotFound { .. }) => {
                self.delete_version(key, None).await
            }
            Err(error) => Err(error),
        }
    }

    async fn delete_version(&self, key: &str, version: Option<String>) -> BackendResult<()> {
        let result = self
            .retrier
            .run_with_retries("delete", key, || async {
                self.client
                    .delete_object()
                    .bucket(&self.bucket)
                    .key(self.full_key(key))
                    .set_version_id(version.clone())
                    .send()
                    .await
                    .map_err(|error| errors::classify_error(error, "delete", key))
            })
            .await;
        match result {
            Ok(_) | Err(BackendError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.explain_delete_error(key, error).await),
        }
    }

    /// A rejection because of a lock looks like a missing permission; the lock's date tells them apart.
    async fn explain_delete_error(&self, key: &str, error: BackendError) -> BackendError {
        let denied = matches!(
            error,
            BackendError::PermissionDenied { .. } | BackendError::Locked { .. }
        );
        if !denied {
            return error;
        }
        match self.head_object(key).await.ok().and_then(|head| {
            head.object_lock_retain_until_date()
                .and_then(to_chrono)
                .filter(|until| *until > Utc::now())
        }) {
            Some(until) => BackendError::Locked {
                key: key.to_owned(),
                until: Some(until),
            },
            None => error,
        }
    }
}

impl ObjectRequests for S3Backend {
    fn retrier(&self) -> &Retrier {
        &self.retrier
    }

    async fn get_once(&self, key: &str, range: Option<Range<u64>>) -> Result<Bytes, AttemptError> {
        let wanted = range.as_ref().map(|range| range.end - range.start);
        let result = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .set_range(
                range
                    .as_ref()
                    .map(|range| format!("bytes={}-{}", range.start, range.end - 1)),
            )
            .send()
            .await;
        let output = result.map_err(|error| errors::classify_error(error, "read", key))?;
        let length = output.content_length();
        let announced = length.and_then(|length| u64::try_from(length).ok());
        let named = output.content_range().map(str::to_owned);
        let body = output.body.collect().await.map_err(corrupt_response)?;
        let body = body.into_bytes();
        let is_whole = object_read::is_whole_object(named.as_deref(), &body);
        match range {
            Some(range) if is_whole => object_read::cut_range(body, announced, &range, key),
            _ => object_read::check_body_length(body, announced, wanted, key),
        }
    }

    async fn size_of(&self, key: &str) -> BackendResult<u64> {
        let length = self.head_object(key).await?.content_length();
        length
            .and_then(|length| u64::try_from(length).ok())
            .ok_or_else(|| BackendError::Io {
                operation: "look up",
                key: key.to_owned(),
                source: "the response has no Content-Length".into(),
            })
    }
}

/// The name and the version after which the next page of versions begins.
type VersionMarker = (Option<String>, Option<String>);

/// Where the next page of a listing begins. A truncated listing is never taken for a complete one.
fn next_page<M>(truncated: Option<bool>, marker: Option<M>) -> Result<Option<M>, AttemptError> {
    match (truncated, marker) {
        (Some(false), _) | (None, None) => Ok(None),
        (_, Some(marker)) => Ok(Some(marker)),
        (Some(true), None) => Err(corrupt_response(
            "the listing is truncated, but names no next page",
        )),
    }
}

/// `AWS_ENDPOINT_URL_S3` or that of S3 in a profile takes precedence, as in all tools; an empty one counts as unset.
fn resolve_endpoint(config: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok();
    let of_s3 = config.service_config().zip(key);
    of_s3
        .and_then(|(settings, key)| settings.load_config(key))
        .or_else(|| config.endpoint_url().map(str::to_owned))
        .filter(|endpoint| !endpoint.is_empty())
}

fn to_chrono(time: &S3Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

fn from_chrono(time: DateTime<Utc>) -> S3Time {
    S3Time::from_secs(time.timestamp())
}

fn lock_mode(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::Governance => ObjectLockMode::Governance,
        LockMode::Compliance => ObjectLockMode::Compliance,
    }
}

impl Backend for S3Backend {
    fn location(&self) -> String {
        join_key(&format!("s3://{}", self.bucket), &self.prefix)
    }

    fn capabilities(&self) -> Capabilities {
        self.options.capabilities(4, self.uses_tls)
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        block_on(self.upload_object(key.as_str(), parts))
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        block_on(object_read::read_object(self, key.as_str(), range)).map(Vec::from)
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        block_on(self.size_of(key.as_str()))
    }

    fn received(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        let received = match block_on(self.head_object(key.as_str())) {
            Ok(head) => head.last_modified().copied(),
            Err(BackendError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(received.and_then(|t| DateTime::from_timestamp(t.secs(), t.subsec_nanos())))
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        list_until_stable(self.uses_tls, directory, || {
            block_on(self.list_once(directory))
        })
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        block_on(self.delete_all_versions(key.as_str()))
    }

    fn locked_until(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        let head = block_on(self.head_object(key.as_str()))?;
        Ok(head.object_lock_retain_until_date().and_then(to_chrono))
    }

    fn lock_until(&self, key: &ObjectKey, until: DateTime<Utc>) -> BackendResult<()> {
        let mode = match self.options.lock_mode() {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let retention = ObjectLockRetention::builder()
            .mode(mode)
            .retain_until_date(from_chrono(until))
            .build();
        let key = key.as_str();
        block_on(async {
            self.retrier
                .run_with_retries("lock", key, || async {
                    self.client
                        .put_object_retention()
                        .bucket(&self.bucket)
                        .key(self.full_key(key))
                        .retention(retention.clone())
                        .send()
                        .await
                        .map_err(|error| errors::classify_error(error, "lock", key))
                })
                .await
        })
        .map(drop)
    }

    fn probe(&self) -> BackendResult<ProbedCapabilities> {
        block_on(self.probe_capabilities())
    }

    fn traffic(&self) -> Traffic {
        self.http.counters.traffic()
    }
}
