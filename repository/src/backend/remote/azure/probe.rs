//! Trying what the container really does.

use azure_storage_blob::models::{BlockBlobClientCommitBlockListOptions, ImmutabilityPolicyMode};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};

use super::upload::md5;
use super::{AzureBackend, to_vendor_time};
use crate::backend::remote::weather::Trouble;
use crate::backend::remote::{forgotten, lock_holds, probe_name};
use crate::backend::{BackendError, BackendResult, Found, Probed};

/// A policy that is not locked can be lifted again, so a day costs nothing.
const LOCK: TimeDelta = TimeDelta::days(1);

const BLOCK: &[u8] = b"probe";

impl AzureBackend {
    pub(super) async fn try_abilities(&self) -> BackendResult<Probed> {
        let key = probe_name()?;
        let version = self.write_probe(&key, None, None).await?;
        let probed = Probed {
            conditional_create: self.creates_conditionally(&key).await?,
            checks_uploads: self.checks_uploads().await?,
            versions: Found::when(version.is_some()),
            locks: self.locks().await?,
        };
        self.forget_probe(&key).await;
        Ok(probed)
    }

    async fn write_probe(
        &self,
        key: &str,
        if_none_match: Option<&'static str>,
        lock: Option<TimeDelta>,
    ) -> BackendResult<Option<String>> {
        let bytes = [Bytes::from_static(b"a probe of reprise")];
        let hash = md5(&bytes[0]);
        self.weather
            .call("write", key, || self.stage_once(key, BLOCK, &bytes, &hash))
            .await?;
        let names = [BLOCK.to_vec()];
        let until = match lock {
            Some(lock) => Some(to_vendor_time(Utc::now() + lock)?),
            None => None,
        };
        self.weather
            .call("write", key, || {
                let options = BlockBlobClientCommitBlockListOptions {
                    if_none_match: if_none_match.map(Into::into),
                    immutability_policy_expiry: until,
                    immutability_policy_mode: until.map(|_| ImmutabilityPolicyMode::Unlocked),
                    ..BlockBlobClientCommitBlockListOptions::default()
                };
                self.commit_once(key, &names, options)
            })
            .await
    }

    async fn creates_conditionally(&self, key: &str) -> BackendResult<Found> {
        match self.write_probe(key, Some("*"), None).await {
            Ok(_) | Err(BackendError::Rejected { .. }) => Ok(Found::No),
            Err(BackendError::AlreadyExists { .. }) => Ok(Found::Yes),
            Err(BackendError::PermissionDenied { .. }) => Ok(Found::Unknown),
            Err(error) => Err(error),
        }
    }

    /// A refusal of a wrong hash looks like a bad connection elsewhere; here it is asked for only once.
    async fn checks_uploads(&self) -> BackendResult<Found> {
        let key = probe_name()?;
        let bytes = [Bytes::from_static(b"these bytes have another hash")];
        match self.stage_once(&key, BLOCK, &bytes, &md5(b"another")).await {
            Ok(()) => Ok(Found::No),
            Err(
                Trouble::Passing { answered: true, .. }
                | Trouble::Final(BackendError::Rejected { .. }),
            ) => {
                let right = md5(&bytes[0]);
                let again = self
                    .weather
                    .call("write", &key, || {
                        self.stage_once(&key, BLOCK, &bytes, &right)
                    })
                    .await;
                Ok(Found::when(again.is_ok()))
            }
            Err(Trouble::Passing { .. }) => Ok(Found::Unknown),
            Err(Trouble::Final(error)) => Err(error),
        }
    }

    /// A lock counts when the server shows it and then refuses to delete what it locks.
    async fn locks(&self) -> BackendResult<Found> {
        let key = probe_name()?;
        match self.write_probe(&key, None, Some(LOCK)).await {
            Ok(_) => {}
            // "Version-level immutability is not enabled", or not known at all.
            Err(
                BackendError::Rejected { .. }
                | BackendError::NotFound { .. }
                | BackendError::AlreadyExists { .. }
                | BackendError::Locked { .. },
            ) => return Ok(Found::No),
            Err(BackendError::PermissionDenied { .. }) => return Ok(Found::Unknown),
            Err(error) => return Err(error),
        }
        let shown = self
            .head(&key)
            .await?
            .1
            .is_some_and(|until| until > Utc::now());
        if !shown {
            self.forget_probe(&key).await;
            return Ok(Found::No);
        }
        let deleted = self.delete_once(&key, None).await;
        if let Err(error) = self.blob(&key).delete_immutability_policy(None).await {
            tracing::debug!(key, %error, "cannot remove the lock of a probe object; it expires in a day");
        }
        self.forget_probe(&key).await;
        lock_holds(deleted)
    }

    async fn forget_probe(&self, key: &str) {
        forgotten(key, self.remove(key).await);
    }
}
