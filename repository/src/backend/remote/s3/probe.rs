//! Probes what the bucket really does.

use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::types::ObjectLockMode;
use bytes::Bytes;
use chrono::Utc;

use super::upload::{PutAttributes, sha256_base64};
use super::{S3Backend, errors, from_chrono, to_chrono};
use crate::backend::remote::attempt::AttemptError;
use crate::backend::remote::probing::{
    lock_support_from_delete, log_leftover_probe, random_probe_key,
};
use crate::backend::{BackendError, BackendResult, CapabilitySupport, ProbedCapabilities};

/// How long a probe's object is locked: long enough for a deletion to be refused, short enough not to stay.
const PROBE_LOCK_DURATION: Duration = Duration::from_secs(60);

const PROBE_BYTES: &[u8] = b"a probe of reprise";

impl S3Backend {
    pub(super) async fn probe_capabilities(&self) -> BackendResult<ProbedCapabilities> {
        let key = random_probe_key()?;
        let first = self.write_probe(&key, PROBE_BYTES, PutAttributes::default());
        let first = first.await?;
        let probed = ProbedCapabilities {
            conditional_create: self.probe_conditional_create(&key).await?,
            checks_uploads: self.probe_upload_checks().await?,
            versions: self.probe_versions(first.version_id()).await?,
            locks: self.probe_locks().await?,
        };
        self.delete_probe(&key).await;
        Ok(probed)
    }

    async fn write_probe(
        &self,
        key: &str,
        bytes: &'static [u8],
        attributes: PutAttributes,
    ) -> BackendResult<PutObjectOutput> {
        let parts = [Bytes::from_static(bytes)];
        let checksum = sha256_base64(&parts);
        self.retrier
            .run_with_retries("write", key, || {
                self.put_once(key, &parts, &checksum, &attributes)
            })
            .await
    }

    /// Some compatible services return version IDs and keep nothing, so the old bytes are requested.
    async fn probe_versions(&self, first: Option<&str>) -> BackendResult<CapabilitySupport> {
        if first.is_none_or(|version| version == "null") {
            return Ok(CapabilitySupport::No);
        }
        let key = random_probe_key()?;
        let written = self.write_probe(&key, PROBE_BYTES, PutAttributes::default());
        let written = written.await?;
        let later = self.write_probe(&key, b"a later version", PutAttributes::default());
        later.await?;
        let old = self.read_version(&key, written.version_id()).await;
        self.delete_probe(&key).await;
        let length = i64::try_from(PROBE_BYTES.len()).ok();
        match old {
            Ok(old) => Ok(CapabilitySupport::from_bool(old.content_length() == length)),
            Err(BackendError::NotFound { .. } | BackendError::Rejected { .. }) => {
                Ok(CapabilitySupport::No)
            }
            Err(BackendError::PermissionDenied { .. }) => Ok(CapabilitySupport::Unknown),
            Err(error) => Err(error),
        }
    }

    async fn read_version(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> BackendResult<GetObjectOutput> {
        self.retrier
            .run_with_retries("read", key, || async {
                self.client
                    .get_object()
                    .bucket(&self.bucket)
                    .key(self.full_key(key))
                    .set_version_id(version.map(str::to_owned))
                    .send()
                    .await
                    .map_err(|error| errors::classify_error(error, "read", key))
            })
            .await
    }

    async fn probe_conditional_create(&self, key: &str) -> BackendResult<CapabilitySupport> {
        let only_new = PutAttributes {
            only_new: true,
            ..PutAttributes::default()
        };
        let other = b"other bytes under the same name";
        match self.write_probe(key, other, only_new).await {
            Ok(_) | Err(BackendError::Rejected { .. }) => Ok(CapabilitySupport::No),
            Err(BackendError::AlreadyExists { .. }) => Ok(CapabilitySupport::Yes),
            Err(BackendError::PermissionDenied { .. }) => Ok(CapabilitySupport::Unknown),
            Err(error) => Err(error),
        }
    }

    /// A rejected hash looks like a bad connection elsewhere; here the request is sent only once.
    async fn probe_upload_checks(&self) -> BackendResult<CapabilitySupport> {
        const BYTES: &[u8] = b"these bytes have another hash";
        let key = random_probe_key()?;
        let wrong = sha256_base64(&[Bytes::from_static(b"another")]);
        let parts = [Bytes::from_static(BYTES)];
        let plain = PutAttributes::default();
        let found = match self.put_once(&key, &parts, &wrong, &plain).await {
            Ok(_) => CapabilitySupport::No,
            Err(
                AttemptError::Transient { answered: true, .. }
                | AttemptError::Permanent(BackendError::Rejected { .. }),
            ) => {
                // It counts only if the same upload with the right hash is accepted.
                CapabilitySupport::from_bool(self.write_probe(&key, BYTES, plain).await.is_ok())
            }
            Err(AttemptError::Transient { .. }) => return Ok(CapabilitySupport::Unknown),
            Err(AttemptError::Permanent(error)) => return Err(error),
        };
        self.delete_probe(&key).await;
        Ok(found)
    }

    /// A lock counts when the server shows it and then refuses to delete the locked object.
    async fn probe_locks(&self) -> BackendResult<CapabilitySupport> {
        let key = random_probe_key()?;
        let locked = PutAttributes {
            lock_mode: Some(ObjectLockMode::Governance),
            lock_until: Some(from_chrono(Utc::now() + PROBE_LOCK_DURATION)),
            ..PutAttributes::default()
        };
        let bytes = b"a probe of reprise that is locked for a minute";
        let written = match self.write_probe(&key, bytes, locked).await {
            Ok(written) => written,
            // "The bucket has no Object Lock", or no permission to lock.
            Err(
                BackendError::Rejected { .. }
                | BackendError::NotFound { .. }
                | BackendError::AlreadyExists { .. },
            ) => return Ok(CapabilitySupport::No),
            Err(BackendError::PermissionDenied { .. }) => return Ok(CapabilitySupport::Unknown),
            Err(error) => return Err(error),
        };
        let head = self.head_object(&key).await?;
        let shown = head.object_lock_retain_until_date().and_then(to_chrono);
        if shown.is_none_or(|until| until <= Utc::now()) {
            self.delete_probe(&key).await;
            return Ok(CapabilitySupport::No);
        }
        let version = written.version_id().map(str::to_owned);
        lock_support_from_delete(self.delete_version(&key, version).await)
    }

    async fn delete_probe(&self, key: &str) {
        log_leftover_probe(key, self.delete_all_versions(key).await);
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{ScriptedResponse, body_response, scripted_bucket, status_response};
    use super::*;
    use crate::backend::remote::runtime::block_on;

    /// The capability of a bucket that shows a lock, by its response to a deletion.
    fn probed_locks(deletion: u16) -> BackendResult<CapabilitySupport> {
        let until = (Utc::now() + PROBE_LOCK_DURATION).to_rfc3339();
        let bucket = scripted_bucket(move |method, _| match method {
            "DELETE" => status_response(deletion),
            "HEAD" => {
                let lock = ("x-amz-object-lock-retain-until-date", until.clone());
                (200, lock, String::new())
            }
            _ => status_response(200),
        });
        block_on(bucket.probe_locks())
    }

    #[test]
    fn a_lock_holds_only_when_it_is_the_reason_not_to_delete() {
        assert_eq!(probed_locks(403).unwrap(), CapabilitySupport::Yes);
        assert_eq!(probed_locks(204).unwrap(), CapabilitySupport::No);
        for unrelated in [500, 400] {
            let found = probed_locks(unrelated);
            assert!(found.is_err(), "{unrelated}: {found:?}");
        }
    }

    /// The capability of a bucket that returns version IDs, by its response to a request for an old one.
    fn probed_versions(old: ScriptedResponse) -> BackendResult<CapabilitySupport> {
        let bucket = scripted_bucket(move |method, _| match method {
            "GET" => old.clone(),
            "PUT" => (200, ("x-amz-version-id", "one".to_owned()), String::new()),
            _ => status_response(204),
        });
        block_on(bucket.probe_versions(Some("one")))
    }

    #[test]
    fn versions_are_kept_only_when_the_old_bytes_come_back() {
        let probe = body_response(std::str::from_utf8(PROBE_BYTES).unwrap());
        assert_eq!(probed_versions(probe).unwrap(), CapabilitySupport::Yes);
        assert_eq!(
            probed_versions(body_response("a later version")).unwrap(),
            CapabilitySupport::No
        );
        assert_eq!(
            probed_versions(status_response(404)).unwrap(),
            CapabilitySupport::No
        );
        assert_eq!(
            probed_versions(status_response(400)).unwrap(),
            CapabilitySupport::No
        );
        assert_eq!(
            probed_versions(status_response(403)).unwrap(),
            CapabilitySupport::Unknown
        );
        let unanswered = probed_versions(status_response(500));
        assert!(unanswered.is_err(), "{unanswered:?}");
    }
}
