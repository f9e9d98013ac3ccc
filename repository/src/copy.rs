//! Copies: a repository's objects are brought to another destination as they are.
//!
//! Packs, index fragments and roots keep their names, bytes and signatures, so no recovery identity is
//! needed, nothing is encrypted again, and the copy is a whole repository. The order is that of commits:
//! packs, then the fragments that describe them, then roots. What an interrupted copy left is used.

mod arrival;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;

use crate::backend::{Backend, BackendError, ObjectKey};
use crate::error::{Error, ErrorClass, ObjectFailure, Result};
use crate::id::ObjectId;
use crate::index::fragment_key;
use crate::keys::keys_key;
use crate::leases::Lease;
use crate::names::id_in;
use crate::pack::{PackRecord, pack_key};
use crate::parallel::try_in_parallel;
use crate::progress::Progress;
use crate::records::is_gone;
use crate::replaced::{self, Replaced, replaced_key};
use crate::repository::{Repository, config_key};
use crate::snapshot::{Snapshot, snapshot_key};
use crate::stored::{put_verified, read_again};
use crate::tombstones::tombstone_key;

use arrival::{Arrived, is_damage};

/// Packs in flight; each is in memory meanwhile.
const PACKS_MAX: usize = 3;

/// How often a copy begins anew because the source's index changed under it.
const PASSES_MAX: usize = 5;

/// What a copy did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CopyReport {
    /// Whether the copy was begun by this run.
    pub made: bool,
    /// Snapshots that are new at the destination.
    pub snapshots: u64,
    /// Snapshots that were there already.
    pub snapshots_present: u64,
    /// Tombstones that are new at the destination.
    pub tombstones: u64,
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
    /// Brings everything to another destination, which is empty or an earlier copy. Forgotten snapshots are left
    /// out; that they are forgotten is told there too.
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
        // Whoever may not sign copies without a lease: then a prune there does not wait, and the end finds it out.
        let lease = match self.require_writer() {
            Ok(host) => {
                let name = self.signer_name(&host.signer.id());
                Some(Lease::take(&self.inner, target, &name, "copy")?)
            }
            Err(_) => None,
        };
        let copied = copy.everything(&roots, lease.as_ref());
        if let Some(lease) = lease.filter(|_| copied.is_ok()) {
            lease.end(target);
        }
        copied?;
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
            Ok(_) => Err(Error::damaged(
                &config_key(),
                "it belongs to another repository",
            )),
            Err(BackendError::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.failed(source)),
        });
        match present {
            Ok(true) => return self.keys(),
            Ok(false) => {}
            Err(Error::Damaged { .. }) => {
                return Err(Error::OtherRepository {
                    location: self.target.location(),
                });
            }
            Err(error) => return Err(error),
        }
        self.keys()?;
        let id = ObjectId::of(&config);
        put_verified(self.target, &config_key(), &[config.into()], &id)?;
        self.report.made = true;
        Ok(())
    }

    fn everything(&mut self, roots: &[Snapshot], lease: Option<&Lease>) -> Result<()> {
        for _ in 0..PASSES_MAX {
            let (failed, before) = (self.report.not_copied.len(), self.fragments()?);
            self.packs_and_fragments(lease)?;
            // A prune of the source may have moved what was to be copied: then its index is another one.
            let same = self.report.not_copied.len() == failed || self.fragments()? == before;
            if same && !self.was_late(lease)? {
                break;
            }
            self.report.not_copied.truncate(failed);
            self.bad_packs.clear();
        }
        self.tombstones()?;
        self.replaced()?;
        if let Some(lease) = lease {
            lease.renew_if_due(self.target)?;
        }
        let (there, new) = self.roots(roots)?;
        self.everything_stays(&there, &new, lease)?;
        self.logs()
    }

    fn fragments(&self) -> Result<BTreeSet<ObjectId>> {
        self.repository.inner.fragment_ids()
    }

    /// Secrets and changes of keys that count; forgeries stay where they are.
    fn keys(&mut self) -> Result<()> {
        let there = self.listed("keys")?;
        for id in self.repository.inner.key_objects() {
            if !there.contains(&id) {
                self.object(&keys_key(&id), &id)?;
            }
        }
        Ok(())
    }

    fn listed(&self, folder: &str) -> Result<BTreeSet<ObjectId>> {
        let listed = self.target.list(folder);
        Ok(listed
            .map_err(|source| self.failed(source))?
            .iter()
            .filter_map(|info| id_in(&info.key))
            .collect())
    }

    fn packs_and_fragments(&mut self, lease: Option<&Lease>) -> Result<()> {
        let inner = &self.repository.inner;
        let there = self.listed("index")?;
        // Later than the index: what a fragment describes is there before it.
        let stored = self.listed("packs")?;
        let lacking = self.lacking(&there, &stored)?;
        let mut fragments = Vec::new();
        let mut fragments_here = inner.fragment_ids()?;
        // What they said is said by others.
        let quarantined = inner.quarantine()?.fragments();
        fragments_here.retain(|id| !quarantined.contains(id));
        let is_there = |id: &ObjectId| there.contains(id) && !lacking.contains(id);
        for id in fragments_here.iter().filter(|id| !is_there(id)) {
            match inner.read_fragment(id) {
                Ok(packs) => fragments.push((*id, packs)),
                Err(error) if is_gone(&error) => self.report.not_copied.push(ObjectFailure {
                    object: format!("index/{id}"),
                    reason: "a prune deleted it while the copy was running".to_owned(),
                }),
                Err(error) => self.not_copied(&format!("index/{id}"), error)?,
            }
        }
        let packs: BTreeMap<ObjectId, u64> = fragments
            .iter()
            .flat_map(|(id, packs)| packs.iter().map(|pack| (*id, pack)))
            .filter(|(id, pack)| !there.contains(id) || !stored.contains(&pack.pack))
            .map(|(_, pack)| (pack.pack, pack.size))
            .collect();
        self.packs(&packs, lease)?;
        let mut rest = Vec::new();
        for (id, packs) in fragments {
            // An index must not promise what is not there.
            if packs
                .iter()
                .all(|pack| !self.bad_packs.contains(&pack.pack))
            {
                if !there.contains(&id) {
                    self.object(&fragment_key(&id), &id)?;
                }
            } else {
                let reason = "a pack that it describes could not be copied".to_owned();
                self.report.not_copied.push(ObjectFailure {
                    object: format!("index/{id}"),
                    reason,
                });
                rest.extend(packs);
            }
        }
        rest.retain(|pack| !self.bad_packs.contains(&pack.pack));
        self.describe(rest)
    }

    /// Describes packs whose own fragment cannot come, as it tells of others as well. Who may not sign leaves them
    /// out, and what needs them.
    fn describe(&self, mut packs: Vec<PackRecord>) -> Result<()> {
        if packs.is_empty() || self.repository.require_writer().is_err() {
            return Ok(());
        }
        let others = self.others()?;
        let known: HashSet<ObjectId> = others.packs().map(|(id, _)| id).collect();
        packs.retain(|pack| !known.contains(&pack.pack));
        self.repository.inner.put_fragments_at(self.target, packs)
    }

    fn packs(&mut self, packs: &BTreeMap<ObjectId, u64>, lease: Option<&Lease>) -> Result<()> {
        let total = packs.values().sum();
        let progress = self.progress;
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        progress.items_total.store(packs.len() as u64, relaxed);
        progress.bytes_total.store(total, relaxed);
        let packs: Vec<(ObjectId, u64)> = packs.iter().map(|(id, size)| (*id, *size)).collect();
        let threads = self.target.abilities().parallel_puts.clamp(1, PACKS_MAX);
        let results = try_in_parallel(threads, &packs, |(id, size)| {
            let renewed = progress.check().and_then(|()| match lease {
                Some(lease) => lease.renew_if_due(self.target),
                None => Ok(()),
            });
            let sent = renewed.and_then(|()| self.pack(id, *size));
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
                        "the object with this name at {} has different content",
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
                Err(Error::damaged(key, "content does not match its hash"))
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

    /// Returns those that are there now, and which of them are new.
    fn roots<'s>(
        &mut self,
        roots: &'s [Snapshot],
    ) -> Result<(Vec<&'s Snapshot>, BTreeSet<ObjectId>)> {
        let (mut arrived_roots, mut new) = (Vec::new(), BTreeSet::new());
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
                arrived_roots.push(root);
                self.report.snapshots_present += 1;
            } else if is_whole()? {
                match self.object(&snapshot_key(&root.id), &root.id) {
                    // It was forgotten and swept meanwhile.
                    Err(Error::Missing { .. }) => continue,
                    stored => stored?,
                }
                arrived_roots.push(root);
                new.insert(root.id);
                self.report.snapshots += 1;
            } else {
                self.report.not_copied.push(ObjectFailure {
                    object: snapshot_key(&root.id).to_string(),
                    reason: format!(
                        "data that this snapshot of {} needs could not be copied",
                        root.root.source
                    ),
                });
            }
        }
        Ok((arrived_roots, new))
    }

    /// What takes others back comes first: an interrupted copy has forgotten too little, and not too much.
    fn tombstones(&mut self) -> Result<()> {
        let there = self.listed("tombstones")?;
        let known = self.repository.tombstones()?;
        let mut missing: Vec<_> = known.valid().iter().collect();
        missing.retain(|tombstone| !there.contains(&tombstone.id));
        missing.sort_by_key(|tombstone| tombstone.record.revoke.is_empty());
        for tombstone in missing {
            self.object(&tombstone_key(&tombstone.id), &tombstone.id)?;
            self.report.tombstones += 1;
        }
        Ok(())
    }

    /// Which packs were encrypted anew, so that a prune there deletes what they were before.
    fn replaced(&mut self) -> Result<()> {
        let inner = &self.repository.inner;
        let there = self.listed(replaced::FOLDER)?;
        let known = Replaced::read(inner, inner.backend.as_ref())?.records;
        for id in known.iter().filter(|id| !there.contains(*id)) {
            self.object(&replaced_key(id), id)?;
        }
        Ok(())
    }

    /// Pieces of logs, oldest first: what an interrupted copy has brought is a beginning.
    fn logs(&mut self) -> Result<()> {
        let there = self.target.list("logs").map_err(|e| self.failed(e))?;
        let there: HashSet<_> = there.into_iter().map(|info| info.key).collect();
        let tombstones = self.repository.tombstones()?;
        for folder in self.repository.log_folders()? {
            let first = self.repository.log_begins(&folder, &tombstones);
            for piece in self.repository.logs_in(&folder)? {
                self.progress.check()?;
                if piece.sequence < first || there.contains(&piece.object()) {
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
        let mut packs = HashSet::new();
        for id in self.listed("index")? {
            match self.fragment_there(&id) {
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
