//! `reprise.json`: the plain, immutable description of a repository, and the trust that follows from it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::ObjectKey;
use crate::crypto::signing::KnownSigner;
use crate::crypto::trust::TrustStore;
use crate::error::{Error, Result};
use crate::id::{ObjectId, RepositoryId};

/// The format this program writes, and the newest it reads.
pub const FORMAT: u64 = 1;

/// The object's key.
pub(crate) const CONFIG_KEY: &str = "reprise.json";

/// Chunk sizes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkSizes {
    /// Minimum, except for the last chunk of a file.
    pub min: u32,
    /// Approximate average.
    pub avg: u32,
    /// Maximum.
    pub max: u32,
}

/// How the repository's contents are cut and packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The chunking algorithm; always `fastcdc-2020` in format 1.
    pub algorithm: String,
    /// A file of at most this many bytes is one chunk.
    pub whole_file_max: u32,
    /// How larger files are cut.
    pub content: ChunkSizes,
    /// How entry, reference and detail streams are cut.
    pub metadata: ChunkSizes,
    /// A segment is closed when it has this many plain bytes.
    pub segment_bytes: u32,
    /// A pack is closed when it has this many stored bytes.
    pub pack_bytes: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            algorithm: "fastcdc-2020".to_owned(),
            whole_file_max: 512 << 10,
            content: ChunkSizes {
                min: 256 << 10,
                avg: 1 << 20,
                max: 4 << 20,
            },
            metadata: ChunkSizes {
                min: 64 << 10,
                avg: 256 << 10,
                max: 1 << 20,
            },
            segment_bytes: 4 << 20,
            pack_bytes: 16 << 20,
        }
    }
}

/// Public keys that contents are encrypted to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientTexts {
    /// The public keys of the recovery identities, which read everything.
    pub data: Vec<String>,
    /// The public keys of hosts' writer identities: with the recovery identities they read the catalog.
    pub writers: Vec<String>,
}

/// `reprise.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The repository's format.
    pub format: u64,
    /// The repository's identifier.
    pub repository: RepositoryId,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// How it is cut and packed.
    pub layout: Layout,
    /// The recipients of its contents.
    pub recipients: RecipientTexts,
    /// The first signers.
    pub signers: Vec<KnownSigner>,
    /// The name of the object under `keys/` that holds the repository's secrets.
    pub keys: ObjectId,
}

#[derive(Deserialize)]
struct FormatVersion {
    format: u64,
}

/// The key of the object that describes a repository.
pub(crate) fn config_key() -> ObjectKey {
    ObjectKey::from_trusted(CONFIG_KEY.to_owned())
}

impl Config {
    /// Reads `reprise.json`.
    ///
    /// # Errors
    /// [`Error::UnsupportedFormat`] for a newer format, [`Error::Damaged`] for anything unreadable or absurd.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged = |reason: String| Error::Damaged {
            object: CONFIG_KEY.to_owned(),
            reason,
        };
        let FormatVersion { format } =
            serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if format > FORMAT {
            return Err(Error::UnsupportedFormat {
                object: CONFIG_KEY.to_owned(),
                found: format,
                known: FORMAT,
            });
        }
        let config: Self = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        config.validate_fields().map_err(damaged)?;
        Ok(config)
    }

    fn validate_fields(&self) -> Result<(), String> {
        let Layout {
            algorithm,
            whole_file_max,
            content,
            metadata,
            segment_bytes,
            pack_bytes,
        } = &self.layout;
        if self.format != FORMAT {
            return Err(format!("format {} does not exist", self.format));
        }
        if algorithm != "fastcdc-2020" {
            return Err(format!(
                "chunking algorithm `{algorithm}` is not part of format 1"
            ));
        }
        for sizes in [content, metadata] {
            let even = [sizes.min, sizes.avg, sizes.max]
                .iter()
                .all(|size| size % 2 == 0);
            let ordered = 1024 <= sizes.min && sizes.min < sizes.avg && sizes.avg < sizes.max;
            if !(even
                && ordered
                && sizes.max <= 16 << 20
                && sizes.avg <= 4 << 20
                && sizes.min <= 1 << 20)
            {
                return Err("its chunk sizes are outside the allowed range".to_owned());
            }
        }
        let segment_good = (64 << 10..=64 << 20).contains(segment_bytes);
        let pack_good = (1 << 20..=1 << 30).contains(pack_bytes) && *whole_file_max <= content.max;
        if !segment_good || !pack_good {
            return Err("its segment or pack sizes are outside the allowed range".to_owned());
        }
        if self.recipients.data.is_empty() || self.signers.is_empty() {
            return Err("it lists no recovery recipient or no signer".to_owned());
        }
        Ok(())
    }

    /// The largest plain size a segment can have, in bytes: it closes after the chunk that filled it.
    #[must_use]
    pub fn segment_plain_max(&self) -> usize {
        let chunk = self
            .layout
            .content
            .max
            .max(self.layout.metadata.max)
            .max(self.layout.whole_file_max);
        (self.layout.segment_bytes + chunk) as usize
    }

    /// The text that is stored.
    ///
    /// # Errors
    /// Never in practice: every field can be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Internal(format!("cannot serialize {CONFIG_KEY}: {error}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The initial trust store: records under `keys/` change it.
    #[must_use]
    pub fn initial_trust(&self) -> TrustStore {
        TrustStore::new(self.repository.clone(), self.signers.clone())
    }
}
