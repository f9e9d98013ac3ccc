//! What a restore could not do, by cause.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, OnceLock, PoisonError};

use reprise_repository::{PossibleReaders, RawText};
use serde::Serialize;

/// What a problem means for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Consequence {
    /// Its stored data is damaged or lost: it is not restored.
    Damaged,
    /// It is not restored.
    Missing,
    /// It is restored, but not as it was.
    Altered,
}

/// What of an entry is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aspect {
    /// The entry as a whole.
    Entry,
    /// Owner and group.
    Owner,
    /// Mode.
    Mode,
    /// Extended attributes.
    Xattrs,
    /// Time of its last change.
    Time,
    /// That it is the same file as another entry.
    Link,
}

/// Entries with the same problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemGroup {
    /// What it means for them.
    pub consequence: Consequence,
    /// What happened.
    pub cause: String,
    /// All of them.
    pub paths: Vec<RawText>,
    #[serde(skip)]
    aspect: Aspect,
}

impl ProblemGroup {
    /// Says how many entries it is about, what that means for them, and why.
    #[must_use]
    pub fn describe(&self) -> String {
        let consequence = match (self.consequence, self.paths.len()) {
            (Consequence::Damaged, 1) => {
                "1 entry is damaged in the repository and not restored".to_owned()
            }
            (Consequence::Damaged, n) => {
                format!("{n} entries are damaged in the repository and not restored")
            }
            (Consequence::Missing, 1) => "1 entry is not restored".to_owned(),
            (Consequence::Missing, n) => format!("{n} entries are not restored"),
            (Consequence::Altered, 1) => "1 entry is not as it was".to_owned(),
            (Consequence::Altered, n) => format!("{n} entries are not as they were"),
        };
        format!("{consequence}: {}", self.cause)
    }
}

/// Collects problems while a restore runs on several threads.
#[derive(Debug, Default)]
pub(super) struct ProblemLog {
    groups: Mutex<BTreeMap<(Consequence, Aspect, String), Vec<RawText>>>,
    /// Who may read what none of the given identities decrypts.
    missing_identity: OnceLock<PossibleReaders>,
}

impl ProblemLog {
    pub(super) fn add(
        &self,
        path: &RawText,
        (consequence, aspect): (Consequence, Aspect),
        cause: impl Into<String>,
    ) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups
            .entry((consequence, aspect, cause.into()))
            .or_default()
            .push(path.clone());
    }

    pub(super) fn add_missing(&self, path: &RawText, cause: impl Into<String>) {
        self.add(path, (Consequence::Missing, Aspect::Entry), cause);
    }

    /// An entry whose content is encrypted to others than the given identities.
    pub(super) fn add_unreadable(&self, path: &RawText, readers: &PossibleReaders) {
        let recipients = readers.recipients.join(" or ");
        let cause = format!(
            "none of the given identities can decrypt its content, which needs that of {recipients}"
        );
        self.add_missing(path, cause);
        self.missing_identity.get_or_init(|| readers.clone());
    }

    pub(super) fn missing_identity(&self) -> Option<PossibleReaders> {
        self.missing_identity.get().cloned()
    }

    pub(super) fn add_damaged(&self, path: &RawText, cause: impl Into<String>) {
        self.add(path, (Consequence::Damaged, Aspect::Entry), cause);
    }

    pub(super) fn add_altered(
        &self,
        path: &RawText,
        failed: impl IntoIterator<Item = (Aspect, String)>,
    ) {
        for (aspect, cause) in failed {
            self.add(path, (Consequence::Altered, aspect), cause);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.is_empty()
    }

    /// Everything by consequence, the most frequent cause first.
    pub(super) fn into_groups(self) -> Vec<ProblemGroup> {
        let groups = self
            .groups
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut groups: Vec<_> = groups
            .into_iter()
            .map(|((consequence, aspect, cause), mut paths)| {
                paths.sort_by(|a, b| reprise_repository::path_order(a.as_bytes(), b.as_bytes()));
                ProblemGroup {
                    consequence,
                    cause,
                    paths,
                    aspect,
                }
            })
            .collect();
        groups.sort_by_key(|group| (group.consequence, std::cmp::Reverse(group.paths.len())));
        groups
    }
}

/// What a comparison after a restore need not say again.
#[derive(Debug, Default)]
pub(super) struct KnownProblems<'a> {
    aspects: HashMap<&'a [u8], Vec<Aspect>>,
}

impl<'a> KnownProblems<'a> {
    pub(super) fn of(groups: &'a [ProblemGroup]) -> Self {
        let mut aspects: HashMap<&[u8], Vec<Aspect>> = HashMap::new();
        for group in groups {
            for path in &group.paths {
                aspects
                    .entry(path.as_bytes())
                    .or_default()
                    .push(group.aspect);
            }
        }
        Self { aspects }
    }

    pub(super) fn contains(&self, path: &RawText, aspect: Aspect) -> bool {
        self.aspects
            .get(path.as_bytes())
            .is_some_and(|known| known.contains(&aspect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_causes_are_one_line_and_damage_comes_first() {
        let log = ProblemLog::default();
        for name in ["b", "a"] {
            log.add_missing(&RawText::from(name), "refused");
        }
        log.add_altered(
            &RawText::from("c"),
            [(Aspect::Owner, "its owner".to_owned())],
        );
        log.add_damaged(&RawText::from("d"), "a pack is lost");
        let groups = log.into_groups();
        let lines: Vec<_> = groups.iter().map(ProblemGroup::describe).collect();
        assert_eq!(
            lines,
            [
                "1 entry is damaged in the repository and not restored: a pack is lost",
                "2 entries are not restored: refused",
                "1 entry is not as it was: its owner",
            ]
        );
        assert_eq!(groups[1].paths, ["a", "b"].map(RawText::from));
        let known = KnownProblems::of(&groups);
        assert!(known.contains(&RawText::from("c"), Aspect::Owner));
        assert!(!known.contains(&RawText::from("c"), Aspect::Mode));
    }
}
