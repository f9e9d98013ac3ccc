//! Azure Blob Storage.

mod account;
mod errors;
mod probe;
mod sas;
#[cfg(test)]
mod tests;
mod transport;
mod upload;

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientGetPropertiesResultHeaders,
    BlobClientSetImmutabilityPolicyOptions, BlobContainerClientListBlobsOptions, BlobItem,
    HttpRange, ImmutabilityPolicyMode, ListBlobsIncludeItem, ListBlobsResponse,
};
use azure_storage_blob::{BlobClient, BlobContainerClient, BlobContainerClientOptions};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;

use super::attempt::{AttemptError, corrupt_response};
use super::endpoint;
use super::http::NetworkClient;
use super::listing::{list_until_stable, parse_listed_object};
use super::object_name::join_key;
use super::object_read::{self, ObjectRequests};
use super::retry::Retrier;
use super::runtime::block_on;
use super::{LockMode, RemoteOptions};
use crate::backend::{
    Backend, BackendError, BackendResult, Capabilities, CapabilitySupport, ObjectInfo, ObjectKey,
    ProbedCapabilities, Traffic, WriteVerification,
};
use account::AzureAccount;
pub use account::AzureEndpoint;

/// A container, or a prefix in it.
#[derive(Debug)]
pub struct AzureBackend {
    account: String,
    container: String,
    prefix: String,
    client: AzureContainerClient,
    http: NetworkClient,
    retrier: Retrier,
    options: RemoteOptions,
    uses_tls: bool,
}

/// The vendor's client, whose `Debug` output shows nothing of it.
struct AzureContainerClient(BlobContainerClient);

impl std::fmt::Debug for AzureContainerClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

impl AzureBackend {
    /// Uses a container, with settings and credentials from the usual variables.
    ///
    /// # Errors
    /// [`BackendError::Configuration`] when they cannot be used.
    pub fn new(
        account: &str,
        container: &str,
        prefix: &str,
        options: RemoteOptions,
    ) -> BackendResult<Self> {
        let http = NetworkClient::with_options(&options)?;
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let found = account::resolve_account(account, container, &http, &variable)?;
        endpoint::check_endpoint(found.container_url.as_str(), options.allow_http)?;
        Self::from_account(found, http, account, container, prefix, options)
    }

    /// Where the usual variables lead, without any secret; `variable` reads one of them.
    ///
    /// # Errors
    /// [`BackendError::Configuration`] when they cannot be used.
    pub fn resolve_endpoint(
        account: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> BackendResult<AzureEndpoint> {
        account::resolve_endpoint(account, variable)
    }

    fn from_account(
        found: AzureAccount,
        http: NetworkClient,
        account: &str,
        container: &str,
        prefix: &str,
        options: RemoteOptions,
    ) -> BackendResult<Self> {
        let uses_tls = endpoint::uses_tls(Some(found.container_url.as_str()));
        let destination = format!("azure {}", found.container_url);
        let client_options = BlobContainerClientOptions {
            client_options: found.client_options,
            ..BlobContainerClientOptions::default()
        };
        let client =
            BlobContainerClient::new(found.container_url, found.credential, Some(client_options))
                .map_err(|error| BackendError::Io {
                operation: "reach",
                key: "the container".to_owned(),
                source: Box::new(error),
            })?;
        Ok(Self {
            account: account.to_owned(),
            container: container.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            client: AzureContainerClient(client),
            retrier: Retrier::new(
                &destination,
                Arc::clone(&http.counters),
                options.retry_for,
                Arc::clone(&options.stop_requested),
            ),
            http,
            options,
            uses_tls,
        })
    }

    fn blob_client(&self, key: &str) -> BlobClient {
        self.client.0.blob_client(&join_key(&self.prefix, key))
    }

    /// Size and lock of an object.
    async fn head_blob(&self, key: &str) -> BackendResult<(u64, Option<DateTime<Utc>>)> {
        self.retrier
            .run_with_retries("look up", key, || async {
                let classify = |error| errors::classify_error(error, "look up", key);
                let head = self
                    .blob_client(key)
                    .get_properties(None)
                    .await
                    .map_err(classify)?;
                let size = head.content_length().map_err(classify)?;
                let size =
                    size.ok_or_else(|| corrupt_response("the response has no Content-Length"))?;
                let locked = head.immutability_policy_expires_on().map_err(classify)?;
                let locked = locked.and_then(|t| DateTime::from_timestamp(t.unix_timestamp(), 0));
                Ok((size, locked))
            })
            .await
    }

    async fn list_once(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        let prefix = format!("{}/", join_key(&self.prefix, directory));
        self.list_all_pages("list", directory, &prefix, None, |item| {
            // The last modification also covers tags and tiers, which the host may change.
            let (size, created) = item.properties.map_or((None, None), |found| {
                let created = found.creation_time.or(found.last_modified);
                (found.content_length, created)
            });
            let received = created.and_then(|t| DateTime::from_timestamp(t.unix_timestamp(), 0));
            parse_listed_object(&self.prefix, item.name.as_deref(), size, received)
        })
        .await
    }

    /// Versions of an object, where the container keeps them.
    async fn list_versions(&self, key: &str) -> BackendResult<Vec<String>> {
        let full = join_key(&self.prefix, key);
        let include = Some(ListBlobsIncludeItem::Versions);
        self.list_all_pages("list the versions of", key, &full, include, |item| {
            let Some(name) = item.name else {
                return Err(corrupt_response("a version in the listing has no name"));
            };
            // The listing also has longer names that begin with this one.
            Ok(item.version_id.filter(|_| name == full))
        })
        .await
    }

    /// Everything listed below a prefix, each item as `read` maps it.
    async fn list_all_pages<T>(
        &self,
        operation: &'static str,
        key: &str,
        prefix: &str,
        include: Option<ListBlobsIncludeItem>,
        read: impl Fn(BlobItem) -> Result<Option<T>, AttemptError>,
    ) -> BackendResult<Vec<T>> {
        let (mut found, mut marker) = (Vec::new(), None);
        loop {
            let attempt = async || {
                let classify = |error| errors::classify_error(error, operation, key);
                let options = BlobContainerClientListBlobsOptions {
                    prefix: Some(prefix.to_owned()),
                    marker: marker.clone(),
                    include: include.map(|include| vec![include]),
                    ..BlobContainerClientListBlobsOptions::default()
                };
                let page = self.list_page(options).await.map_err(classify)?;
                let page = page.ok_or_else(|| corrupt_response("the response has no listing"))?;
                let items: Result<Vec<_>, _> = page.blob_items.into_iter().map(&read).collect();
                Ok((items?, page.next_marker))
            };
            let (items, next) = self
                .retrier
                .run_with_retries(operation, key, attempt)
                .await?;
            found.extend(items.into_iter().flatten());
            marker = next.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                return Ok(found);
            }
        }
    }

    async fn list_page(
        &self,
        options: BlobContainerClientListBlobsOptions<'_>,
    ) -> azure_core::Result<Option<ListBlobsResponse>> {
        let mut pages = self.client.0.list_blobs(Some(options))?.into_pages();
        let page = pages.try_next().await?;
        page.map(|page| page.into_model()).transpose()
    }

    /// Deletes an object with all its versions.
    async fn delete_all_versions(&self, key: &str) -> BackendResult<()> {
        self.delete_version(key, None).await?;
        if self.options.capability_support(|probed| probed.versions) == CapabilitySupport::No {
            return Ok(());
        }
        match self.list_versions(key).await {
            Ok(versions) => {
                for version in versions {
                    self.delete_version(key, Some(version)).await?;
                }
                Ok(())
            }
            // A container without versions does not support this request.
            Err(BackendError::Rejected { .. } | BackendError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_version(&self, key: &str, version: Option<String>) -> BackendResult<()> {
        let result = self
            .retrier
            .run_with_retries("delete", key, || async {
                let options = BlobClientDeleteOptions {
                    version_id: version.clone(),
                    ..BlobClientDeleteOptions::default()
                };
                self.blob_client(key)
                    .delete(Some(options))
                    .await
                    .map_err(|error| errors::classify_error(error, "delete", key))
            })
            .await;
        match result {
            Ok(_) | Err(BackendError::NotFound { .. }) => Ok(()),
            Err(BackendError::Locked { .. }) => Err(BackendError::Locked {
                key: key.to_owned(),
                until: self.head_blob(key).await.ok().and_then(|head| head.1),
            }),
            Err(error) => Err(error),
        }
    }
}

impl ObjectRequests for AzureBackend {
    fn retrier(&self) -> &Retrier {
        &self.retrier
    }

    async fn get_once(&self, key: &str, range: Option<Range<u64>>) -> Result<Bytes, AttemptError> {
        let wanted = range.as_ref().map(|range| range.end - range.start);
        let whole = NonZero::new(usize::MAX >> 2);
        let length = wanted.and_then(|wanted| NonZero::new(usize::try_from(wanted).ok()?));
        let options = BlobClientDownloadOptions {
            parallel: NonZero::new(1),
            partition_size: length.or(whole),
            range: range.map(|range| HttpRange::new(range.start, range.end - range.start)),
            ..BlobClientDownloadOptions::default()
        };
        let classify = |error| errors::classify_error(error, "read", key);
        let answer = self
            .blob_client(key)
            .download(Some(options))
            .await
            .map_err(classify)?;
        let announced = answer.properties.content_length;
        let body = answer.body.collect().await.map_err(classify)?;
        object_read::check_body_length(body, announced, wanted, key)
    }

    async fn size_of(&self, key: &str) -> BackendResult<u64> {
        Ok(self.head_blob(key).await?.0)
    }
}

fn policy_mode(mode: LockMode) -> ImmutabilityPolicyMode {
    match mode {
        LockMode::Governance => ImmutabilityPolicyMode::Unlocked,
        LockMode::Compliance => ImmutabilityPolicyMode::Locked,
    }
}

fn to_azure_time(time: DateTime<Utc>) -> BackendResult<azure_core::time::OffsetDateTime> {
    azure_core::time::OffsetDateTime::from_unix_timestamp(time.timestamp()).map_err(|error| {
        BackendError::Io {
            operation: "lock",
            key: "an object".to_owned(),
            source: Box::new(error),
        }
    })
}

impl Backend for AzureBackend {
    fn location(&self) -> String {
        let container = format!("azure://{}/{}", self.account, self.container);
        join_key(&container, &self.prefix)
    }

    fn capabilities(&self) -> Capabilities {
        self.options.capabilities(3, self.uses_tls)
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

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        list_until_stable(self.uses_tls, directory, || {
            block_on(self.list_once(directory))
        })
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        block_on(self.delete_all_versions(key.as_str()))
    }

    fn locked_until(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        Ok(block_on(self.head_blob(key.as_str()))?.1)
    }

    fn lock_until(&self, key: &ObjectKey, until: DateTime<Utc>) -> BackendResult<()> {
        let mode = policy_mode(self.options.lock_mode());
        let (until, key) = (to_azure_time(until)?, key.as_str());
        block_on(async {
            self.retrier
                .run_with_retries("lock", key, || async {
                    let options = BlobClientSetImmutabilityPolicyOptions {
                        immutability_policy_mode: Some(mode),
                        ..BlobClientSetImmutabilityPolicyOptions::default()
                    };
                    self.blob_client(key)
                        .set_immutability_policy(&until, Some(options))
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
