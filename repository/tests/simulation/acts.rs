//! What machines do.

use std::sync::{Arc, Mutex, MutexGuard};

use chrono::TimeDelta;
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{
    DataSubset, Error, ObjectId, Progress, PruneOptions, RepairOptions, Repository, VerifyDepth,
    VerifyOptions,
};

use super::books::{Books, Fate};
use super::stage::{Dice, Place, Stage, Watch, Way};
use super::support::garbage::{forget, looking, options, prune_with, small_tree, unforget};
use super::support::keys::{Host, reencrypt};
use super::support::{World, snapshot};

/// One thing that a machine does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Snapshot(u64, u64),
    Forget(u64),
    Unforget(u64),
    Prune {
        now: bool,
    },
    /// From home to away.
    Copy,
    PruneAway,
    /// Of what can be seen without reading contents.
    Repair,
    /// Everything is read, and good bytes are taken from away.
    RepairFromAway {
        replace: bool,
    },
    /// Nobody does it: a disk loses or garbles an object that is away too.
    Damage(u64),
    Reencrypt,
    /// The storage hides a root or a tombstone until the play is over.
    Withhold(u64),
    /// A writer that was broken into stores records that would hold the others up.
    Sabotage(u64),
}

/// What kind of trouble a play is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mixed,
    /// One machine copies what it has just stored while another collects garbage where the copy goes.
    Copying,
    /// Objects are damaged; away nothing is deleted, so that it has good bytes of each.
    Damaged,
    /// Contents are encrypted anew, as who may read has changed.
    Rotated,
    /// One host was broken into.
    Hostile,
    /// The storage hides objects.
    Withheld,
}

impl Kind {
    pub(crate) fn choose(dice: &mut Dice) -> Self {
        match dice.roll(9) {
            0 | 1 => Self::Copying,
            2 | 3 => Self::Damaged,
            4 => Self::Rotated,
            5 => Self::Hostile,
            8 => Self::Withheld,
            _ => Self::Mixed,
        }
    }

    /// Whether everything is away before it begins.
    pub(crate) fn begins_with_copy(self) -> bool {
        matches!(self, Self::Copying | Self::Damaged)
    }

    /// What each machine does, one after the other.
    pub(crate) fn lives(self, dice: &mut Dice) -> Vec<Vec<Act>> {
        if self == Self::Copying {
            return copying(dice);
        }
        let machines = 2 + dice.roll(3);
        let mut lives: Vec<Vec<Act>> = (0..machines)
            .map(|_| (0..=dice.roll(3)).map(|_| self.act(dice)).collect())
            .collect();
        match self {
            Self::Damaged => {
                lives.push(vec![Act::Damage(dice.roll(100)); 1 + dice.roll(2) as usize])
            }
            Self::Rotated => lives.push(vec![Act::Reencrypt]),
            Self::Hostile => {
                let acts = 2 + dice.roll(5);
                lives.push((0..acts).map(|_| Act::Sabotage(dice.roll(6))).collect());
            }
            Self::Withheld => {
                let acts = 1 + dice.roll(3);
                lives.push((0..acts).map(|_| Act::Withhold(dice.roll(100))).collect());
            }
            Self::Mixed | Self::Copying => {}
        }
        lives
    }

    fn act(self, dice: &mut Dice) -> Act {
        let other = |mixed, damaged, rotated| match self {
            Self::Damaged => damaged,
            Self::Rotated => rotated,
            Self::Mixed | Self::Copying | Self::Hostile | Self::Withheld => mixed,
        };
        match dice.roll(14) {
            0..4 => Act::Snapshot(dice.roll(2), dice.roll(3)),
            4 | 5 => Act::Forget(dice.roll(100)),
            6 => Act::Unforget(dice.roll(100)),
            7 => Act::Prune { now: false },
            8 | 9 => Act::Prune { now: true },
            10 | 11 => Act::Copy,
            12 => {
                let replace = dice.roll(2) == 0;
                let mends = Act::RepairFromAway { replace };
                other(Act::PruneAway, mends, Act::PruneAway)
            }
            _ => other(Act::Repair, Act::Repair, Act::Reencrypt),
        }
    }
}

fn copying(dice: &mut Dice) -> Vec<Vec<Act>> {
    let (family, seed) = (dice.roll(2), 3 + dice.roll(3));
    let mut prunes = vec![Act::PruneAway; 3];
    if dice.roll(2) == 0 {
        prunes.push(Act::Unforget(0));
    }
    vec![vec![Act::Snapshot(family, seed), Act::Copy], prunes]
}

/// Everything in it is read, and good bytes come from another copy.
pub(crate) fn mending(from: &Repository, replace: bool) -> RepairOptions<'_> {
    RepairOptions {
        verify: VerifyOptions {
            depth: VerifyDepth::ReadData(DataSubset::All),
            snapshots: Vec::new(),
        },
        other_copy: Some(from),
        replace,
        ..looking()
    }
}

pub(crate) fn repair(repository: &Repository, options: &RepairOptions<'_>) -> Result<(), Error> {
    let keeper = repository.load_keeper(None, "repair")?;
    let done = repository.repair(options, Some(&keeper), &Progress::default());
    done.map(drop)
}

fn prune(repository: &Repository, grace: TimeDelta) -> Result<(), Error> {
    let options = PruneOptions {
        grace,
        repack_below: 90,
        ..options()
    };
    prune_with(repository, &options).map(drop)
}

/// Damages one of the objects that are away as well; whether there was any. What it chooses does not depend on
/// names, which are random.
fn damage(home: &MemoryBackend, away: &MemoryBackend, number: u64) -> bool {
    let good = away.tamper(|objects| objects.clone());
    home.tamper(|objects| {
        let relied_on = ["packs/", "index/", "snapshots/"];
        let mut chosen: Vec<(&str, usize, ObjectKey)> = objects
            .iter()
            .filter(|(key, bytes)| good.get(key) == Some(bytes))
            .filter_map(|(key, bytes)| {
                let directory = relied_on.iter().find(|f| key.as_str().starts_with(**f))?;
                Some((*directory, bytes.len(), key.clone()))
            })
            .collect();
        chosen.sort();
        let place = usize::try_from(number).unwrap();
        let Some((directory, length, key)) = chosen.get(place % chosen.len().max(1)) else {
            return false;
        };
        // A snapshot that is gone without a trace is nobody's any more.
        if number.is_multiple_of(3) && *directory != "snapshots/" {
            objects.remove(key);
        } else if let Some(bytes) = objects.get_mut(key) {
            bytes[place * 7919 % length] ^= 1;
        }
        true
    })
}

/// Hides a root or a tombstone.
fn hide(storage: &MemoryBackend, number: u64) -> Option<(ObjectKey, Vec<u8>)> {
    storage.tamper(|objects| {
        let may_hide = |key: &&ObjectKey| {
            let mut directories = ["snapshots/", "tombstones/"].iter();
            directories.any(|directory| key.as_str().starts_with(directory))
        };
        let mut keys: Vec<ObjectKey> = objects.keys().filter(may_hide).cloned().collect();
        let place = usize::try_from(number).unwrap() % keys.len().max(1);
        let key = (!keys.is_empty()).then(|| keys.swap_remove(place))?;
        let bytes = objects.remove(&key)?;
        Some((key, bytes))
    })
}

/// A machine that is at work.
pub(crate) struct Worker<'a> {
    pub(crate) world: &'a World,
    /// The host that was broken into.
    pub(crate) mallory: &'a Host,
    pub(crate) stage: Arc<Stage>,
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) machine: usize,
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.stage.over(self.machine);
    }
}

impl Worker<'_> {
    fn way(&self, place: Place) -> Way {
        Way {
            stage: Arc::clone(&self.stage),
            machine: self.machine,
            place,
        }
    }

    fn open(&self, place: Place, recovery: bool) -> Result<Repository, Error> {
        let watch = Watch {
            stage: Arc::clone(&self.stage),
            machine: self.machine,
        };
        self.world
            .try_open_at(self.way(place), Arc::new(watch), recovery)
    }

    /// Taken only to look: a machine that waits for the storage must not hold it.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Does something. What fails has failed: a machine tells nobody, and does the next thing.
    pub(crate) fn attempt(&self, act: Act) {
        let told = match self.act(act) {
            Ok(()) => "done".to_owned(),
            Err(error) => format!("{error}"),
        };
        self.stage.note(format!("{} {act:?}: {told}", self.machine));
    }

    fn act(&self, act: Act) -> Result<(), Error> {
        let home = |recovery| self.open(Place::Home, recovery);
        match act {
            Act::Snapshot(family, seed) => take(&home(false)?, family, seed, &self.books),
            Act::Forget(number) => self.forget(&home(false)?, number),
            Act::Unforget(number) => self.unforget(&home(false)?, number),
            Act::Prune { now: true } => prune(&home(false)?, TimeDelta::zero()),
            Act::Prune { now: false } => prune(&home(false)?, options().grace),
            Act::PruneAway => prune(&self.open(Place::Away, false)?, TimeDelta::zero()),
            Act::Copy => self.copy(&home(false)?),
            Act::Repair => repair(&home(false)?, &looking()),
            Act::RepairFromAway { replace } => {
                let (damaged, good) = (home(true)?, self.open(Place::Away, true)?);
                repair(&damaged, &mending(&good, replace))
            }
            Act::Damage(number) => {
                // At some moment between what others do.
                self.way(Place::Home)
                    .size(&ObjectKey::new("reprise.json").unwrap())
                    .ok();
                let done = damage(&self.stage.storage, &self.stage.away, number);
                self.books().damaged += u64::from(done);
                Ok(())
            }
            Act::Withhold(number) => {
                self.way(Place::Home)
                    .size(&ObjectKey::new("reprise.json").unwrap())
                    .ok();
                let hidden = hide(&self.stage.storage, number);
                self.books().withheld.extend(hidden);
                Ok(())
            }
            Act::Sabotage(number) => self.sabotage(number),
            Act::Reencrypt => {
                let (_, report) = reencrypt(&home(true)?)?;
                self.books().replaced += report.packs;
                Ok(())
            }
        }
    }

    fn sabotage(&self, number: u64) -> Result<(), Error> {
        let watch = Watch {
            stage: Arc::clone(&self.stage),
            machine: self.machine,
        };
        let way = Arc::new(self.way(Place::Home));
        let opened = Repository::open_with_clock(way, &self.mallory.options(), Arc::new(watch))?;
        let thief = CompromisedHost::new(opened);
        let stored = match number {
            0 => thief.put_sweep_of_everything(),
            1 => thief.put_newer_record("sweeps"),
            2 => thief.put_unreadable_record("sweeps"),
            3 => thief.put_newer_record("leases"),
            4 => thief.put_unreadable_record("leases"),
            _ => thief.put_lease("00", TimeDelta::hours(24)),
        };
        stored?;
        self.books().sabotaged += 1;
        Ok(())
    }

    fn forget(&self, repository: &Repository, number: u64) -> Result<(), Error> {
        let chosen = self.books().chosen(number, Fate::Kept);
        let Some(id) = chosen else { return Ok(()) };
        self.books().begin_to_forget(id);
        forget(repository, id)?;
        self.books().set(id, Fate::Forgotten);
        Ok(())
    }

    fn unforget(&self, repository: &Repository, number: u64) -> Result<(), Error> {
        let chosen = self.books().chosen(number, Fate::Forgotten);
        let Some(id) = chosen else { return Ok(()) };
        self.books().set(id, Fate::Unknown);
        unforget(repository, id)?;
        self.books().set(id, Fate::Kept);
        Ok(())
    }

    /// What was kept before it, and is there after an acknowledged copy, is kept there too.
    fn copy(&self, repository: &Repository) -> Result<(), Error> {
        let before = self.books().kept();
        let report = repository.copy_to(&self.way(Place::Away), &Progress::default())?;
        if report.not_copied.is_empty() {
            for id in self.books().brought_away(before) {
                let key = ObjectKey::new(format!("snapshots/{id}")).unwrap();
                assert!(self.stage.away.size(&key).is_ok(), "{id} was not copied");
            }
        }
        Ok(())
    }
}

/// Takes a snapshot that must come back from then on.
pub(crate) fn take(
    repository: &Repository,
    family: u64,
    seed: u64,
    books: &Mutex<Books>,
) -> Result<(), Error> {
    let tree = small_tree(family, seed);
    let id: ObjectId = snapshot(repository, "source", &tree)?.snapshot.id;
    let mut books = books.lock().unwrap();
    books.snapshots.insert(id, (tree, Fate::Kept));
    Ok(())
}
