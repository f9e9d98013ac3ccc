//! Warnings about how repositories store, what is copied between them, and what they would all be lost with.

use std::collections::BTreeSet;
use std::fmt;

use crate::lint::Lint;
use crate::location::RepositoryUrl;
use crate::names::{listed, quoted};
use crate::policy::Policy;
use crate::repository::Repository;
use crate::source::Source;

/// Storage classes and access tiers whose objects must be brought back for hours before they can be read.
const ARCHIVES: &[&str] = &["GLACIER", "DEEP_ARCHIVE", "Archive"];

impl Lint<'_> {
    /// Keys of a repository that do nothing, or too much.
    pub(crate) fn storage(&mut self) {
        for (name, repository) in &self.policy.repositories {
            self.useless_keys(name, repository);
            self.archive(name, repository);
        }
    }

    fn useless_keys(&mut self, name: &str, repository: &Repository) {
        let (place, useless): (_, &[&str]) = match repository.url {
            RepositoryUrl::Directory(_) => (
                "a local directory",
                &["lock_mode", "storage_class", "path_style"],
            ),
            RepositoryUrl::Azure { .. } => ("Azure", &["path_style"]),
            RepositoryUrl::S3 { .. } => ("S3", &[]),
        };
        for key in useless {
            let path = ["repositories", name, key];
            if self.is_given(&path) {
                let message = format!("`{key}` has no effect on {place}");
                self.warn(&path, message, "remove it");
            }
        }
        let path = ["repositories", name, "lock_mode"];
        let locks = repository.immutable_days.is_some() || useless.contains(&"lock_mode");
        if !locks && self.is_given(&path) {
            let message = "`lock_mode` has no effect without `immutable_days`".to_owned();
            self.warn(&path, message, "add `immutable_days`, or remove it");
        }
    }

    fn archive(&mut self, name: &str, repository: &Repository) {
        let Some(class) = &repository.storage_class else {
            return;
        };
        let is_archive = ARCHIVES
            .iter()
            .any(|archive| class.eq_ignore_ascii_case(archive));
        if is_archive && repository.url.directory().is_none() {
            let message = format!(
                "packs in the storage class {} cannot be read immediately, so restore, verify and drills would fail",
                quoted(class)
            );
            self.warn(
                &["repositories", name, "storage_class"],
                message,
                "choose a class that can be read at any time",
            );
        }
    }

    /// What spoils the originals must not be able to write into the copy as well.
    pub(crate) fn copies(&mut self) {
        for (name, copy) in &self.policy.copies {
            let stored: Vec<&str> = self
                .policy
                .sources
                .values()
                .filter(|source| source.repositories.contains(&copy.to))
                .map(|source| source.name.as_str())
                .collect();
            if !stored.is_empty() {
                let message = format!(
                    "sources also store directly in the target of this copy: {}",
                    listed(stored)
                );
                self.warn(
                    &["copies", name, "to"],
                    message,
                    "copy to a repository that only copies write to",
                );
            }
        }
    }

    /// Several copies that are lost together are one copy.
    pub(crate) fn failure_domains(&mut self) {
        for (name, source) in &self.policy.sources {
            let domains: Vec<Domain<'_>> = places(self.policy, source)
                .into_iter()
                .filter_map(|place| self.policy.repositories.get(place))
                .map(Domain::of)
                .collect();
            if let [first, others @ ..] = domains.as_slice()
                && !others.is_empty()
                && others.iter().all(|other| other == first)
            {
                let message = format!("all copies of `{name}` share one failure domain ({first})");
                self.warn(
                    &["sources", name],
                    message,
                    "keep one elsewhere, or set `failure_domain` of the repositories",
                );
            }
        }
    }
}

/// The repositories in which a source's snapshots end up: its own, and whatever they are copied to from there.
fn places<'a>(policy: &'a Policy, source: &'a Source) -> BTreeSet<&'a str> {
    let mut waiting: Vec<&str> = source.repositories.iter().map(String::as_str).collect();
    let mut found = BTreeSet::new();
    while let Some(place) = waiting.pop() {
        // Copies may go in a circle.
        if found.insert(place) {
            let copies = policy.copies.values().filter(|copy| copy.from == place);
            waiting.extend(copies.map(|copy| copy.to.as_str()));
        }
    }
    found
}

/// What a repository would be lost with.
#[derive(Debug, PartialEq, Eq)]
enum Domain<'a> {
    Label(&'a str),
    Host,
    Bucket(&'a str),
    Account(&'a str),
}

impl<'a> Domain<'a> {
    fn of(repository: &'a Repository) -> Self {
        if let Some(label) = &repository.failure_domain {
            return Self::Label(label);
        }
        match &repository.url {
            RepositoryUrl::Directory(_) => Self::Host,
            RepositoryUrl::S3 { bucket, .. } => Self::Bucket(bucket),
            RepositoryUrl::Azure { account, .. } => Self::Account(account),
        }
    }
}

impl fmt::Display for Domain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => formatter.write_str(&quoted(label)),
            Self::Host => formatter.write_str("this host"),
            Self::Bucket(bucket) => write!(formatter, "the bucket {}", quoted(bucket)),
            Self::Account(account) => write!(formatter, "the storage account {}", quoted(account)),
        }
    }
}
