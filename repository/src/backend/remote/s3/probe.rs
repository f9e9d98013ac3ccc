//! Trying what the bucket really does.

use std::time::Duration;

use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectLockMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::Utc;
use sha2::{Digest, Sha256};

use super::{S3Backend, body_of, errors, from_chrono, to_chrono};
use crate::backend::remote::weather::Trouble;
use crate::backend::remote::{lock_holds, probe_name};
use crate::backend::{BackendError, BackendResult, Found, Probed};

/// How long a probe's object is locked: long enough to be refused, short enough not to stay.
const LOCK: Duration = Duration::from_secs(60);

const PROBE_BYTES: &[u8] = b"a probe of reprise";

fn checksum(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

impl S3Backend {
    pub(super) async fn try_abilities(&self) -> BackendResult<Probed> {
        let key = probe_name();
        let version = self.write_probe(&key).await?;
        let probed = Probed {
            conditional_create: self.creates_conditionally(&key).await?,
            checks_uploads: self.checks_uploads().await?,
            versions: self.keeps_versions(version).await?,
            locks: self.locks().await?,
        };
        self.forget_probe(&key).await;
        Ok(probed)
    }

    async fn write_probe(&self, key: &str) -> BackendResult<Option<String>> {
        let bytes = [Bytes::from_static(PROBE_BYTES)];
        let checksum = checksum(&bytes[0]);
        let output = self
            .weather
            .call("write", key, || {
                self.put_unlocked(key, &bytes[0], &checksum, false, None)
            })
            .await?;
        Ok(output.version_id().map(str::to_owned))
    }

    async fn put_unlocked(
        &self,
        key: &str,
        bytes: &Bytes,
        checksum: &str,
        only_new: bool,
        lock: Option<Duration>,
    ) -> Result<aws_sdk_s3::operation::put_object::PutObjectOutput, Trouble> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .set_if_none_match(only_new.then(|| "*".to_owned()))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(checksum)
            .set_object_lock_mode(lock.map(|_| ObjectLockMode::Governance))
            .set_object_lock_retain_until_date(lock.map(|lock| from_chrono(Utc::now() + lock)))
            .body(body_of(bytes))
            .send()
            .await
            .map_err(|error| errors::sort(error, "write", key))
    }

    /// Look-alikes give version ids and keep nothing, so the old bytes are asked for.
    async fn keeps_versions(&self, first: Option<String>) -> BackendResult<Found> {
        if first.is_none_or(|version| version == "null") {
            return Ok(Found::No);
        }
        let key = probe_name();
        let version = self.write_probe(&key).await?;
        let other = Bytes::from_static(b"a later version");
        let checksum = checksum(&other);
        self.weather
            .call("write", &key, || {
                self.put_unlocked(&key, &other, &checksum, false, None)
            })
            .await?;
        let old = self
            .weather
            .call("read", &key, || async {
                self.client
                    .get_object()
                    .bucket(&self.bucket)
                    .key(self.full(&key))
                    .set_version_id(version.clone())
                    .send()
                    .await
                    .map_err(|error| errors::sort(error, "read", &key))
            })
            .await;
        self.forget_probe(&key).await;
        let length = i64::try_from(PROBE_BYTES.len()).ok();
        match old {
            Ok(old) => Ok(Found::when(old.content_length() == length)),
            Err(BackendError::NotFound { .. } | BackendError::Rejected { .. }) => Ok(Found::No),
            Err(BackendError::PermissionDenied { .. }) => Ok(Found::Unknown),
            Err(error) => Err(error),
        }
    }

    async fn creates_conditionally(&self, key: &str) -> BackendResult<Found> {
        let other = Bytes::from_static(b"other bytes under the same name");
        let checksum = checksum(&other);
        let result = self
            .weather
            .call("write", key, || {
                self.put_unlocked(key, &other, &checksum, true, None)
            })
            .await;
        match result {
            Ok(_) => Ok(Found::No),
            Err(BackendError::AlreadyExists { .. }) => Ok(Found::Yes),
            Err(BackendError::Rejected { .. }) => Ok(Found::No),
            Err(BackendError::PermissionDenied { .. }) => Ok(Found::Unknown),
            Err(error) => Err(error),
        }
    }

    /// A refusal of a wrong hash looks like a bad connection elsewhere; here it is asked for only once.
    async fn checks_uploads(&self) -> BackendResult<Found> {
        let key = probe_name();
        let bytes = Bytes::from_static(b"these bytes have another hash");
        let result = self
            .put_unlocked(&key, &bytes, &checksum(b"another"), false, None)
            .await;
        match result {
            Ok(_) => {
                self.forget_probe(&key).await;
                Ok(Found::No)
            }
            Err(
                Trouble::Passing { answered: true, .. }
                | Trouble::Final(BackendError::Rejected { .. }),
            ) => {
                // It counts only when the same upload with the right hash is taken.
                let right = checksum(&bytes);
                let again = self
                    .weather
                    .call("write", &key, || {
                        self.put_unlocked(&key, &bytes, &right, false, None)
                    })
                    .await;
                self.forget_probe(&key).await;
                Ok(Found::when(again.is_ok()))
            }
            Err(Trouble::Passing { .. }) => Ok(Found::Unknown),
            Err(Trouble::Final(error)) => Err(error),
        }
    }

    /// A lock counts when the server shows it and then refuses to delete what it locks.
    async fn locks(&self) -> BackendResult<Found> {
        let key = probe_name();
        let bytes = Bytes::from_static(b"a probe of reprise that is locked for a minute");
        let checksum = checksum(&bytes);
        let result = self
            .weather
            .call("write", &key, || {
                self.put_unlocked(&key, &bytes, &checksum, false, Some(LOCK))
            })
            .await;
        let output = match result {
            Ok(output) => output,
            // "The bucket has no Object Lock", or no right to lock.
            Err(
                BackendError::Rejected { .. }
                | BackendError::NotFound { .. }
                | BackendError::AlreadyExists { .. },
            ) => return Ok(Found::No),
            Err(BackendError::PermissionDenied { .. }) => return Ok(Found::Unknown),
            Err(error) => return Err(error),
        };
        let head = self.head(&key, "look up").await?;
        let shown = head.object_lock_retain_until_date().and_then(to_chrono);
        if shown.is_none_or(|until| until <= Utc::now()) {
            self.forget_probe(&key).await;
            return Ok(Found::No);
        }
        let version = output.version_id().map(str::to_owned);
        lock_holds(self.delete_once(&key, version).await)
    }

    /// A host that may only add leaves its probes: they are a few bytes, and the sweep removes them.
    async fn forget_probe(&self, key: &str) {
        let versions = self.versions_of(key).await.unwrap_or_default();
        let mut result = Ok(());
        if versions.is_empty() {
            result = self.delete_once(key, None).await;
        }
        for version in versions {
            result = result.and(self.delete_once(key, Some(version)).await);
        }
        if let Err(error) = result {
            tracing::debug!(key, %error, "a probe stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Answer, body, bucket, status};
    use super::*;
    use crate::backend::remote::runtime::block_on;

    /// What a bucket that shows a lock is found to do, by its answer to a deletion.
    fn locks(deletion: u16) -> BackendResult<Found> {
        let until = (Utc::now() + LOCK).to_rfc3339();
        let bucket = bucket(move |method, _| match method {
            "DELETE" => status(deletion),
            "HEAD" => {
                let lock = ("x-amz-object-lock-retain-until-date", until.clone());
                (200, lock, String::new())
            }
            _ => status(200),
        });
        block_on(bucket.locks())
    }

    #[test]
    fn a_lock_holds_only_when_it_is_the_reason_not_to_delete() {
        assert_eq!(locks(403).unwrap(), Found::Yes);
        assert_eq!(locks(204).unwrap(), Found::No);
        for unrelated in [500, 400] {
            let found = locks(unrelated);
            assert!(found.is_err(), "{unrelated}: {found:?}");
        }
    }

    /// What a bucket that names versions is found to do, by its answer when asked for an old one.
    fn keeps_versions(old: Answer) -> BackendResult<Found> {
        let bucket = bucket(move |method, _| match method {
            "GET" => old.clone(),
            "PUT" => (200, ("x-amz-version-id", "one".to_owned()), String::new()),
            _ => status(204),
        });
        block_on(bucket.keeps_versions(Some("one".to_owned())))
    }

    #[test]
    fn versions_are_kept_only_when_the_old_bytes_come_back() {
        let probe = body(std::str::from_utf8(PROBE_BYTES).unwrap());
        assert_eq!(keeps_versions(probe).unwrap(), Found::Yes);
        assert_eq!(keeps_versions(body("a later version")).unwrap(), Found::No);
        assert_eq!(keeps_versions(status(404)).unwrap(), Found::No);
        assert_eq!(keeps_versions(status(400)).unwrap(), Found::No);
        assert_eq!(keeps_versions(status(403)).unwrap(), Found::Unknown);
        let unanswered = keeps_versions(status(500));
        assert!(unanswered.is_err(), "{unanswered:?}");
    }
}
