//! Probes what the container really does.

use azure_storage_blob::models::{BlockBlobClientCommitBlockListOptions, ImmutabilityPolicyMode};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};

use super::upload::md5;
use super::{AzureBackend, to_azure_time};
use crate::backend::remote::attempt::AttemptError;
use crate::backend::remote::probing::{
    lock_support_from_delete, log_leftover_probe, random_probe_key,
};
use crate::backend::{BackendError, BackendResult, CapabilitySupport, ProbedCapabilities};

/// An unlocked policy can be lifted again, so a day does no harm.
const PROBE_LOCK_DURATION: TimeDelta = TimeDelta::days(1);

const PROBE_BLOCK: &[u8] = b"probe";

impl AzureBackend {
    pub(super) async fn probe_capabilities(&self) -> BackendResult<ProbedCapabilities> {
        let key = random_probe_key()?;
        let version = self.write_probe(&key, None, None).await?;
        let probed = ProbedCapabilities {
            conditional_create: self.probe_conditional_create(&key).await?,
            checks_uploads: self.probe_upload_checks().await?,
            versions: CapabilitySupport::from_bool(version.is_some()),
            locks: self.probe_locks().await?,
        };
        self.delete_probe(&key).await;
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
        self.retrier
            .run_with_retries("write", key, || {
                self.stage_block_once(key, PROBE_BLOCK, &bytes, &hash)
            })
            .await?;
        let names = [PROBE_BLOCK.to_vec()];
        let until = match lock {
            Some(lock) => Some(to_azure_time(Utc::now() + lock)?),
            None => None,
        };
        self.retrier
            .run_with_retries("write", key, || {
                let options = BlockBlobClientCommitBlockListOptions {
                    if_none_match: if_none_match.map(Into::into),
                    immutability_policy_expiry: until,
                    immutability_policy_mode: until.map(|_| ImmutabilityPolicyMode::Unlocked),
                    ..BlockBlobClientCommitBlockListOptions::default()
                };
                self.commit_blocks_once(key, &names, options)
            })
            .await
    }

    async fn probe_conditional_create(&self, key: &str) -> BackendResult<CapabilitySupport> {
        match self.write_probe(key, Some("*"), None).await {
            Ok(_) | Err(BackendError::Rejected { .. }) => Ok(CapabilitySupport::No),
            Err(BackendError::AlreadyExists { .. }) => Ok(CapabilitySupport::Yes),
            Err(BackendError::PermissionDenied { .. }) => Ok(CapabilitySupport::Unknown),
            Err(error) => Err(error),
        }
    }

    /// A rejected hash looks like a bad connection elsewhere; here the request is sent only once.
    async fn probe_upload_checks(&self) -> BackendResult<CapabilitySupport> {
        let key = random_probe_key()?;
        let bytes = [Bytes::from_static(b"these bytes have another hash")];
        match self
            .stage_block_once(&key, PROBE_BLOCK, &bytes, &md5(b"another"))
            .await
        {
            Ok(()) => Ok(CapabilitySupport::No),
            Err(
                AttemptError::Transient { answered: true, .. }
                | AttemptError::Permanent(BackendError::Rejected { .. }),
            ) => {
                let right = md5(&bytes[0]);
                let again = self
                    .retrier
                    .run_with_retries("write", &key, || {
                        self.stage_block_once(&key, PROBE_BLOCK, &bytes, &right)
                    })
                    .await;
                Ok(CapabilitySupport::from_bool(again.is_ok()))
            }
            Err(AttemptError::Transient { .. }) => Ok(CapabilitySupport::Unknown),
            Err(AttemptError::Permanent(error)) => Err(error),
        }
    }

    /// A lock counts when the server shows it and then refuses to delete the locked object.
    async fn probe_locks(&self) -> BackendResult<CapabilitySupport> {
        let key = random_probe_key()?;
        match self
            .write_probe(&key, None, Some(PROBE_LOCK_DURATION))
            .await
        {
            Ok(_) => {}
            // "Version-level immutability is not enabled", or the feature is not known at all.
            Err(
                BackendError::Rejected { .. }
                | BackendError::NotFound { .. }
                | BackendError::AlreadyExists { .. }
                | BackendError::Locked { .. },
            ) => return Ok(CapabilitySupport::No),
            Err(BackendError::PermissionDenied { .. }) => return Ok(CapabilitySupport::Unknown),
            Err(error) => return Err(error),
        }
        let shown = self
            .head_blob(&key)
            .await?
            .1
            .is_some_and(|until| until > Utc::now());
        if !shown {
            self.delete_probe(&key).await;
            return Ok(CapabilitySupport::No);
        }
        let deleted = self.delete_version(&key, None).await;
        if let Err(error) = self
            .blob_client(&key)
            .delete_immutability_policy(None)
            .await
        {
            tracing::debug!(key, %error, "cannot remove the lock of a probe object; it expires in a day");
        }
        self.delete_probe(&key).await;
        lock_support_from_delete(deleted)
    }

    async fn delete_probe(&self, key: &str) {
        log_leftover_probe(key, self.delete_all_versions(key).await);
    }
}
