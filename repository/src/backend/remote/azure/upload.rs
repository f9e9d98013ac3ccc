//! Stores an object: in blocks, each with its hash, committed at once.

use azure_core::http::RequestContent;
use azure_storage_blob::models::{
    AccessTier, BlockBlobClientCommitBlockListOptions, BlockBlobClientStageBlockOptions,
    BlockLookupList,
};
use bytes::Bytes;
use chrono::Utc;
use md5::{Digest, Md5};

use super::{AzureBackend, errors, policy_mode, to_azure_time};
use crate::backend::remote::attempt::AttemptError;
use crate::backend::remote::object_name::random_bytes;
use crate::backend::remote::object_read::{self, ObjectRequests as _};
use crate::backend::remote::split;
use crate::backend::{BackendError, BackendResult, WriteVerification};

/// A block is held in memory once more while it is sent, and is resent as a whole if it does not arrive.
const BLOCK_BYTES: usize = 4 << 20;

/// All block names of an object have the same length.
fn block_name(number: usize, salt: [u8; 8]) -> Vec<u8> {
    let mut name = salt.to_vec();
    name.extend_from_slice(&(number as u64).to_be_bytes());
    name
}

impl AzureBackend {
    /// Stores an object. A rejection because it exists is a success if it has the same bytes.
    pub(super) async fn upload_object(
        &self,
        key: &str,
        parts: &[Bytes],
    ) -> BackendResult<WriteVerification> {
        match self.upload_new(key, parts).await {
            Ok(()) => self.verify_upload(key, split::total_bytes(parts)).await,
            Err(BackendError::AlreadyExists { .. })
                if object_read::has_content(self, key, parts).await? =>
            {
                Ok(WriteVerification::Unverified)
            }
            Err(error) => Err(error),
        }
    }

    async fn upload_new(&self, key: &str, parts: &[Bytes]) -> BackendResult<()> {
        // Two writers of one name must not mix their blocks.
        let salt = random_bytes()?;
        let mut names = Vec::new();
        for (number, piece) in split::split_into_pieces(parts, BLOCK_BYTES)
            .into_iter()
            .enumerate()
        {
            let name = block_name(number, salt);
            let hash = md5_of_parts(&piece);
            self.retrier
                .run_with_retries("write a part of", key, || {
                    self.stage_block_once(key, &name, &piece, &hash)
                })
                .await?;
            names.push(name);
        }
        let until = match self.options.immutability {
            Some(immutable) => Some(to_azure_time(immutable.lock_expiry(Utc::now()))?),
            None => None,
        };
        let mode = self.options.immutability.map(|i| policy_mode(i.mode));
        let tier = self.options.storage_class.as_deref();
        let tier = tier.filter(|_| key.starts_with("packs/"));
        self.retrier
            .run_with_retries("write", key, || {
                let options = BlockBlobClientCommitBlockListOptions {
                    if_none_match: Some("*".into()),
                    immutability_policy_expiry: until,
                    immutability_policy_mode: mode,
                    tier: tier.and_then(|tier| tier.parse::<AccessTier>().ok()),
                    ..BlockBlobClientCommitBlockListOptions::default()
                };
                self.commit_blocks_once(key, &names, options)
            })
            .await
            .map(drop)
    }

    pub(super) async fn stage_block_once(
        &self,
        key: &str,
        name: &[u8],
        piece: &[Bytes],
        hash: &[u8],
    ) -> Result<(), AttemptError> {
        let options = BlockBlobClientStageBlockOptions {
            transactional_content_md5: Some(hash.to_vec()),
            ..BlockBlobClientStageBlockOptions::default()
        };
        // The only copy, and only while it is sent.
        let content = piece.concat();
        let length = content.len() as u64;
        self.blob_client(key)
            .block_blob_client()
            .stage_block(name, length, RequestContent::from(content), Some(options))
            .await
            .map(drop)
            .map_err(|error| errors::classify_error(error, "write a part of", key))
    }

    /// Returns the name of the version that was created, if the container keeps versions.
    pub(super) async fn commit_blocks_once(
        &self,
        key: &str,
        names: &[Vec<u8>],
        options: BlockBlobClientCommitBlockListOptions<'_>,
    ) -> Result<Option<String>, AttemptError> {
        let classify = |error| errors::classify_error(error, "write", key);
        let list = BlockLookupList {
            latest: Some(names.to_vec()),
            ..BlockLookupList::default()
        };
        let content = list.try_into().map_err(classify)?;
        let response = self
            .blob_client(key)
            .block_blob_client()
            .commit_block_list(content, Some(options))
            .await
            .map_err(classify)?;
        let version = azure_core::http::headers::HeaderName::from_static("x-ms-version-id");
        Ok(response.headers().get_optional_string(&version))
    }

    /// Every block was compared with its hash when it arrived; the server reports the result. Where the server
    /// compares nothing, its report is not enough, and the object is read back.
    async fn verify_upload(&self, key: &str, size: u64) -> BackendResult<WriteVerification> {
        let checked = self.options.checks_uploads() && self.size_of(key).await? == size;
        Ok(if checked {
            WriteVerification::Verified
        } else {
            WriteVerification::Unverified
        })
    }
}

fn md5_of_parts(piece: &[Bytes]) -> Vec<u8> {
    let mut hasher = Md5::new();
    for part in piece {
        hasher.update(part);
    }
    hasher.finalize().to_vec()
}

pub(super) fn md5(bytes: &[u8]) -> Vec<u8> {
    Md5::digest(bytes).to_vec()
}
