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
mod entry;
mod envelope;
mod error;
mod finding;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod host;
mod id;
mod index;
mod key_wrapping;
mod keyring;
mod keys;
mod leases;
mod locks;
mod log_cache;
mod log_chain;
mod logs;
mod names;
mod pack;
mod pack_descriptions;
mod parallel;
mod program;
mod progress;
mod prune;
mod quarantine;
mod reader;
mod record_cache;
mod records;
mod reencrypt;
mod repair;
mod replaced_packs;
mod repository;
mod revocation;
mod secrets;
mod segment;
mod sign;
mod snapshot;
mod store;
mod sweeps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod tombstones;
mod trailer;
mod trust;
mod verified_io;
mod verify;
mod verify_logs;
mod writer;

pub use chunker::{Chunker, ChunkerSeed};
pub use clock::{Clock, SystemClock};
pub use config::{ChunkSizes, Config, FORMAT, Layout, RecipientTexts};
pub use copy::CopyReport;
pub use crypt::{
    GeneratedIdentity, Identities, RecipientClass, Recipients, canonical_recipient,
    generate_identity, has_recipient, mask_secret,
};
pub use entry::{Entry, EntryKind, FileTime, Xattr, path_order};
pub use error::{Error, ErrorClass, ObjectFailure, Result, format_error_chain};
pub use finding::{SnapshotImpact, VerifyFinding};
pub use host::{HostDirectory, HostKeys, KeeperKeys, has_age_identity, write_secret_file};
pub use id::{ChunkId, ObjectId, ParseIdError, RepositoryId};
pub use index::{ChunkLocation, SegmentLocation};
pub use keyring::{AddedKeys, AppliedKeyRecord, KeyRecord, Keyring, RevokedKeys, RevokedSigner};
pub use keys::{KeyChange, KeyChangeResult};
pub use leases::ActiveRun;
pub use locks::LockReport;
pub use log_chain::{ListedLogSegment, LogChainLink, build_log_chain};
pub use logs::{LogSegmentKey, LogSegmentRecord, NewLogSegment, SealedLogSegment, SourceLog};
pub use progress::Progress;
pub use prune::{PruneOptions, PrunePlan, PruneReport, WaitingSweep};
pub use quarantine::{AffectedSnapshot, Quarantine, QuarantineRecord, QuarantinedObject};
pub use reader::{ContentReader, ContentStream, EntryReader, SegmentKey, SnapshotReader};
pub use reencrypt::{ReencryptOptions, ReencryptPlan, ReencryptReport};
pub use repair::{RepairOptions, RepairReport, RepairedObject};
pub use repository::{InitOptions, OpenOptions, UnreadableRoot, open_backend, repository_exists};
pub use secrets::Secrets;
pub use sign::{HostSigner, KnownSigner, SignerId, SignerRole};
pub use snapshot::{
    AddedData, EntryCounts, Outcome, Snapshot, SnapshotDetails, SnapshotRoot, SourceKind,
    StreamRecord, Warning,
};
pub use store::Repository;
pub use text::RawText;
pub use tombstones::{
    ForgottenLog, Keeper, PolicyVersion, RefusedTombstone, Tombstone, TombstoneMetadata,
    TombstoneRecord, Tombstones,
};
pub use trust::TrustStore;
pub use verify::{DataSubset, VerifyDepth, VerifyOptions, VerifyReport};
pub use writer::{
    CommittedSnapshot, EntryObserver, FileStamp, KnownChunks, LoadedFile, OpenStream, SnapshotItem,
    SnapshotOptions, SnapshotSummary, SnapshotWriter, StreamId, StreamSender,
};
