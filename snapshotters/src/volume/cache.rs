//! The file stamps of the last snapshot, cached locally in entry order. Losing it costs a re-read.
//!
//! Layout (local, may change at any time): a magic, the key's length and the key, records, a BLAKE3 hash of
//! all before it. Numbers are little-endian.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use reprise_repository::{ChunkId, Entry, EntryObserver, FileStamp, FileTime, Xattr, path_order};

const MAGIC: &[u8; 8] = b"rpfiles4";
const HASH_BYTES: u64 = 32;

/// Maximum length of a path or an attribute list, in bytes.
const FIELD_BYTES_MAX: usize = 64 << 20;

/// A file at the last snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CachedFile {
    pub(super) stamp: FileStamp,
    pub(super) chunks: Vec<ChunkId>,
    pub(super) extents: Option<Vec<(u64, u64)>>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) flags: Vec<String>,
}

/// Writes the next cache during a snapshot; it replaces the last one when the snapshot is committed.
#[derive(Debug)]
pub(super) struct CacheWriter {
    out: Option<BufWriter<File>>,
    hasher: blake3::Hasher,
    unfinished: PathBuf,
    path: PathBuf,
    record: Vec<u8>,
}

impl CacheWriter {
    /// `None` when the cache cannot be written, which only costs time at the next snapshot.
    pub(super) fn create(path: &Path, key: &str) -> Option<Self> {
        let created = || -> std::io::Result<Self> {
            let directory = path.parent().unwrap_or(Path::new("."));
            create_private_dir(directory)?;
            let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
            let file = BufWriter::with_capacity(1 << 17, open_private(&unfinished)?);
            let mut writer = Self {
                out: Some(file),
                hasher: blake3::Hasher::new(),
                unfinished,
                path: path.to_owned(),
                record: Vec::new(),
            };
            writer.record.extend_from_slice(MAGIC);
            put_bytes(&mut writer.record, key.as_bytes());
            writer.flush_record()?;
            Ok(writer)
        };
        created()
            .inspect_err(|error| log_write_error(path, error))
            .ok()
    }

    fn flush_record(&mut self) -> std::io::Result<()> {
        if let Some(out) = &mut self.out {
            self.hasher.update(&self.record);
            out.write_all(&self.record)?;
        }
        self.record.clear();
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        let Some(mut out) = self.out.take() else {
            return Ok(());
        };
        out.write_all(self.hasher.finalize().as_bytes())?;
        out.flush()?;
        fs::rename(&self.unfinished, &self.path)
    }

    fn disable(&mut self, error: &std::io::Error) {
        log_write_error(&self.path, error);
        self.out = None;
    }
}

impl EntryObserver for CacheWriter {
    fn observe_entry(&mut self, entry: &Entry, chunks: &[ChunkId], stamp: Option<&FileStamp>) {
        let Some(stamp) = stamp.filter(|_| self.out.is_some()) else {
            return;
        };
        encode_record(&mut self.record, entry, chunks, stamp);
        if let Err(error) = self.flush_record() {
            self.disable(&error);
        }
    }

    fn on_committed(mut self: Box<Self>) {
        if let Err(error) = self.finish() {
            self.disable(&error);
        }
    }
}

impl Drop for CacheWriter {
    fn drop(&mut self) {
        // After `committed` no file has this name any more.
        if let Err(error) = fs::remove_file(&self.unfinished) {
            tracing::trace!(path = %self.unfinished.display(), %error, "no unfinished cache to remove");
        }
    }
}

fn log_write_error(path: &Path, error: &std::io::Error) {
    tracing::debug!(path = %path.display(), %error, "the file cache cannot be written");
}

fn create_private_dir(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

fn open_private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn put_bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    record.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    record.extend_from_slice(bytes);
}

fn encode_record(record: &mut Vec<u8>, entry: &Entry, chunks: &[ChunkId], stamp: &FileStamp) {
    put_bytes(record, entry.path.as_bytes());
    record.extend_from_slice(&stamp.inode.to_le_bytes());
    record.extend_from_slice(&stamp.size.to_le_bytes());
    for time in [stamp.mtime, stamp.ctime] {
        record.extend_from_slice(&time.0.to_le_bytes());
        record.extend_from_slice(&time.1.to_le_bytes());
    }
    let plain = entry.extents.is_none() && entry.xattrs.is_empty() && entry.flags.is_empty();
    let rest = if plain {
        Vec::new()
    } else {
        // All are plain data; writing them cannot fail, and an empty text means "none" on reading.
        serde_json::to_vec(&(&entry.extents, &entry.xattrs, &entry.flags)).unwrap_or_default()
    };
    put_bytes(record, &rest);
    record.extend_from_slice(&(chunks.len() as u64).to_le_bytes());
    for chunk in chunks {
        record.extend_from_slice(chunk.as_bytes());
    }
}

/// Reads a cache in parallel with a walk.
#[derive(Debug)]
pub(super) struct CacheReader {
    input: BufReader<std::io::Take<File>>,
    current: Option<(Vec<u8>, CachedFile)>,
}

impl CacheReader {
    /// Opens a cache that was completely written for the same key; anything else is ignored.
    pub(super) fn open(path: &Path, key: &str) -> Option<Self> {
        let opened = || -> std::io::Result<Self> {
            let mut file = File::open(path)?;
            let length = checked_length(&mut file)?;
            let mut input = BufReader::with_capacity(1 << 17, file.take(length));
            let mut magic = [0; 8];
            input.read_exact(&mut magic)?;
            if &magic != MAGIC || get_bytes(&mut input)? != key.as_bytes() {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "it is the cache of another source or version",
                ));
            }
            let mut reader = Self {
                input,
                current: None,
            };
            reader.advance()?;
            Ok(reader)
        };
        let opened = opened();
        if let Err(error) = &opened {
            tracing::debug!(path = %path.display(), %error, "cannot use the file cache; all files are read again");
        }
        opened.ok()
    }

    /// The cached file of a path. Paths must be requested in entry order.
    pub(super) fn find_file(&mut self, path: &[u8]) -> Option<CachedFile> {
        loop {
            let (current, _) = self.current.as_ref()?;
            match path_order(current, path) {
                Ordering::Less => {
                    if let Err(error) = self.advance() {
                        tracing::debug!(%error, "the file cache is truncated; the remaining files are read again");
                        self.current = None;
                    }
                }
                Ordering::Equal => {
                    return self
                        .current
                        .take()
                        .map(|(_, remembered)| remembered)
                        .inspect(|_| {
                            if let Err(error) = self.advance() {
                                tracing::debug!(%error, "the file cache is truncated; the remaining files are read again");
                            }
                        });
                }
                Ordering::Greater => return None,
            }
        }
    }

    fn advance(&mut self) -> std::io::Result<()> {
        self.current = None;
        if std::io::BufRead::fill_buf(&mut self.input)?.is_empty() {
            return Ok(());
        }
        self.current = Some(decode_record(&mut self.input)?);
        Ok(())
    }
}

/// The length of a cache file without its hash, which is verified.
fn checked_length(file: &mut File) -> std::io::Result<u64> {
    use std::io::{Error, ErrorKind, Seek};
    let bad = || Error::new(ErrorKind::InvalidData, "the hash does not match");
    let length = file
        .metadata()?
        .len()
        .checked_sub(HASH_BYTES)
        .ok_or_else(bad)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut std::io::Read::by_ref(file).take(length))?;
    let mut stored = [0; 32];
    file.read_exact(&mut stored)?;
    if hasher.finalize() != blake3::Hash::from_bytes(stored) {
        return Err(bad());
    }
    file.rewind()?;
    Ok(length)
}

fn get_array<const N: usize>(input: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn get_length(input: &mut impl Read) -> std::io::Result<usize> {
    let length = usize::try_from(u64::from_le_bytes(get_array(input)?)).unwrap_or(usize::MAX);
    if length <= FIELD_BYTES_MAX {
        Ok(length)
    } else {
        Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "a length is larger than the maximum",
        ))
    }
}

fn get_bytes(input: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; get_length(input)?];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn decode_record(input: &mut impl Read) -> std::io::Result<(Vec<u8>, CachedFile)> {
    let path = get_bytes(input)?;
    let inode = u64::from_le_bytes(get_array(input)?);
    let size = u64::from_le_bytes(get_array(input)?);
    let mut time = || -> std::io::Result<FileTime> {
        Ok(FileTime(
            i64::from_le_bytes(get_array(input)?),
            u32::from_le_bytes(get_array(input)?),
        ))
    };
    let (mtime, ctime) = (time()?, time()?);
    let rest = get_bytes(input)?;
    let (extents, xattrs, flags) = if rest.is_empty() {
        (None, Vec::new(), Vec::new())
    } else {
        serde_json::from_slice(&rest)?
    };
    let count = get_length(input)?;
    let mut chunks = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        chunks.push(ChunkId::from_bytes(get_array(input)?));
    }
    Ok((
        path,
        CachedFile {
            stamp: FileStamp {
                inode,
                size,
                mtime,
                ctime,
            },
            chunks,
            extents,
            xattrs,
            flags,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_repository::{EntryKind, RawText};

    fn entry(path: &str) -> Entry {
        let xattrs = vec![Xattr {
            name: RawText::from("user.a"),
            value: RawText::new(*b"\xff"),
        }];
        Entry {
            xattrs,
            flags: vec!["immutable".to_owned()],
            ..Entry::new(RawText::from(path), EntryKind::File)
        }
    }

    fn stamp(inode: u64) -> FileStamp {
        FileStamp {
            inode,
            size: 3,
            mtime: FileTime(-1, 5),
            ctime: FileTime(9, 7),
        }
    }

    fn write(path: &Path, commit: bool) {
        let mut writer = Box::new(CacheWriter::create(path, "key").unwrap());
        for (n, name) in ["a", "a/b", "c"].iter().enumerate() {
            writer.observe_entry(
                &entry(name),
                &[ChunkId::from_bytes([7; 32])],
                Some(&stamp(n as u64)),
            );
        }
        writer.observe_entry(&entry("d"), &[], None);
        if commit {
            writer.on_committed();
        }
    }

    #[test]
    fn what_is_written_is_remembered_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        write(&path, true);
        let mut reader = CacheReader::open(&path, "key").unwrap();
        assert_eq!(reader.find_file(b""), None);
        assert_eq!(reader.find_file(b"a").unwrap().stamp, stamp(0));
        assert_eq!(reader.find_file(b"b"), None);
        let c = reader.find_file(b"c").unwrap();
        assert_eq!((c.xattrs, c.chunks.len()), (entry("c").xattrs, 1));
        assert_eq!(c.flags, entry("c").flags);
        assert_eq!(reader.find_file(b"d"), None);
    }

    #[test]
    fn an_unfinished_foreign_or_damaged_cache_is_no_cache() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        write(&path, false);
        assert!(CacheReader::open(&path, "key").is_none());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        write(&path, true);
        assert!(CacheReader::open(&path, "other").is_none());
        let good = fs::read(&path).unwrap();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(
                CacheReader::open(&path, "key").is_none(),
                "flip at {position}"
            );
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(CacheReader::open(&path, "key").is_none());
    }
}
