//! What a source delivers: entries in order, small files to be read, parts of large ones.

use crate::format::entry::{Entry, FileTime};
use crate::format::snapshot::{Remark, Warning};
use crate::id::ChunkId;

/// What is known of a file without reading it. Equal stamps mean an unchanged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// The file's inode. The device number is not used: it may change with every boot.
    pub inode: u64,
    /// Bytes, holes included.
    pub size: u64,
    /// When its content changed.
    pub mtime: FileTime,
    /// When its content or its attributes last changed.
    pub ctime: FileTime,
}

/// The result of reading a small file.
#[derive(Debug)]
pub struct LoadedFile {
    /// The entry, complete but for its chunks; `None` when there is nothing to keep.
    pub entry: Option<Entry>,
    /// Its stamp, if a later snapshot may rely on it.
    pub stamp: Option<FileStamp>,
    /// What is to be said of it.
    pub remarks: Vec<Remark>,
}

/// Reads a small file to the end of the buffer it is given.
pub(crate) type FileLoader = Box<dyn FnOnce(&mut Vec<u8>) -> LoadedFile + Send>;

/// Something that a source delivers. Entries must come in [`path_order`](crate::path_order).
pub enum SnapshotItem {
    /// An entry with no content, or whose chunks are all in the repository.
    Entry {
        /// The entry.
        entry: Entry,
        /// IDs of its content.
        chunks: Vec<ChunkId>,
        /// Its stamp, if a later snapshot may rely on it.
        stamp: Option<FileStamp>,
    },
    /// A file small enough to be one chunk, to be read by a worker.
    SmallFile {
        /// Its likely size in bytes.
        size_hint: u64,
        /// Reads it.
        load: FileLoader,
    },
    /// Chunks of a large file; its `Entry` with the rest follows, or `Abandon`.
    FilePart {
        /// The chunks, one after the other.
        bytes: Vec<u8>,
        /// The length of each.
        lengths: Vec<u32>,
    },
    /// A file whose content other threads have delivered as streams, to be joined in this order. All their
    /// parts must have been sent.
    StreamedFile {
        /// The entry.
        entry: Entry,
        /// Each stream can be used once.
        streams: Vec<StreamId>,
    },
    /// The large file whose parts were delivered cannot be kept.
    AbandonedFile {
        /// The reason.
        warning: Warning,
    },
    /// Something was skipped, or is worth saying.
    Remark(Remark),
}

impl std::fmt::Debug for SnapshotItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Entry { .. } => "Entry",
            Self::SmallFile { .. } => "SmallFile",
            Self::FilePart { .. } => "FilePart",
            Self::StreamedFile { .. } => "StreamedFile",
            Self::AbandonedFile { .. } => "AbandonedFile",
            Self::Remark(_) => "Remark",
        })
    }
}

/// Sees every entry of a snapshot in order, for instance to remember it for the next one.
pub trait EntryObserver: Send {
    /// An entry with its chunks. An entry without a stamp cannot be relied on later.
    fn observe_entry(&mut self, entry: &Entry, chunks: &[ChunkId], stamp: Option<&FileStamp>);

    /// The snapshot is committed; without this call it never happened.
    fn on_committed(self: Box<Self>);
}

/// A stream of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);
