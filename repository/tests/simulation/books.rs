//! What must come back, as those know it who were told.

use std::collections::BTreeMap;

use reprise_repository::ObjectId;
use reprise_repository::backend::ObjectKey;

use super::support::Tree;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    /// Someone tried to forget it, or to bring it back, and heard nothing: anything may be true.
    Unknown,
    Forgotten,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    pub(crate) snapshots: BTreeMap<ObjectId, (Tree, Fate)>,
    /// How often someone tried to forget each.
    forgets: BTreeMap<ObjectId, u64>,
    /// Those that an acknowledged copy has brought away, and how often they had been forgotten by then.
    away: BTreeMap<ObjectId, u64>,
    /// How many packs were encrypted anew.
    pub(crate) replaced: u64,
    /// How many objects were damaged.
    pub(crate) damaged: u64,
    /// What the storage hides, and how much that was.
    pub(crate) withheld: Vec<(ObjectKey, Vec<u8>)>,
    /// How many records a hostile writer stored.
    pub(crate) sabotaged: u64,
}

impl Books {
    pub(crate) fn begin_to_forget(&mut self, id: ObjectId) {
        *self.forgets.entry(id).or_default() += 1;
        self.set(id, Fate::Unknown);
    }

    pub(crate) fn set(&mut self, id: ObjectId, fate: Fate) {
        if let Some(entry) = self.snapshots.get_mut(&id) {
            entry.1 = fate;
        }
    }

    /// What is kept now, with how often each was forgotten.
    pub(crate) fn kept(&self) -> Vec<(ObjectId, u64)> {
        let forgets = |id| self.forgets.get(id).copied().unwrap_or_default();
        self.snapshots
            .iter()
            .filter(|(_, (_, fate))| *fate == Fate::Kept)
            .map(|(id, _)| (*id, forgets(id)))
            .collect()
    }

    pub(crate) fn is_kept(&self, id: &ObjectId) -> bool {
        let entry = self.snapshots.get(id);
        entry.is_some_and(|(_, fate)| *fate == Fate::Kept)
    }

    /// Notes what an acknowledged copy has brought away: what was kept before and after it.
    pub(crate) fn brought_away(&mut self, before: Vec<(ObjectId, u64)>) -> Vec<ObjectId> {
        let after = self.kept();
        let brought = before.into_iter().filter(|one| after.contains(one));
        let brought: Vec<_> = brought.collect();
        self.away.extend(brought.iter().copied());
        brought.into_iter().map(|(id, _)| id).collect()
    }

    /// What was brought away and never forgotten since.
    pub(crate) fn kept_away(&self) -> Vec<ObjectId> {
        let kept = self.kept().into_iter();
        kept.filter(|(id, forgets)| self.away.get(id) == Some(forgets))
            .map(|(id, _)| id)
            .collect()
    }

    pub(crate) fn copies(&self) -> usize {
        self.away.len()
    }

    /// A snapshot with a fate, in the order of their contents, as their names are random.
    pub(crate) fn chosen(&self, number: u64, fate: Fate) -> Option<ObjectId> {
        let of_fate = self.snapshots.iter().filter(|(_, (_, is))| *is == fate);
        let mut ids: Vec<_> = of_fate.map(|(id, (tree, _))| (tree, *id)).collect();
        ids.sort();
        let (_, id) = ids.get(usize::try_from(number).unwrap() % ids.len().max(1))?;
        Some(*id)
    }
}
