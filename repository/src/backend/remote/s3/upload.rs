//! Storing an object: whole or in parts, with our own hash on every upload, checked afterwards.

use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ObjectLockMode, StorageClass,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::Utc;
use sha2::{Digest, Sha256};

use super::{S3Backend, S3Time, errors, from_chrono, lock_mode, split};
use crate::backend::remote;
use crate::backend::remote::http::Parts;
use crate::backend::remote::reading::{self, Requests as _};
use crate::backend::remote::weather::Trouble;
use crate::backend::{BackendError, BackendResult, Stored};

/// Larger objects are stored in parts, so that a broken connection costs one part and not the whole.
const WHOLE_BYTES_MAX: u64 = 32 << 20;

/// The size of a part: at least 5 MiB are required, and each part is a request that costs.
const PART_BYTES: usize = 16 << 20;

fn sha256(parts: &[Bytes]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A hash of parts that are stored as one, as the server wants it.
pub(super) fn checksum(parts: &[Bytes]) -> String {
    STANDARD.encode(sha256(parts))
}

fn body(parts: &[Bytes]) -> ByteStream {
    ByteStream::new(SdkBody::from_body_1_x(Parts::new(parts)))
}

/// What is asked for with a new object, beside its bytes.
#[derive(Default)]
pub(super) struct Attributes {
    /// An object that exists already is left as it is.
    pub(super) only_new: bool,
    pub(super) lock_mode: Option<ObjectLockMode>,
    pub(super) lock_until: Option<S3Time>,
    pub(super) class: Option<StorageClass>,
}

/// How an object in parts is known to the server.
struct Upload {
    id: String,
    parts: Vec<CompletedPart>,
    /// The hash of the parts' hashes.
    checksum: String,
}

impl S3Backend {
    fn attributes(&self, key: &str) -> Attributes {
        let immutable = self.options.immutable;
        let class = self.options.storage_class.as_deref();
        Attributes {
            only_new: true,
            lock_mode: immutable.map(|immutable| lock_mode(immutable.mode)),
            lock_until: immutable.map(|immutable| from_chrono(immutable.until(Utc::now()))),
            class: class
                .filter(|_| key.starts_with("packs/"))
                .map(StorageClass::from),
        }
    }

    /// Stores an object. A refusal because it exists is a success when it has the same bytes.
    pub(super) async fn upload(&self, key: &str, parts: &[Bytes]) -> BackendResult<Stored> {
        let stored = if split::total(parts) > WHOLE_BYTES_MAX {
            self.upload_in_parts(key, parts).await
        } else {
            self.upload_whole(key, parts).await
        };
        match stored {
            Ok(checksum) => self.confirm(key, split::total(parts), &checksum).await,
            Err(BackendError::AlreadyExists { .. }) if reading::holds(self, key, parts).await? => {
                Ok(Stored::Unchecked)
            }
            Err(error) => Err(error),
        }
    }

    async fn upload_whole(&self, key: &str, parts: &[Bytes]) -> BackendResult<String> {
        let (checksum, attributes) = (checksum(parts), self.attributes(key));
        self.weather
            .call("write", key, || {
                self.put_once(key, parts, &checksum, &attributes)
            })
            .await?;
        Ok(checksum)
    }

    /// One attempt to store an object whole.
    pub(super) async fn put_once(
        &self,
        key: &str,
        parts: &[Bytes],
        checksum: &str,
        attributes: &Attributes,
    ) -> Result<PutObjectOutput, Trouble> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .set_if_none_match(attributes.only_new.then(|| "*".to_owned()))
            // Uploads that lock are refused without it.
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(checksum)
            .set_object_lock_mode(attributes.lock_mode.clone())
            .set_object_lock_retain_until_date(attributes.lock_until)
            .set_storage_class(attributes.class.clone())
            .content_length(i64::try_from(split::total(parts)).unwrap_or(i64::MAX))
            .body(body(parts))
            .send()
            .await
            .map_err(|error| errors::sort(error, "write", key))
    }

    async fn upload_in_parts(&self, key: &str, parts: &[Bytes]) -> BackendResult<String> {
        let attributes = self.attributes(key);
        let id = self
            .weather
            .call("write", key, || self.begin_parts(key, &attributes))
            .await?;
        let result = self.send_parts(key, id.clone(), parts).await;
        let done = match result {
            Ok(upload) => self.complete(key, &upload).await.map(|()| upload.checksum),
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.abort(key, &id).await;
        }
        done
    }

    /// Begins an upload in parts, and returns its name.
    async fn begin_parts(&self, key: &str, attributes: &Attributes) -> Result<String, Trouble> {
        self.client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full(key))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_object_lock_mode(attributes.lock_mode.clone())
            .set_object_lock_retain_until_date(attributes.lock_until)
            .set_storage_class(attributes.class.clone())
            .send()
            .await
            .map_err(|error| errors::sort(error, "write", key))?
            .upload_id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| remote::garbled("the response has no upload ID"))
    }

    async fn send_parts(&self, key: &str, id: String, parts: &[Bytes]) -> BackendResult<Upload> {
        let (mut completed, mut hashes) = (Vec::new(), Vec::new());
        for (number, piece) in (1..).zip(split::split(parts, PART_BYTES)) {
            let hash = sha256(&piece);
            let checksum = STANDARD.encode(hash);
            let output = self
                .weather
                .call("write a part of", key, || async {
                    self.client
                        .upload_part()
                        .bucket(&self.bucket)
                        .key(self.full(key))
                        .upload_id(&id)
                        .part_number(number)
                        .checksum_sha256(&checksum)
                        .content_length(i64::try_from(split::total(&piece)).unwrap_or(i64::MAX))
                        .body(body(&piece))
                        .send()
                        .await
                        .map_err(|error| errors::sort(error, "write a part of", key))
                })
                .await?;
            hashes.extend_from_slice(&hash);
            completed.push(
                CompletedPart::builder()
                    .part_number(number)
                    .checksum_sha256(checksum)
                    .set_e_tag(output.e_tag().map(str::to_owned))
                    .build(),
            );
        }
        let count = completed.len();
        let checksum = format!("{}-{count}", STANDARD.encode(Sha256::digest(&hashes)));
        Ok(Upload {
            id,
            parts: completed,
            checksum,
        })
    }

    async fn complete(&self, key: &str, upload: &Upload) -> BackendResult<()> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(upload.parts.clone()))
            .build();
        let result = self
            .weather
            .call("write", key, || {
                self.complete_once(key, &upload.id, parts.clone())
            })
            .await;
        match result {
            Ok(_) => Ok(()),
            // An acknowledgement that was lost: the upload is gone because it is done.
            Err(BackendError::NotFound { .. } | BackendError::Rejected { .. })
                if self.size_of(key).await.is_ok() =>
            {
                Err(BackendError::AlreadyExists {
                    key: key.to_owned(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// An answer that cannot be understood leaves open what was done, so the server is asked what it has.
    async fn complete_once(
        &self,
        key: &str,
        id: &str,
        parts: CompletedMultipartUpload,
    ) -> Result<(), Trouble> {
        let result = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full(key))
            .upload_id(id)
            .if_none_match("*")
            .multipart_upload(parts)
            .send()
            .await;
        let attempt_error = match result {
            Ok(_) => return Ok(()),
            Err(error) => errors::sort(error, "write", key),
        };
        if matches!(attempt_error, Trouble::Passing { answered: true, .. }) {
            let head = self.client.head_object().bucket(&self.bucket);
            if head.key(self.full(key)).send().await.is_ok() {
                return Err(Trouble::Final(BackendError::AlreadyExists {
                    key: key.to_owned(),
                }));
            }
        }
        Err(attempt_error)
    }

    /// Parts of an upload that is not completed cost money and are seen by nobody.
    async fn abort(&self, key: &str, id: &str) {
        let aborted = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full(key))
            .upload_id(id)
            .send()
            .await;
        if let Err(error) = aborted {
            tracing::debug!(key, %error, "cannot abort an incomplete multipart upload");
        }
    }

    /// Asks the server what it has now, unless its word would not do: then the object is read back.
    async fn confirm(&self, key: &str, size: u64, checksum: &str) -> BackendResult<Stored> {
        if !self.options.checks_uploads() {
            return Ok(Stored::Unchecked);
        }
        let head = self.head(key).await?;
        let same_size = head.content_length().and_then(|l| u64::try_from(l).ok()) == Some(size);
        let same_hash = head.checksum_sha256() == Some(checksum);
        Ok(if same_size && same_hash {
            Stored::Checked
        } else {
            Stored::Unchecked
        })
    }
}
