//! Stores and fetches snapshots: chunk, segment, pack, index, encrypt, sign, verify.
//!
//! The stored format is described in `docs/format.md`. This crate knows nothing of what a source is: it
//! takes entries with contents in order and gives them back.

pub mod backend;
mod chunker;
mod clock;
mod config;
mod copy;
mod crypt;
mod descriptions;
mod entry;
mod envelope;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod handover;
mod host;
mod id;
mod index;
mod keyring;
mod keys;
mod leases;
mod locks;
mod log_cache;
mod log_line;
mod logs;
mod logs_verify;
mod names;
mod pack;
mod parallel;
mod progress;
mod prune;
mod quarantine;
mod reader;
mod records;
mod reencrypt;
mod repair;
mod replaced;
mod repository;
mod revocation;
mod roots;
mod secrets;
mod segment;
mod sign;
mod snapshot;
mod stored;
mod sweeps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod tombstones;
mod trailer;
mod trust;
mod verify;
mod writer;

/// What wrote an object, with its version.
pub(crate) const PROGRAM: &str = concat!("reprise ", env!("CARGO_PKG_VERSION"));

pub use chunker::{Chunker, ChunkerSeed};
pub use clock::{Clock, SystemClock};
pub use config::{ChunkSizes, Config, FORMAT, Layout, RecipientTexts};
pub use copy::CopyReport;
pub use crypt::{
    Class, GeneratedIdentity, Identities, Recipients, canonical_recipient, generate_identity,
    has_recipient, mask_secret,
};
pub use entry::{Entry, EntryKind, FileTime, Xattr, path_order};
pub use error::{Error, ErrorClass, ObjectFailure, Result, chain};
pub use host::{HostFolder, HostKeys, KeeperKeys, holds_identity, write_new_secret};
pub use id::{ChunkId, ObjectId, ParseIdError, RepositoryId};
pub use index::{Location as ChunkLocation, SegmentLocation};
pub use keyring::{AddedKeys, AppliedKeyRecord, KeyRecord, Keyring, RevokedKeys, RevokedSigner};
pub use keys::{ChangedKeys, KeyChange};
pub use leases::LivingRun;
pub use locks::LockReport;
pub use log_line::{Link, ReadPiece, line};
pub use logs::{KnownLog, LogKey, LogRecord, NewLog, SealedLog};
pub use progress::Progress;
pub use prune::{PruneOptions, PrunePlan, PruneReport, Waiting};
pub use quarantine::{HurtSnapshot, Quarantine, QuarantineRecord, Quarantined};
pub use reader::{ContentReader, ContentStream, EntryReader, SegmentKey, SnapshotReader};
pub use reencrypt::{ReencryptOptions, ReencryptPlan, ReencryptReport};
pub use repair::{RepairOptions, RepairReport, Repaired};
pub use repository::{InitOptions, OpenOptions, Repository, UnreadableRoot, backend_at, exists};
pub use secrets::Secrets;
pub use sign::{HostSigner, KnownSigner, Role, SignerId};
pub use snapshot::{
    Added, Counts, Details, Outcome, Snapshot, SnapshotRoot, SourceKind, StreamRecord, Warning,
};
pub use text::RawText;
pub use tombstones::{
    ForgottenLog, Keeper, PolicyVersion, RefusedTombstone, Tombstone, TombstoneRecord, Tombstones,
    Why,
};
pub use trust::Trust;
pub use verify::{Depth, Finding, Report, Share, VerifyOptions};
pub use writer::{
    Committed, EntryObserver, Item, KnownChunks, Loaded, OpenStream, SnapshotOptions,
    SnapshotWriter, Stamp, StreamId, StreamSender, Summary,
};
