//! Trying what the bucket really does.

use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::types::ObjectLockMode;
use bytes::Bytes;
use chrono::Utc;

use super::upload::{Attributes, checksum};
use super::{S3Backend, errors, from_chrono, to_chrono};
use crate::backend::remote::weather::Trouble;
use crate::backend::remote::{forgotten, lock_holds, probe_name};
use crate::backend::{BackendError, BackendResult, Found, Probed};

/// How long a probe's object is locked: long enough to be refused, short enough not to stay.
const LOCK: Duration = Duration::from_secs(60);

const PROBE_BYTES: &[u8] = b"a probe of reprise";

impl S3Backend {
    pub(super) async fn try_abilities(&self) -> BackendResult<Probed> {
        let key = probe_name()?;
        let first = self.write_probe(&key, PROBE_BYTES, Attributes::default());
        let first = first.await?;
        let probed = Probed {
            conditional_create: self.creates_conditionally(&key).await?,
            checks_uploads: self.checks_uploads().await?,
            versions: self.keeps_versions(first.version_id()).await?,
            locks: self.locks().await?,
        };
        self.forget_probe(&key).await;
        Ok(probed)
    }

    async fn write_probe(
        &self,
        key: &str,
        bytes: &'static [u8],
        attributes: Attributes,
    ) -> BackendResult<PutObjectOutput> {
        let parts = [Bytes::from_static(bytes)];
        let checksum = checksum(&parts);
        self.weather
            .call("write", key, || {
                self.put_once(key, &parts, &checksum, &attributes)
            })
            .await
    }

    /// Look-alikes give version ids and keep nothing, so the old bytes are asked for.
    async fn keeps_versions(&self, first: Option<&str>) -> BackendResult<Found> {
        if first.is_none_or(|version| version == "null") {
            return Ok(Found::No);
        }
        let key = probe_name()?;
        let written = self.write_probe(&key, PROBE_BYTES, Attributes::default());
        let written = written.await?;
        let later = self.write_probe(&key, b"a later version", Attributes::default());
        later.await?;
        let old = self.read_version(&key, written.version_id()).await;
        self.forget_probe(&key).await;
        let length = i64::try_from(PROBE_BYTES.len()).ok();
        match old {
            Ok(old) => Ok(Found::when(old.content_length() == length)),
            Err(BackendError::NotFound { .. } | BackendError::Rejected { .. }) => Ok(Found::No),
            Err(BackendError::PermissionDenied { .. }) => Ok(Found::Unknown),
            Err(error) => Err(error),
        }
    }

    async fn read_version(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> BackendResult<GetObjectOutput> {
        self.weather
            .call("read", key, || async {
                self.client
                    .get_object()
                    .bucket(&self.bucket)
                    .key(self.full(key))
                    .set_version_id(version.map(str::to_owned))
                    .send()
                    .await
                    .map_err(|error| errors::sort(error, "read", key))
            })
            .await
    }

    async fn creates_conditionally(&self, key: &str) -> BackendResult<Found> {
        let only_new = Attributes {
            only_new: true,
            ..Attributes::default()
        };
        let other = b"other bytes under the same name";
        match self.write_probe(key, other, only_new).await {
            Ok(_) | Err(BackendError::Rejected { .. }) => Ok(Found::No),
            Err(BackendError::AlreadyExists { .. }) => Ok(Found::Yes),
            Err(BackendError::PermissionDenied { .. }) => Ok(Found::Unknown),
            Err(error) => Err(error),
        }
    }

    /// A refusal of a wrong hash looks like a bad connection elsewhere; here it is asked for only once.
    async fn checks_uploads(&self) -> BackendResult<Found> {
        const BYTES: &[u8] = b"these bytes have another hash";
        let key = probe_name()?;
        let wrong = checksum(&[Bytes::from_static(b"another")]);
        let parts = [Bytes::from_static(BYTES)];
        let plain = Attributes::default();
        let found = match self.put_once(&key, &parts, &wrong, &plain).await {
            Ok(_) => Found::No,
            Err(
                Trouble::Passing { answered: true, .. }
                | Trouble::Final(BackendError::Rejected { .. }),
            ) => {
                // It counts only when the same upload with the right hash is taken.
                Found::when(self.write_probe(&key, BYTES, plain).await.is_ok())
            }
            Err(Trouble::Passing { .. }) => return Ok(Found::Unknown),
            Err(Trouble::Final(error)) => return Err(error),
        };
        self.forget_probe(&key).await;
        Ok(found)
    }

    /// A lock counts when the server shows it and then refuses to delete what it locks.
    async fn locks(&self) -> BackendResult<Found> {
        let key = probe_name()?;
        let locked = Attributes {
            lock_mode: Some(ObjectLockMode::Governance),
            lock_until: Some(from_chrono(Utc::now() + LOCK)),
            ..Attributes::default()
        };
        let bytes = b"a probe of reprise that is locked for a minute";
        let written = match self.write_probe(&key, bytes, locked).await {
            Ok(written) => written,
            // "The bucket has no Object Lock", or no right to lock.
            Err(
                BackendError::Rejected { .. }
                | BackendError::NotFound { .. }
                | BackendError::AlreadyExists { .. },
            ) => return Ok(Found::No),
            Err(BackendError::PermissionDenied { .. }) => return Ok(Found::Unknown),
            Err(error) => return Err(error),
        };
        let head = self.head(&key).await?;
        let shown = head.object_lock_retain_until_date().and_then(to_chrono);
        if shown.is_none_or(|until| until <= Utc::now()) {
            self.forget_probe(&key).await;
            return Ok(Found::No);
        }
        let version = written.version_id().map(str::to_owned);
        lock_holds(self.delete_once(&key, version).await)
    }

    async fn forget_probe(&self, key: &str) {
        forgotten(key, self.remove(key).await);
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
        block_on(bucket.keeps_versions(Some("one")))
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
