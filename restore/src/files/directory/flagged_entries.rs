//! Entries with flags that a restore does not set.

use reprise_repository::Entry;

/// Entries with flags that keep them from being changed. They are not set: nobody could replace or remove what was
/// restored, not even the next restore.
#[derive(Debug, Default)]
pub(crate) struct FlaggedEntries {
    count: u64,
    first: Option<String>,
}

impl FlaggedEntries {
    pub(crate) fn add_entry(&mut self, entry: &Entry) {
        if !entry.flags.is_empty() {
            self.count += 1;
            self.first.get_or_insert_with(|| {
                format!("`{}` ({})", entry.path.display(), entry.flags.join(", "))
            });
        }
    }

    pub(crate) fn note(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.count {
            1 => format!("{first} has flags that are not set here: see `chattr`"),
            count => format!(
                "{count} entries have flags that are not set here, such as {first}: `ls` lists them, see `chattr`"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_repository::{EntryKind, RawText};

    #[test]
    fn flags_that_are_not_set_are_named() {
        let mut flagged = FlaggedEntries::default();
        let mut entry = Entry::new(RawText::from("etc/hosts"), EntryKind::File);
        flagged.add_entry(&entry);
        assert_eq!(flagged.note(), None);
        entry.flags = vec!["immutable".to_owned()];
        flagged.add_entry(&entry);
        let note = flagged.note().unwrap();
        assert!(note.contains("`etc/hosts` (immutable)"), "{note}");
        flagged.add_entry(&entry);
        let note = flagged.note().unwrap();
        assert!(note.starts_with("2 entries"), "{note}");
    }
}
