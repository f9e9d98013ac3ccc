//! Which attributes of entries are restored, and so compared: what was asked for, as far as this process may.

use std::sync::atomic::{AtomicU64, Ordering};

use reprise_repository::{Entry, EntryKind};
use rustix::fs::Stat;

use crate::files::directory::process_rights::ProcessRights;
use crate::files::options::{AttributeSelection, SpecialFiles};

/// The bits of a mode that give a program the rights of the file's owner or group.
const SET_ID_BITS: u32 = 0o6000;

/// Which attributes are restored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttributePolicy {
    selection: AttributeSelection,
    rights: ProcessRights,
}

/// How the owner of an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerChange {
    /// To the entry's owner and group.
    Set,
    /// As far as an ordinary user may: to a group of its own.
    TryGroup,
    /// Not at all.
    Leave,
}

impl AttributePolicy {
    pub(crate) fn new(selection: AttributeSelection, rights: ProcessRights) -> Self {
        Self { selection, rights }
    }

    pub(crate) fn rights(&self) -> &ProcessRights {
        &self.rights
    }

    pub(crate) fn owner_change(&self) -> OwnerChange {
        match (self.selection.owners, self.rights.chown) {
            (false, _) => OwnerChange::Leave,
            (true, true) => OwnerChange::Set,
            (true, false) => OwnerChange::TryGroup,
        }
    }

    /// The mode to set. A program whose owner is another than it was must not run with that owner's rights.
    pub(crate) fn mode_of(&self, entry: &Entry, owner_is_right: bool) -> u32 {
        let keeps = self.selection.set_id_bits || entry.kind == EntryKind::Directory;
        if keeps && owner_is_right {
            entry.mode
        } else {
            entry.mode & !SET_ID_BITS
        }
    }

    pub(crate) fn restores_attribute(&self, name: &[u8]) -> bool {
        let privileged = name.starts_with(b"trusted.") || name.starts_with(b"security.");
        match (self.selection.xattrs, self.selection.only_possible) {
            (false, _) => false,
            (true, true) if privileged => self.rights.administrate,
            (true, _) => true,
        }
    }

    pub(crate) fn restores_kind(&self, kind: EntryKind) -> bool {
        let device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let special = device || matches!(kind, EntryKind::Fifo | EntryKind::Socket);
        match self.selection.specials {
            SpecialFiles::Skip => !special,
            SpecialFiles::Restore if self.selection.only_possible => {
                !device || self.rights.make_devices
            }
            SpecialFiles::Restore => true,
        }
    }
}

/// Whether an entry belongs to whom it belonged.
pub(crate) fn has_owner(stat: &Stat, entry: &Entry) -> bool {
    (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid)
}

/// What the policy left out, counted.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) owners: AtomicU64,
    pub(crate) set_id_bits: AtomicU64,
    pub(crate) xattrs: AtomicU64,
    pub(crate) specials: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

impl LeftOut {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A sentence for each kind of what was left out; `done` is `restored` or `compared`.
    pub(crate) fn describe(&self, policy: &AttributePolicy, done: &str) -> Vec<String> {
        let ask = |asked: bool, otherwise: &'static str| {
            if asked { "as asked for" } else { otherwise }
        };
        let selection = &policy.selection;
        let kinds = [
            (
                &self.owners,
                "owner and group",
                ask(!selection.owners, "this needs root (CAP_CHOWN)"),
            ),
            (
                &self.set_id_bits,
                "set-user-id and set-group-id bits",
                ask(
                    !selection.set_id_bits,
                    "they belong to an owner that was not restored",
                ),
            ),
            (
                &self.xattrs,
                "extended attributes",
                ask(!selection.xattrs, "this needs root (CAP_SYS_ADMIN)"),
            ),
            (
                &self.specials,
                "devices, fifos and sockets",
                ask(
                    selection.specials == SpecialFiles::Skip,
                    "devices need root (CAP_MKNOD)",
                ),
            ),
            (
                &self.unreadable,
                "what cannot be read with its mode",
                "this needs root (CAP_DAC_OVERRIDE)",
            ),
        ];
        kinds
            .into_iter()
            .filter_map(|(counter, what, why)| {
                let count = counter.load(Ordering::Relaxed);
                let entries = if count == 1 { "entry" } else { "entries" };
                (count > 0).then(|| format!("not {done}: {what} of {count} {entries}; {why}"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_repository::RawText;

    fn rights(all: bool) -> ProcessRights {
        ProcessRights {
            chown: all,
            override_modes: all,
            make_devices: all,
            administrate: all,
        }
    }

    #[test]
    fn a_program_runs_as_its_owner_only_if_that_owner_came_back() {
        let entry = Entry {
            mode: 0o4755,
            ..Entry::new(RawText::from("su"), EntryKind::File)
        };
        let everything = AttributeSelection::default();
        let root = AttributePolicy::new(everything, rights(true));
        let user = AttributePolicy::new(everything, rights(false));
        assert_eq!(root.mode_of(&entry, true), 0o4755);
        assert_eq!(user.mode_of(&entry, true), 0o4755);
        assert_eq!(user.mode_of(&entry, false), 0o755);
        let without = AttributeSelection {
            set_id_bits: false,
            ..everything
        };
        let root = AttributePolicy::new(without, rights(true));
        assert_eq!(root.mode_of(&entry, true), 0o755);
    }

    #[test]
    fn a_drill_leaves_out_what_it_may_not_make_and_says_so() {
        let selection = AttributeSelection {
            only_possible: true,
            ..AttributeSelection::default()
        };
        let user = AttributePolicy::new(selection, rights(false));
        assert!(!user.restores_kind(EntryKind::BlockDevice));
        assert!(user.restores_kind(EntryKind::Fifo));
        assert!(!user.restores_attribute(b"security.selinux"));
        assert!(user.restores_attribute(b"user.note"));
        let left_out = LeftOut::default();
        LeftOut::count(&left_out.specials);
        let lines = left_out.describe(&user, "compared");
        assert_eq!(
            lines,
            ["not compared: devices, fifos and sockets of 1 entry; devices need root (CAP_MKNOD)"]
        );
    }
}
