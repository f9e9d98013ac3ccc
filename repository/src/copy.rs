//! Copies: a repository's objects are brought to another destination as they are.
//!
//! Packs, index fragments and roots keep their names, bytes and signatures, so no recovery identity is
//! needed, nothing is encrypted again, and the copy is a whole repository. The order is that of commits:
//! packs, then the fragments that describe them, then roots. What an interrupted copy left is used.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use crate::backend::{Backend, BackendError, ObjectKey};
use crate::error::{Error, ErrorClass, ObjectFailure, Result};
use crate::id::{ChunkId, ObjectId};
use crate::index::fragment_key;
use crate::pack::pack_key;
use crate::parallel::try_in_parallel;
use crate::progress::Progress;
use crate::reader::ContentReader;
use crate::repository::{Repository, config_key, keys_key};
use crate::snapshot::{Snapshot, snapshot_key};
use crate::stored::{put_verified, read_again};

/// Packs in flight; each is in memory meanwhile.
const PACKS_MAX: usize = 3;

/// What a copy did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CopyReport {
    /// Whether the copy was begun by this run.
    pub made: bool,
    /// Snapshots that are new at the destination.
    pub snapshots: u64,
    /// Snapshots that were there already.
    pub snapshots_present: u64,
    /// Packs that were sent.
    pub packs: u64,
    /// Packs that an interrupted copy had sent, verified now.
    pub packs_present: u64,
    /// Bytes of the packs that were sent.
    pub bytes: u64,
    /// Pieces of logs that are new at the destination.
    pub log_pieces: u64,
    /// What could not be copied. Empty means: everything is there.
    pub not_copied: Vec<ObjectFailure>,
}

impl Repository {
    /// Brings everything to another destination, which is empty or an earlier copy.
    ///
    /// # Errors
    /// [`Error::OtherRepository`] when something else is there, or what either backend says. A damaged
    /// object of this repository is in the report instead, and the snapshots that need it are left out.
    pub fn copy_to(&self, target: &dyn Backend, progress: &Progress) -> Result<CopyReport> {
        let (roots, unreadable) = self.snapshots_lossy()?;
        let mut copy = Copy {
            repository: self,
            target,
            progress,
            report: CopyReport::default(),
            bad_packs: HashSet::new(),
        };
        for (key, error) in unreadable {
            copy.not_copied(key.as_str(), error)?;
        }
        copy.begin()?;
        copy.packs_and_fragments()?;
        copy.roots(&roots)?;
        copy.logs()?;
        Ok(copy.report)
    }
}

struct Copy<'a> {
    repository: &'a Repository,
    target: &'a dyn Backend,
    progress: &'a Progress,
    report: CopyReport,
    bad_packs: HashSet<ObjectId>,
}

/// What became of a pack.
enum Sent {
    New,
    Present,
}

impl Copy<'_> {
    fn failed(&self, source: BackendError) -> Error {
        Error::Backend {
            location: self.target.location(),
            source,
        }
    }

    /// Damage of one object must not keep the others from being copied; anything else ends the copy.
    fn not_copied(&mut self, object: &str, error: Error) -> Result<()> {
        match error.class() {
            ErrorClass::Damaged | ErrorClass::NotFound => {
                self.report.not_copied.push(ObjectFailure {
                    object: object.to_owned(),
                    reason: error.to_string(),
                });
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Makes the copy a repository, or makes sure that it is one of this repository.
    fn begin(&mut self) -> Result<()> {
        let inner = &self.repository.inner;
        let config = inner.config_bytes()?;
        let present = read_again(self.target, || match self.target.get(&config_key(), None) {
            Ok(bytes) if bytes == config => Ok(true),
            Ok(_) => Err(Error::damaged(&config_key(), "it is another repository's")),
            Err(BackendError::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.failed(source)),
        });
        match present {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Error::Damaged { .. }) => {
                return Err(Error::OtherRepository {
                    location: self.target.location(),
                });
            }
            Err(error) => return Err(error),
        }
        let keys = keys_key(&inner.config.keys);
        let secrets = inner.get_named(&keys)?;
        put_verified(self.target, &keys, &[secrets.into()], &inner.config.keys)?;
        let id = ObjectId::of(&config);
        put_verified(self.target, &config_key(), &[config.into()], &id)?;
        self.report.made = true;
        Ok(())
    }

    fn listed(&self, folder: &str) -> Result<BTreeSet<ObjectId>> {
        let listed = self.target.list(folder);
        Ok(listed
            .map_err(|source| self.failed(source))?
            .iter()
            .filter_map(|info| info.key.name().parse().ok())
            .collect())
    }

    fn packs_and_fragments(&mut self) -> Result<()> {
        let inner = &self.repository.inner;
        let there = self.listed("index")?;
        let mut fragments = Vec::new();
        for id in inner.fragment_ids()?.difference(&there) {
            match inner.read_fragment(id) {
                Ok(packs) => fragments.push((*id, packs)),
                Err(error) => self.not_copied(&format!("index/{id}"), error)?,
            }
        }
        let packs: BTreeMap<ObjectId, u64> = fragments
            .iter()
            .flat_map(|(_, packs)| packs)
            .map(|pack| (pack.pack, pack.size))
            .collect();
        self.packs(&packs)?;
        for (id, packs) in fragments {
            // An index must not promise what is not there.
            if packs
                .iter()
                .all(|pack| !self.bad_packs.contains(&pack.pack))
            {
                self.object(&fragment_key(&id), &id)?;
            } else {
                let reason = "a pack that it describes could not be copied".to_owned();
                self.report.not_copied.push(ObjectFailure {
                    object: format!("index/{id}"),
                    reason,
                });
            }
        }
        Ok(())
    }

    fn packs(&mut self, packs: &BTreeMap<ObjectId, u64>) -> Result<()> {
        let total = packs.values().sum();
        let progress = self.progress;
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        progress.items_total.store(packs.len() as u64, relaxed);
        progress.bytes_total.store(total, relaxed);
        let packs: Vec<(ObjectId, u64)> = packs.iter().map(|(id, size)| (*id, *size)).collect();
        let threads = self.target.abilities().parallel_puts.clamp(1, PACKS_MAX);
        let results = try_in_parallel(threads, &packs, |(id, size)| {
            let sent = progress.check().and_then(|()| self.pack(id, *size));
            Progress::add(&progress.items, 1);
            Progress::add(&progress.bytes, *size);
            match sent {
                Err(error) if error.class() != ErrorClass::Damaged => Err(error),
                sent => Ok(sent),
            }
        })?;
        for ((id, size), sent) in packs.into_iter().zip(results) {
            match sent {
                Ok(Sent::New) => {
                    self.report.packs += 1;
                    self.report.bytes += size;
                }
                Ok(Sent::Present) => self.report.packs_present += 1,
                Err(error) => {
                    self.not_copied(pack_key(&id).as_str(), error)?;
                    self.bad_packs.insert(id);
                }
            }
        }
        Ok(())
    }

    fn pack(&self, id: &ObjectId, size: u64) -> Result<Sent> {
        let key = pack_key(id);
        match self.target.size(&key) {
            // An interrupted copy has sent it, and nobody knows whether it was verified.
            Ok(stored) if stored == size && self.is_right(&key, id)? => return Ok(Sent::Present),
            Ok(_) => {
                return Err(Error::damaged(
                    &key,
                    format!(
                        "other bytes are under its name at {}",
                        self.target.location()
                    ),
                ));
            }
            Err(BackendError::NotFound { .. }) => {}
            Err(source) => return Err(self.failed(source)),
        }
        self.object(&key, id)?;
        Ok(Sent::New)
    }

    fn is_right(&self, key: &ObjectKey, id: &ObjectId) -> Result<bool> {
        let read = read_again(self.target, || {
            let bytes = self.target.get(key, None).map_err(|e| self.failed(e))?;
            if ObjectId::of(&bytes) == *id {
                Ok(())
            } else {
                Err(Error::damaged(key, "its bytes do not have its name"))
            }
        });
        match read {
            Ok(()) => Ok(true),
            Err(Error::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn object(&self, key: &ObjectKey, id: &ObjectId) -> Result<()> {
        let bytes = match self.repository.inner.get_named(key) {
            Err(Error::Backend {
                source: BackendError::NotFound { .. },
                ..
            }) => {
                return Err(Error::Missing {
                    object: key.to_string(),
                    needed_by: "the index".to_owned(),
                });
            }
            bytes => bytes?,
        };
        put_verified(self.target, key, &[bytes.into()], id)
    }

    fn roots(&mut self, roots: &[Snapshot]) -> Result<()> {
        let there = self.listed("snapshots")?;
        // Only where something is missing must each snapshot be looked at.
        let arrived = if self.report.not_copied.is_empty() {
            None
        } else {
            Some(self.arrived()?)
        };
        for root in roots {
            self.progress.check()?;
            let is_whole = || arrived.as_ref().map_or(Ok(true), |known| known.holds(root));
            if there.contains(&root.id) {
                self.report.snapshots_present += 1;
            } else if is_whole()? {
                self.object(&snapshot_key(&root.id), &root.id)?;
                self.report.snapshots += 1;
            } else {
                self.report.not_copied.push(ObjectFailure {
                    object: snapshot_key(&root.id).to_string(),
                    reason: format!("what {} needs could not be copied", root.root.source),
                });
            }
        }
        Ok(())
    }

    /// Pieces of logs, oldest first: what an interrupted copy has brought is a beginning.
    fn logs(&mut self) -> Result<()> {
        let there = self.target.list("logs").map_err(|e| self.failed(e))?;
        let there: HashSet<_> = there.into_iter().map(|info| info.key).collect();
        for folder in self.repository.log_folders()? {
            for piece in self.repository.logs_in(&folder)? {
                self.progress.check()?;
                if there.contains(&piece.object()) {
                    continue;
                }
                match self.repository.log_bytes(&piece) {
                    Ok(bytes) => {
                        put_verified(self.target, &piece.object(), &[bytes.into()], &piece.id)?;
                        self.report.log_pieces += 1;
                    }
                    Err(error) => self.not_copied(piece.object().as_str(), error)?,
                }
            }
        }
        Ok(())
    }

    /// What the copy's own index promises.
    fn arrived(&self) -> Result<Arrived> {
        let inner = &self.repository.inner;
        let mut packs = HashSet::new();
        for id in self.listed("index")? {
            match inner.read_fragment(&id) {
                Ok(known) => packs.extend(known.into_iter().map(|pack| pack.pack)),
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Arrived {
            packs,
            reader: self.repository.content_reader()?,
        })
    }
}

/// What has arrived at the destination, and a reader of the source to compare it with.
struct Arrived {
    packs: HashSet<ObjectId>,
    reader: ContentReader,
}

impl Arrived {
    /// Whether everything that a snapshot needs has arrived. What cannot be found out for damage has not.
    fn holds(&self, snapshot: &Snapshot) -> Result<bool> {
        match self.all_chunks_of(snapshot) {
            Err(error) if is_damage(&error) => Ok(false),
            result => result,
        }
    }

    fn all_chunks_of(&self, snapshot: &Snapshot) -> Result<bool> {
        let root = &snapshot.root;
        for record in [&root.entries, &root.references, &root.details] {
            for id in &record.chunks {
                if !self.has_chunk(id)? {
                    return Ok(false);
                }
            }
        }
        let mut references = self.reader.snapshot(snapshot).references();
        while let Some(id) = references.next_id()? {
            if !self.has_chunk(&id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has_chunk(&self, id: &ChunkId) -> Result<bool> {
        let places = self.reader.locations(id, &"the snapshot")?;
        Ok(places.iter().any(|place| self.packs.contains(&place.pack)))
    }
}

/// Whether an error is about what is stored; an object that is gone is as good as damaged.
fn is_damage(error: &Error) -> bool {
    let gone = matches!(
        error,
        Error::Backend {
            source: BackendError::NotFound { .. },
            ..
        }
    );
    gone || error.class() == ErrorClass::Damaged
}
