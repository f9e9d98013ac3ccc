//! Stores an object: whole or in parts, with our own hash on every upload, verified afterwards.

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
use crate::backend::remote::attempt::{AttemptError, corrupt_response};
use crate::backend::remote::http::PartsBody;
use crate::backend::remote::object_read::{self, ObjectRequests as _};
use crate::backend::{BackendError, BackendResult, CapabilitySupport, WriteVerification};

/// Larger objects are stored in parts, so that a broken connection costs one part and not the whole.
const WHOLE_BYTES_MAX: u64 = 32 << 20;

/// The size of a part: S3 requires at least 5 MiB, and each part is a request that costs.
const PART_BYTES: usize = 16 << 20;

fn sha256(parts: &[Bytes]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The SHA-256 of parts taken as one, in the server's form.
pub(super) fn sha256_base64(parts: &[Bytes]) -> String {
    STANDARD.encode(sha256(parts))
}

fn body_stream(parts: &[Bytes]) -> ByteStream {
    ByteStream::new(SdkBody::from_body_1_x(PartsBody::new(parts)))
}

/// The options of a new object, beside its bytes.
#[derive(Default)]
pub(super) struct PutAttributes {
    /// An existing object is left as it is.
    pub(super) only_new: bool,
    pub(super) lock_mode: Option<ObjectLockMode>,
    pub(super) lock_until: Option<S3Time>,
    pub(super) storage_class: Option<StorageClass>,
}

/// How the server identifies a multipart upload.
struct MultipartUpload {
    id: String,
    parts: Vec<CompletedPart>,
    /// The hash of the parts' hashes.
    checksum: String,
}

impl S3Backend {
    /// Some servers refuse what they do not know: where a probe found that the condition is not kept, it is not sent.
    fn can_create_conditionally(&self) -> bool {
        let support = self
            .options
            .capability_support(|probed| probed.conditional_create);
        support != CapabilitySupport::No
    }

    fn put_attributes(&self, key: &str) -> PutAttributes {
        let immutable = self.options.immutability;
        let class = self.options.storage_class.as_deref();
        PutAttributes {
            only_new: self.can_create_conditionally(),
            lock_mode: immutable.map(|immutable| lock_mode(immutable.mode)),
            lock_until: immutable.map(|immutable| from_chrono(immutable.lock_expiry(Utc::now()))),
            storage_class: class
                .filter(|_| key.starts_with("packs/"))
                .map(StorageClass::from),
        }
    }

    /// Stores an object. A rejection because it exists is a success if it has the same bytes.
    pub(super) async fn upload_object(
        &self,
        key: &str,
        parts: &[Bytes],
    ) -> BackendResult<WriteVerification> {
        let stored = if split::total_bytes(parts) > WHOLE_BYTES_MAX {
            self.upload_in_parts(key, parts).await
        } else {
            self.upload_whole(key, parts).await
        };
        match stored {
            Ok(checksum) => {
                self.verify_upload(key, split::total_bytes(parts), &checksum)
                    .await
            }
            Err(BackendError::AlreadyExists { .. })
                if object_read::has_content(self, key, parts).await? =>
            {
                Ok(WriteVerification::Unverified)
            }
            Err(error) => Err(error),
        }
    }

    async fn upload_whole(&self, key: &str, parts: &[Bytes]) -> BackendResult<String> {
        let (checksum, attributes) = (sha256_base64(parts), self.put_attributes(key));
        self.retrier
            .run_with_retries("write", key, || {
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
        attributes: &PutAttributes,
    ) -> Result<PutObjectOutput, AttemptError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .set_if_none_match(attributes.only_new.then(|| "*".to_owned()))
            // Uploads that lock are rejected without it.
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(checksum)
            .set_object_lock_mode(attributes.lock_mode.clone())
            .set_object_lock_retain_until_date(attributes.lock_until)
            .set_storage_class(attributes.storage_class.clone())
            .content_length(i64::try_from(split::total_bytes(parts)).unwrap_or(i64::MAX))
            .body(body_stream(parts))
            .send()
            .await
            .map_err(|error| errors::classify_error(error, "write", key))
    }

    async fn upload_in_parts(&self, key: &str, parts: &[Bytes]) -> BackendResult<String> {
        let attributes = self.put_attributes(key);
        let id = self
            .retrier
            .run_with_retries("write", key, || self.begin_multipart(key, &attributes))
            .await?;
        let result = self.upload_parts(key, id.clone(), parts).await;
        let done = match result {
            Ok(upload) => self
                .complete_multipart(key, &upload)
                .await
                .map(|()| upload.checksum),
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.abort_multipart(key, &id).await;
        }
        done
    }

    /// Begins a multipart upload, and returns its ID.
    async fn begin_multipart(
        &self,
        key: &str,
        attributes: &PutAttributes,
    ) -> Result<String, AttemptError> {
        self.client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_object_lock_mode(attributes.lock_mode.clone())
            .set_object_lock_retain_until_date(attributes.lock_until)
            .set_storage_class(attributes.storage_class.clone())
            .send()
            .await
            .map_err(|error| errors::classify_error(error, "write", key))?
            .upload_id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| corrupt_response("the response has no upload ID"))
    }

    async fn upload_parts(
        &self,
        key: &str,
        id: String,
        parts: &[Bytes],
    ) -> BackendResult<MultipartUpload> {
        let (mut completed, mut hashes) = (Vec::new(), Vec::new());
        for (number, piece) in (1..).zip(split::split_into_pieces(parts, PART_BYTES)) {
            let hash = sha256(&piece);
            let checksum = STANDARD.encode(hash);
            let output = self
                .retrier
                .run_with_retries("write a part of", key, || async {
                    self.client
                        .upload_part()
                        .bucket(&self.bucket)
                        .key(self.full_key(key))
                        .upload_id(&id)
                        .part_number(number)
                        .checksum_sha256(&checksum)
                        .content_length(
                            i64::try_from(split::total_bytes(&piece)).unwrap_or(i64::MAX),
                        )
                        .body(body_stream(&piece))
                        .send()
                        .await
                        .map_err(|error| errors::classify_error(error, "write a part of", key))
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
        Ok(MultipartUpload {
            id,
            parts: completed,
            checksum,
        })
    }

    async fn complete_multipart(&self, key: &str, upload: &MultipartUpload) -> BackendResult<()> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(upload.parts.clone()))
            .build();
        let result = self
            .retrier
            .run_with_retries("write", key, || {
                self.complete_multipart_once(key, &upload.id, parts.clone())
            })
            .await;
        match result {
            Ok(_) => Ok(()),
            // A lost acknowledgement: the upload does not exist because it is complete.
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

    /// A response that cannot be parsed leaves the outcome open, so the server is asked what it has.
    async fn complete_multipart_once(
        &self,
        key: &str,
        id: &str,
        parts: CompletedMultipartUpload,
    ) -> Result<(), AttemptError> {
        let result = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .upload_id(id)
            .set_if_none_match(self.can_create_conditionally().then(|| "*".to_owned()))
            .multipart_upload(parts)
            .send()
            .await;
        let attempt_error = match result {
            Ok(_) => return Ok(()),
            Err(error) => errors::classify_error(error, "write", key),
        };
        if matches!(
            attempt_error,
            AttemptError::Transient { answered: true, .. }
        ) {
            let head = self.client.head_object().bucket(&self.bucket);
            if head.key(self.full_key(key)).send().await.is_ok() {
                return Err(AttemptError::Permanent(BackendError::AlreadyExists {
                    key: key.to_owned(),
                }));
            }
        }
        Err(attempt_error)
    }

    /// Parts of an incomplete upload cost money and are visible to nobody.
    async fn abort_multipart(&self, key: &str, id: &str) {
        let aborted = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full_key(key))
            .upload_id(id)
            .send()
            .await;
        if let Err(error) = aborted {
            tracing::debug!(key, %error, "cannot abort an incomplete multipart upload");
        }
    }

    /// Asks the server what it has now, unless its report is not enough: then the object is read back.
    async fn verify_upload(
        &self,
        key: &str,
        size: u64,
        checksum: &str,
    ) -> BackendResult<WriteVerification> {
        if !self.options.checks_uploads() {
            return Ok(WriteVerification::Unverified);
        }
        let head = match self.head_object(key).await {
            // It was just stored: whoever reads it back waits for it.
            Err(BackendError::NotFound { .. }) => return Ok(WriteVerification::Unverified),
            head => head?,
        };
        let same_size = head.content_length().and_then(|l| u64::try_from(l).ok()) == Some(size);
        let same_hash = head.checksum_sha256() == Some(checksum);
        Ok(if same_size && same_hash {
            WriteVerification::Verified
        } else {
            WriteVerification::Unverified
        })
    }
}
