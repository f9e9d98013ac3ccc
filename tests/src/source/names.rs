//! How names are made: functions of one word, types of the same name.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::SourceFile;

/// What every module may define under the same name, as its path says whose it is.
const SHARED_NAMES: [&str; 2] = ["Error", "Result"];

/// How many functions there are, and how many have a name of one word.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct NameCounts {
    /// All functions and methods.
    pub functions: usize,
    /// Those whose name is one word.
    pub one_word: usize,
}

impl NameCounts {
    /// Counts the functions of files, with the methods of traits that they implement.
    #[must_use]
    pub fn of<'a>(files: impl IntoIterator<Item = &'a SourceFile>) -> Self {
        let mut counts = Self::default();
        for file in files {
            for name in file.functions.iter().chain(&file.trait_methods) {
                counts.functions += 1;
                counts.one_word += usize::from(!name.trim_matches('_').contains('_'));
            }
        }
        counts
    }

    /// The share of names of one word, in percent.
    #[must_use]
    pub fn one_word_percent(self) -> usize {
        (100 * self.one_word).div_ceil(self.functions.max(1))
    }
}

/// Names of types that stand in several files, with the files.
#[must_use]
pub fn duplicate_types<'a>(
    files: impl IntoIterator<Item = &'a SourceFile>,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut files_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        for name in &file.types {
            files_of.entry(name).or_default().insert(&file.path);
        }
    }
    files_of.retain(|name, files| files.len() > 1 && !SHARED_NAMES.contains(name));
    files_of
}
