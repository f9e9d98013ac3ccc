//! What a prune reads before it decides: roots, tombstones, index, packs, sweeps and leases, in an order in which
//! nothing can be missed.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::backend::ObjectKey;
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::signing::SignerRole;
use crate::error::{Error, ErrorClass, ObjectFailure, Result};
use crate::format::names::id_from_key;
use crate::format::pack::PackRecord;
use crate::format::snapshot::Snapshot;
use crate::id::ObjectId;
use crate::index::{Index, fragment_key};
use crate::records::leases::{ActiveRun, Lease, Leases};
use crate::records::record_set::{RecordAuthor, is_not_found};
use crate::records::replaced_packs::ReplacedPacks;
use crate::records::sweeps::{CLOCK_SKEW_MAX, OpenSweep, Sweeps};
use crate::records::tombstones::Tombstones;
use crate::store::Repository;

/// The name of prune runs; another prune does not wait for them, as each marks again before it deletes.
pub(super) const PRUNE_COMMAND: &str = "prune";

/// An object as a listing shows it, without its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListedObject {
    pub(super) size: u64,
    pub(super) received: Option<DateTime<Utc>>,
}

/// Roots and their tombstones.
#[derive(Debug)]
pub(super) struct SnapshotRoots {
    /// All readable ones, forgotten ones marked as such.
    pub(super) snapshots: Vec<Snapshot>,
    /// IDs of forgotten roots that cannot be read.
    pub(super) unreadable: Vec<ObjectId>,
    /// Since when each forgotten root is forgotten.
    forgotten_times: HashMap<ObjectId, DateTime<Utc>>,
    /// What is ignored, and why.
    pub(super) findings: Vec<ObjectFailure>,
    /// Objects among the tombstones that do not match their names and never did, with when they were received.
    pub(super) garbage_tombstones: Vec<(ObjectKey, Option<DateTime<Utc>>)>,
}

impl SnapshotRoots {
    /// Lists roots, then tombstones.
    ///
    /// # Errors
    /// When a root that is not forgotten cannot be read, or a tombstone that may unforget others, or when one that this
    /// machine has seen is gone: then what is needed is unknown.
    pub(super) fn read(repository: &Repository) -> Result<Self> {
        repository.inner.memory.require_readable()?;
        let (snapshots, errors) = repository.all_snapshots_lossy()?;
        let errors = refuse_withheld(repository, errors)?;
        let tombstones = read_tombstones_strictly(repository)?;
        let findings = tombstones.refused().iter().map(|refused| ObjectFailure {
            object: refused.object.to_string(),
            reason: format!("invalid tombstone, ignored: {}", refused.error),
        });
        let mut findings: Vec<_> = findings.collect();
        let mut unreadable = Vec::new();
        for (key, error) in errors {
            match id_from_key(&key) {
                Some(id) if tombstones.is_forgotten(&id) => unreadable.push(id),
                Some(id) if was_never_root(repository, &key, &id)? => {
                    findings.push(ObjectFailure {
                        object: key.to_string(),
                        reason: format!("not a valid snapshot, not deleted: {error}"),
                    })
                }
                Some(id) if error.is_damage() || error.is_missing_identity() => {
                    return Err(Error::UnknownNeeds {
                        snapshot: id,
                        source: Box::new(error),
                    });
                }
                Some(_) => return Err(error),
                None => findings.push(ObjectFailure {
                    object: key.to_string(),
                    reason: "its name is not a snapshot ID; not deleted".to_owned(),
                }),
            }
        }
        let mut roots = Self {
            snapshots,
            unreadable,
            forgotten_times: HashMap::new(),
            findings,
            garbage_tombstones: garbage_tombstones(&tombstones),
        };
        let since = roots.forgotten_ids().into_iter();
        let since = since.filter_map(|id| Some((id, tombstones.forgotten_since(&id)?)));
        roots.forgotten_times = since.collect();
        Ok(roots)
    }

    /// Since when a root is forgotten. One that was unforgotten and forgotten again counts from the last time.
    pub(super) fn forgotten_since(&self, id: &ObjectId) -> Option<DateTime<Utc>> {
        self.forgotten_times.get(id).copied()
    }

    /// Whether a root may be deleted once a sweep has named it for long enough: it may have been named before it was
    /// forgotten, by a holder of a writer's key, or before it was unforgotten for a while.
    pub(super) fn may_delete(&self, id: &ObjectId, grace: TimeDelta, now: DateTime<Utc>) -> bool {
        let since = self.forgotten_times.get(id);
        since.is_some_and(|since| grace <= TimeDelta::zero() || *since + grace <= now)
    }

    /// IDs of all forgotten roots that are still stored.
    pub(super) fn forgotten_ids(&self) -> HashSet<ObjectId> {
        let forgotten = self.snapshots.iter().filter(|snapshot| snapshot.forgotten);
        let ids = forgotten.map(|snapshot| snapshot.id);
        ids.chain(self.unreadable.iter().copied()).collect()
    }
}

fn garbage_tombstones(tombstones: &Tombstones) -> Vec<(ObjectKey, Option<DateTime<Utc>>)> {
    let refused = tombstones.refused().iter();
    let garbage = refused.filter(|one| one.is_damaged && !one.may_revoke);
    garbage
        .map(|one| (one.object.clone(), one.received))
        .collect()
}

/// Refuses while something is gone that this machine has seen. Returns the other errors.
fn refuse_withheld(
    repository: &Repository,
    errors: Vec<(ObjectKey, Error)>,
) -> Result<Vec<(ObjectKey, Error)>> {
    let (mut objects, mut others) = (Vec::new(), Vec::new());
    for (key, error) in errors {
        if let Error::Withheld { description, .. } = error {
            objects.push(format!("{key} ({description})"));
        } else {
            others.push((key, error));
        }
    }
    if objects.is_empty() {
        return Ok(others);
    }
    Err(Error::PruneRefused {
        location: repository.location(),
        objects,
    })
}

/// Whether an unreadable object among the roots never was one: as [`was_never_valid`] says, or it does not match its name
/// and never did when this machine looked, or its signer has stored something else than a root.
fn was_never_root(repository: &Repository, key: &ObjectKey, id: &ObjectId) -> Result<bool> {
    let (inner, kind) = (&repository.inner, RecordKind::Snapshot);
    match inner.get_verified(key) {
        Ok(bytes) => Ok(was_never_valid(repository, kind, key)? || inner.is_no_root(&bytes, key)),
        Err(error) if error.is_damage() => {
            let seen = inner.memory.read();
            Ok(!seen.may_be_root(id) || seen.accepted.contains(id))
        }
        Err(error) => Err(error),
    }
}

/// Whether an unreadable object in the place of such a record never was a valid one: it is as it was stored, and
/// unsigned, or signed by a writer that was revoked before. Anybody who may add objects can make such things.
///
/// A record of a signer that is unknown here may be valid nevertheless: the record that makes the signer known may have
/// been lost.
fn was_never_valid(repository: &Repository, kind: RecordKind, key: &ObjectKey) -> Result<bool> {
    let inner = &repository.inner;
    let bytes = match inner.get_verified(key) {
        Ok(bytes) => bytes,
        Err(error) if error.is_damage() => return Ok(false),
        Err(error) => return Err(error),
    };
    let claimed = match envelope::parse_record(kind, &bytes, key) {
        Ok(claimed) => claimed,
        Err(error) => return Ok(error.is_damage()),
    };
    let Ok(proven) = claimed.verify_signature(key, inner.trust.repository()) else {
        return Ok(true);
    };
    let is_revoked = inner.trust.is_revoked(&proven.signer, SignerRole::Writer);
    Ok(is_revoked && envelope::verify_record(kind, &bytes, key, &inner.trust).is_err())
}

/// All tombstones.
///
/// # Errors
/// When there is one that may unforget others: then what is forgotten is unknown.
pub(super) fn read_tombstones_strictly(repository: &Repository) -> Result<Tombstones> {
    let tombstones = repository.read_tombstones()?;
    let mut refused = tombstones.refused().iter();
    match refused.find(|refused| refused.may_revoke) {
        None => Ok(tombstones),
        Some(refused) => Err(unreadable_tombstone_error(&refused.object, &refused.error)),
    }
}

/// The same error again: it stays where it was found.
fn unreadable_tombstone_error(object: &impl std::fmt::Display, error: &Error) -> Error {
    if let Error::UnsupportedFormat {
        object,
        found,
        known,
    } = error
    {
        return Error::UnsupportedFormat {
            object: object.clone(),
            found: *found,
            known: *known,
        };
    }
    Error::damaged_object(
        object,
        format!(
            "{error}; it may revoke other tombstones, so prune deletes nothing: restore it from another copy \
             (`reprise verify --repair --from`), or delete it by hand if no keeper stored it"
        ),
    )
}

/// Fragments that some sweep has replaced already.
pub(super) fn condemned_fragments(sweeps: &Sweeps) -> HashSet<ObjectId> {
    let open = sweeps.open_sweeps();
    let condemned = open
        .iter()
        .flat_map(|sweep| &sweep.condemned.record.fragments);
    let mut fragments: HashSet<ObjectId> = condemned.copied().collect();
    fragments.extend(sweeps.fragments_being_deleted());
    fragments
}

/// What is wrong with fragments of the index that cannot be read here.
#[derive(Debug, Default)]
pub(super) struct UnreadableFragments {
    pub(super) findings: Vec<ObjectFailure>,
    /// The first one that stays and that others may have read, so that they rely on packs that it describes.
    pub(super) blocking_fragment: Option<ObjectKey>,
}

impl UnreadableFragments {
    /// # Errors
    /// When one is of a newer version, or the storage does not return it.
    pub(super) fn classify_fragments(
        repository: &Repository,
        unreadable: Vec<(ObjectId, Error)>,
        sweeps: &Sweeps,
    ) -> Result<Self> {
        let superseded = condemned_fragments(sweeps);
        let mut judged = Self::default();
        for (id, error) in unreadable {
            let key = fragment_key(&id);
            if is_not_found(&error) {
                continue;
            }
            if error.class() == ErrorClass::Failed && !is_newer_of_writer(repository, &key, &error)?
            {
                return Err(error);
            }
            let mut finding = object_failure(key.as_str(), &error);
            let kind = RecordKind::Index;
            if !superseded.contains(&id) && !was_never_valid(repository, kind, &key)? {
                finding.reason += "; prune deletes nothing while this index fragment is unreadable, because other hosts may rely on \
                                   the packs that it describes: `reprise verify --repair` moves it to quarantine";
                judged.blocking_fragment.get_or_insert(key);
            }
            judged.findings.push(finding);
        }
        Ok(judged)
    }
}

/// Whether a fragment is of a newer version and no keeper has signed it: one writer must not stop the others.
fn is_newer_of_writer(repository: &Repository, key: &ObjectKey, error: &Error) -> Result<bool> {
    let inner = &repository.inner;
    Ok(matches!(error, Error::UnsupportedFormat { .. })
        && inner.find_author(inner.backend.as_ref(), RecordKind::Index, key)?
            != RecordAuthor::Keeper)
}

/// The whole view.
#[derive(Debug)]
pub(super) struct RepositoryView {
    pub(super) sweeps: Sweeps,
    pub(super) leases: Leases,
    pub(super) roots: SnapshotRoots,
    pub(super) packs: HashMap<ObjectId, ListedObject>,
    pub(super) fragments: HashMap<ObjectId, ListedObject>,
    /// Packs that no fragment describes; they are in the index nevertheless.
    pub(super) unindexed: Vec<PackRecord>,
    pub(super) replaced: ReplacedPacks,
    /// Packs in quarantine.
    pub(super) quarantined_packs: HashSet<ObjectId>,
    /// Whether an index fragment may promise to others what is unknown here.
    pub(super) is_blocked: bool,
    pub(super) findings: Vec<ObjectFailure>,
}

impl RepositoryView {
    /// Reads everything, roots before the index before packs.
    pub(super) fn load(repository: &Repository, own: Option<&Lease>) -> Result<(Self, Index)> {
        let inner = &repository.inner;
        let leases = Leases::read(inner, own)?;
        let sweeps = Sweeps::read(inner, inner.backend.as_ref())?;
        let replaced = ReplacedPacks::read(inner, inner.backend.as_ref())?;
        let roots = SnapshotRoots::read(repository)?;
        let fragments = objects_by_id(inner.list_objects("index")?);
        let (mut index, unreadable) = inner.load_index()?;
        let unread = UnreadableFragments::classify_fragments(repository, unreadable, &sweeps)?;
        let mut findings = unread.findings;
        let listed = inner.list_objects("packs")?;
        let packs = objects_by_id(listed.clone());
        let mut unindexed = Vec::new();
        for (key, record) in inner.read_unindexed_packs(&index, listed) {
            match record {
                Ok(record) => unindexed.push(record),
                Err(error @ Error::UnsupportedFormat { .. }) if inner.is_keepers_pack(&key)? => {
                    return Err(error);
                }
                Err(error) => findings.push(object_failure(key.as_str(), &error)),
            }
        }
        index.add_packs(&unindexed)?;
        let refused = sweeps.records().refused.iter();
        let refused = refused.chain(&leases.refused).chain(&replaced.refused);
        let refused = refused.filter(|found| found.is_finding());
        findings.extend(refused.map(|found| object_failure(found.info.key.as_str(), &found.error)));
        findings.extend(roots.findings.iter().cloned());
        let view = Self {
            sweeps,
            leases,
            roots,
            packs,
            fragments,
            unindexed,
            replaced,
            quarantined_packs: inner.read_quarantine()?.pack_ids(),
            is_blocked: unread.blocking_fragment.is_some(),
            findings,
        };
        Ok((view, index))
    }

    /// Roots that a sweep names and that were forgotten too recently to be deleted with it.
    pub(super) fn roots_in_grace(&self, sweep: &OpenSweep, grace: TimeDelta) -> Vec<ObjectId> {
        let named = sweep.condemned.record.roots.iter().copied();
        named
            .filter(|id| self.roots.forgotten_since(id).is_some())
            .filter(|id| !self.roots.may_delete(id, grace, self.leases.now))
            .collect()
    }

    /// The same of all sweeps that are due now: what these roots need is needed.
    pub(super) fn due_roots_in_grace(&self, grace: TimeDelta) -> HashSet<ObjectId> {
        let mut due = self.sweeps.open_sweeps();
        due.retain(|sweep| find_obstacle(&self.leases, sweep, grace).is_none());
        due.iter()
            .flat_map(|sweep| self.roots_in_grace(sweep, grace))
            .collect()
    }
}

/// Runs that add to the repository now.
fn active_writers(leases: &Leases) -> impl Iterator<Item = &ActiveRun> {
    leases
        .active
        .iter()
        .filter(|run| run.command != PRUNE_COMMAND)
}

/// Whether an object may belong to an active run: nothing refers to it yet.
pub(super) fn may_be_in_use(leases: &Leases, received: Option<DateTime<Utc>>) -> bool {
    active_writers(leases).any(|run| match (run.since, received) {
        (Some(since), Some(received)) => received + CLOCK_SKEW_MAX >= since,
        _ => true,
    })
}

/// What must end before a sweep may be carried out: in words, and until when it lasts at the latest.
pub(super) fn find_obstacle(
    leases: &Leases,
    sweep: &OpenSweep,
    grace: TimeDelta,
) -> Option<(String, DateTime<Utc>)> {
    let received = sweep.condemned.received;
    let before = active_writers(leases).find(|run| match (run.since, received) {
        (Some(since), Some(received)) => since <= received + CLOCK_SKEW_MAX,
        _ => true,
    });
    if let Some(run) = before {
        let reason = format!("the {} running on {}", run.command, run.host);
        return Some((reason, run.until));
    }
    let ends = received.unwrap_or(sweep.condemned.record.at) + grace;
    (ends > leases.now).then(|| ("the grace period".to_owned(), ends))
}

/// Objects of a listing, by ID; other names are foreign and are not touched.
fn objects_by_id(listed: Vec<crate::backend::ObjectInfo>) -> HashMap<ObjectId, ListedObject> {
    let own = |info: crate::backend::ObjectInfo| {
        let id = id_from_key(&info.key)?;
        let stored = ListedObject {
            size: info.size_bytes,
            received: info.received,
        };
        Some((id, stored))
    };
    listed.into_iter().filter_map(own).collect()
}

pub(super) fn object_failure(object: &str, error: &Error) -> ObjectFailure {
    ObjectFailure {
        object: object.to_owned(),
        reason: error.to_string(),
    }
}
