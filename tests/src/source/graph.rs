//! Imports between the files of a crate, and the cycles among them.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::Resolver;
use super::parse::SourceFile;

/// Which file of a crate imports from which.
#[derive(Debug)]
pub struct ImportGraph {
    /// By index of the file, the indices of those that it uses.
    pub uses: Vec<BTreeSet<usize>>,
}

impl ImportGraph {
    /// The imports between the files of one crate.
    #[must_use]
    pub fn new(files: &[SourceFile]) -> Self {
        let resolver = Resolver::new(files);
        let uses = files.iter().enumerate().map(|(index, file)| {
            let targets = file.imports.iter();
            targets
                .filter_map(|import| resolver.target(index, import))
                .collect()
        });
        Self {
            uses: uses.collect(),
        }
    }

    /// The imports between groups of files, such as directories; those within a group are left out.
    #[must_use]
    pub fn group_by<'a>(
        &self,
        group: impl Fn(usize) -> &'a str,
    ) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, uses) in self.uses.iter().enumerate() {
            let from = group(index);
            let targets = groups.entry(from).or_default();
            targets.extend(
                uses.iter()
                    .map(|target| group(*target))
                    .filter(|to| *to != from),
            );
        }
        groups
    }
}

/// The cycles of a graph: its strongly connected components of more than one node, largest first.
#[must_use]
pub fn cycles(uses: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let reach: Vec<BTreeSet<usize>> = (0..uses.len()).map(|node| reachable(uses, node)).collect();
    let mut seen = BTreeSet::new();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for node in 0..uses.len() {
        if seen.contains(&node) {
            continue;
        }
        let members = reach[node]
            .iter()
            .filter(|other| reach[**other].contains(&node));
        let component: Vec<usize> = members.copied().collect();
        seen.extend(component.iter().copied());
        if component.len() > 1 {
            found.push(component);
        }
    }
    found.sort_by_key(|component| std::cmp::Reverse(component.len()));
    found
}

fn reachable(uses: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<usize> = uses[from].iter().copied().collect();
    while let Some(node) = waiting.pop() {
        if found.insert(node) {
            waiting.extend(uses[node].iter().copied());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_found_with_all_its_members() {
        let uses = [&[1][..], &[2], &[0, 3], &[4], &[], &[5, 3]];
        let uses: Vec<BTreeSet<usize>> = uses
            .iter()
            .map(|targets| targets.iter().copied().collect())
            .collect();
        assert_eq!(cycles(&uses), [vec![0, 1, 2]]);
    }
}
