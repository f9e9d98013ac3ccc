//! Stores and fetches snapshots: chunk, segment, pack, index, encrypt, sign, verify.
//!
//! The stored format is described in `docs/format.md`. This crate does not know what a source is: it takes entries with
//! contents in order and gives them back.

pub mod backend;
mod clock;
mod copy;
pub(crate) mod crypto;
mod error;
pub(crate) mod format;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod id;
mod index;
pub(crate) mod keys;
pub(crate) mod log;
mod parallel;
mod program;
mod progress;
mod prune;
pub(crate) mod read;
pub(crate) mod records;
pub(crate) mod rekey;
mod repository;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod verify;
mod write;

pub use crate::copy::locks::LockReport;
pub use crate::crypto::encryption::{
    GeneratedIdentity, Identities, Passphrase, RecipientClass, Recipients, canonical_recipient,
    generate_identity, has_recipient, mask_secret,
};
pub use crate::crypto::host_keys::{
    HostDirectory, HostKeys, KeeperKeys, has_age_identity, write_secret_file,
};
pub use crate::crypto::signing::{HostSigner, KnownSigner, SignerId, SignerRole};
pub use crate::crypto::trust::TrustStore;
pub use crate::format::chunker::{Chunker, ChunkerSeed};
pub use crate::format::config::{ChunkSizes, Config, FORMAT, Layout, RecipientTexts};
pub use crate::format::entry::{Entry, EntryKind, FileTime, Xattr, path_order};
pub use crate::format::keyring::{
    AddedKeys, AppliedKeyRecord, EscrowKey, KeyRecord, Keyring, RevokedKeys, RevokedSigner,
    SeriesContinuation,
};
pub use crate::format::secrets::Secrets;
pub use crate::format::snapshot::{
    AddedData, CLOCK_TOLERANCE, EntryCounts, Outcome, Remark, SlotStamp, Snapshot, SnapshotDetails,
    SnapshotRoot, SourceKind, StreamRecord, Warning,
};
pub use crate::keys::key_change::{KeyChange, KeyChangeResult};
pub use crate::log::chain::{ListedLogSegment, LogChainLink, build_log_chain};
pub use crate::log::log_writers::LogWriter;
pub use crate::log::segment_record::{LogSegmentKey, LogSegmentRecord, NewLogSegment};
pub use crate::log::segments::{SealedLogSegment, SourceLog};
pub use crate::read::reader::{ContentReader, ContentStream, SegmentKey};
pub use crate::read::snapshot_reader::{EntryReader, SnapshotReader};
pub use crate::records::leases::ActiveRun;
pub use crate::records::quarantine::{
    AffectedSnapshot, Quarantine, QuarantineRecord, QuarantinedObject,
};
pub use crate::records::tombstones::{
    ForgottenLog, Keeper, PolicyVersion, RefusedTombstone, Tombstone, TombstoneMetadata,
    TombstoneRecord, Tombstones,
};
pub use crate::rekey::reencrypt::{ReencryptOptions, ReencryptPlan, ReencryptReport};
pub use crate::store::finding::{SnapshotImpact, VerifyFinding};
pub use crate::verify::repair::{RepairOptions, RepairReport, RepairedObject};
pub use crate::write::{
    CommittedSnapshot, EntryObserver, FileStamp, KnownChunks, LoadedFile, OpenStream, ScheduledRun,
    SnapshotItem, SnapshotOptions, SnapshotSummary, SnapshotWriter, StreamId, StreamSender,
};
pub use clock::{Clock, SystemClock};
pub use copy::CopyReport;
pub use error::{Error, ErrorClass, ObjectFailure, PossibleReaders, Result, format_error_chain};
pub use id::{ChunkId, ObjectId, ParseIdError, RepositoryId};
pub use index::{ChunkLocation, SegmentLocation};
pub use progress::Progress;
pub use prune::{PruneOptions, PrunePlan, PruneReport, WaitingSweep};
pub use repository::{
    ForeignSeries, InitOptions, OpenOptions, SourceHistory, SourceSeries, UnreadableRoot,
    open_backend, repository_exists,
};
pub use store::{MeantHosts, Repository};
pub use text::{RawText, escape_line};
pub use verify::{
    DataSubset, UnreadableKind, UnreadableObjects, VerifyDepth, VerifyOptions, VerifyReport,
};
