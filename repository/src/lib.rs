//! Stores and fetches snapshots: chunk, segment, pack, index, encrypt, sign, verify.
//!
//! The stored format is described in `docs/format.md`. This crate knows nothing of what a source is: it
//! takes entries with contents in order and gives them back.

pub mod backend;
mod chunker;
mod config;
mod copy;
mod crypt;
mod entry;
mod envelope;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod host;
mod id;
mod index;
mod locks;
mod logs;
mod logs_verify;
mod pack;
mod parallel;
mod progress;
mod reader;
mod repository;
mod roots;
mod secrets;
mod segment;
mod sign;
mod snapshot;
mod stored;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod trailer;
mod verify;
mod writer;

pub use chunker::{Chunker, ChunkerSeed};
pub use config::{ChunkSizes, Config, FORMAT, Layout, RecipientTexts};
pub use copy::CopyReport;
pub use crypt::{Class, GeneratedIdentity, Identities, Recipients, generate_identity};
pub use entry::{Entry, EntryKind, FileTime, Xattr, path_order};
pub use error::{Error, ErrorClass, ObjectFailure, Result};
pub use host::{HostFolder, HostKeys, write_new_secret};
pub use id::{ChunkId, ObjectId, ParseIdError, RepositoryId};
pub use index::{Location as ChunkLocation, SegmentLocation};
pub use locks::LockReport;
pub use logs::{LogKey, LogRecord, NewLog, SealedLog};
pub use progress::Progress;
pub use reader::{ContentReader, ContentStream, EntryReader, SegmentKey, SnapshotReader};
pub use repository::{InitOptions, OpenOptions, Repository, UnreadableRoot, backend_at, exists};
pub use secrets::Secrets;
pub use sign::{KnownSigner, Role, SignerId};
pub use snapshot::{
    Added, Counts, Details, Outcome, Snapshot, SnapshotRoot, SourceKind, StreamRecord, Warning,
};
pub use text::RawText;
pub use verify::{Depth, Finding, Report, Share, VerifyOptions};
pub use writer::{
    Committed, EntryObserver, Item, KnownChunks, Loaded, OpenStream, SnapshotOptions,
    SnapshotWriter, Stamp, StreamId, StreamSender, Summary,
};
