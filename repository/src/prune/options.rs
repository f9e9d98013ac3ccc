//! The options of a prune, and what all parts of a run need.

use std::path::PathBuf;

use chrono::TimeDelta;

use crate::error::Result;
use crate::progress::Progress;
use crate::records::tombstones::Keeper;
use crate::store::Repository;

/// The options of a prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only report what would be done.
    pub dry_run: bool,
    /// The grace period of condemned objects.
    pub grace: TimeDelta,
    /// At most this many bytes are copied out of mostly dead packs.
    pub max_repack: Option<u64>,
    /// Packs are copied when less than this share of their bytes is needed, in percent.
    pub repack_below: u8,
    /// This host's name.
    pub host: String,
    /// The file with the keeper's key; without one, this host must be a keeper.
    pub keeper_file: Option<PathBuf>,
}

/// What all parts of a prune need.
pub(super) struct PruneContext<'a> {
    pub(super) repository: &'a Repository,
    pub(super) options: &'a PruneOptions,
    /// Who signs what is announced.
    pub(super) keeper: &'a Keeper,
    pub(super) progress: &'a Progress,
}

impl PruneContext<'_> {
    /// Fails when the keeper or this host was removed since this prune began: its keys may have been stolen.
    pub(super) fn check_still_keeper(&self) -> Result<()> {
        let current = self.repository.with_current_keys()?;
        current.require_writer()?;
        let file = self.options.keeper_file.as_deref();
        current.load_keeper(file, "delete objects").map(drop)
    }
}
