//! The repository's own secrets under `keys/`: they make chunk IDs and cut points unpredictable.

use serde::{Deserialize, Serialize};

use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::chunker::ChunkerSeed;
use crate::id::ChunkId;

/// The chunk-ID key and the chunker seed.
#[derive(Clone)]
pub struct Secrets {
    chunk_id_key: [u8; 32],
    catalog_chunk_id_key: [u8; 32],
    chunker_seed: u64,
}

/// The context from which the catalog's chunk-ID key is derived.
const CATALOG_CONTEXT: &str = "reprise format 1 catalog chunk ids";

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

#[derive(Serialize, Deserialize)]
struct SecretsRecord {
    chunk_id_key: String,
    chunker_seed: String,
}

impl Secrets {
    /// Fresh random secrets.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self> {
        let no_randomness = |e: getrandom::Error| {
            Error::Internal(format!(
                "cannot get random bytes from the operating system: {e}"
            ))
        };
        let (mut chunk_id_key, mut seed) = ([0; 32], [0; 8]);
        getrandom::fill(&mut chunk_id_key).map_err(no_randomness)?;
        getrandom::fill(&mut seed).map_err(no_randomness)?;
        Ok(Self::new(chunk_id_key, u64::from_be_bytes(seed)))
    }

    fn new(chunk_id_key: [u8; 32], chunker_seed: u64) -> Self {
        let catalog_chunk_id_key = blake3::derive_key(CATALOG_CONTEXT, &chunk_id_key);
        Self {
            chunk_id_key,
            catalog_chunk_id_key,
            chunker_seed,
        }
    }

    /// Serializes them as JSON, to be encrypted to the catalog recipients.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let record = SecretsRecord {
            chunk_id_key: hex::encode(self.chunk_id_key),
            chunker_seed: format!("{:016x}", self.chunker_seed),
        };
        serde_json::to_vec(&record)
            .map_err(|e| Error::Internal(format!("cannot serialize the repository secrets: {e}")))
    }

    /// Parses the decrypted JSON.
    ///
    /// # Errors
    /// A sentence when it cannot be parsed.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let record: SecretsRecord = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let mut chunk_id_key = [0; 32];
        hex::decode_to_slice(&record.chunk_id_key, &mut chunk_id_key).map_err(|e| e.to_string())?;
        let chunker_seed =
            u64::from_str_radix(&record.chunker_seed, 16).map_err(|e| e.to_string())?;
        Ok(Self::new(chunk_id_key, chunker_seed))
    }

    /// The ID of a chunk with these plain bytes. Each class has its own key, so that a chunk which
    /// the catalog must read is never taken for one that only the recovery identities can.
    #[must_use]
    pub fn chunk_id(&self, class: RecipientClass, plain: &[u8]) -> ChunkId {
        let key = match class {
            RecipientClass::Data => &self.chunk_id_key,
            RecipientClass::Catalog => &self.catalog_chunk_id_key,
        };
        ChunkId::from_bytes(*blake3::keyed_hash(key, plain).as_bytes())
    }

    /// Starts the keyed hash of a longer text that is not stored as one chunk.
    #[must_use]
    pub fn keyed_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.chunk_id_key)
    }

    /// The seed of the chunker.
    #[must_use]
    pub fn chunker_seed(&self) -> ChunkerSeed {
        ChunkerSeed(self.chunker_seed)
    }
}
