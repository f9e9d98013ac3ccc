//! Files that end with a hash of everything before it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes and hashes in blocks: records are small, and each call costs.
pub(super) struct HashingWriter {
    file: File,
    hasher: blake3::Hasher,
    block: Vec<u8>,
}

pub(super) const WRITE_BLOCK_BYTES: usize = 1 << 17;

impl HashingWriter {
    pub(super) fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: File::create_new(path)?,
            hasher: blake3::Hasher::new(),
            block: Vec::with_capacity(WRITE_BLOCK_BYTES),
        })
    }

    pub(super) fn write_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= WRITE_BLOCK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.hasher.update(&self.block);
        self.file.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> std::io::Result<()> {
        self.flush()?;
        let hash = self.hasher.finalize();
        self.file.write_all(hash.as_bytes())
    }
}

pub(super) fn check_hash(file: &File, length: u64) -> std::io::Result<()> {
    let bad = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the hash does not match");
    let hashed = length.checked_sub(32).ok_or_else(bad)?;
    let mut stored = [0; 32];
    file.read_exact_at(&mut stored, hashed)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; 1 << 20];
    let mut position = 0;
    while position < hashed {
        let part =
            &mut block[..usize::try_from((hashed - position).min(1 << 20)).unwrap_or(1 << 20)];
        file.read_exact_at(part, position)?;
        hasher.update(part);
        position += part.len() as u64;
    }
    if hasher.finalize() == blake3::Hash::from_bytes(stored) {
        Ok(())
    } else {
        Err(bad())
    }
}
