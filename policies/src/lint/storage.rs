//! Warnings about how repositories store, what is copied between them, and which failure would destroy them all.

use std::collections::BTreeSet;
use std::fmt;

use crate::lint::linter::PolicyLinter;
use crate::model::policy::Policy;
use crate::model::repository::PolicyRepository;
use crate::model::source::PolicySource;
use crate::values::location::RepositoryLocation;
use crate::values::names::{join_names, quote};

/// Storage classes and access tiers whose objects must be restored for hours before they can be read.
const ARCHIVE_CLASSES: &[&str] = &["GLACIER", "DEEP_ARCHIVE", "Archive"];

impl PolicyLinter<'_> {
    /// Keys of a repository that have no effect, or too much.
    pub(crate) fn lint_storage(&mut self) {
        for (name, repository) in &self.policy.repositories {
            self.lint_useless_keys(name, repository);
            self.lint_archive_class(name, repository);
        }
    }

    fn lint_useless_keys(&mut self, name: &str, repository: &PolicyRepository) {
        let (place, useless): (_, &[&str]) = match repository.url {
            RepositoryLocation::Directory(_) => (
                "a local directory",
                &["lock_mode", "storage_class", "path_style", "allow_http"],
            ),
            RepositoryLocation::Azure { .. } => ("Azure", &["path_style"]),
            RepositoryLocation::S3 { .. } => ("S3", &[]),
        };
        for key in useless {
            let path = ["repositories", name, key];
            if self.is_given(&path) {
                let message = format!("`{key}` has no effect on {place}");
                self.add_warning(&path, message, "remove it");
            }
        }
        let path = ["repositories", name, "lock_mode"];
        let locks = repository.immutable_days.is_some() || useless.contains(&"lock_mode");
        if !locks && self.is_given(&path) {
            let message = "`lock_mode` has no effect without `immutable_days`".to_owned();
            self.add_warning(&path, message, "add `immutable_days`, or remove it");
        }
    }

    fn lint_archive_class(&mut self, name: &str, repository: &PolicyRepository) {
        let Some(class) = &repository.storage_class else {
            return;
        };
        let is_archive = ARCHIVE_CLASSES
            .iter()
            .any(|archive| class.eq_ignore_ascii_case(archive));
        if is_archive && repository.url.directory().is_none() {
            let message = format!(
                "packs in the storage class {} cannot be read immediately, so restore, verify and drills would fail",
                quote(class)
            );
            self.add_warning(
                &["repositories", name, "storage_class"],
                message,
                "choose a class that can be read at any time",
            );
        }
    }

    /// Whoever can damage the originals must not be able to write to the copy as well.
    pub(crate) fn lint_copies(&mut self) {
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
                    join_names(stored)
                );
                self.add_warning(
                    &["copies", name, "to"],
                    message,
                    "copy to a repository that only copies write to",
                );
            }
        }
    }

    /// Several copies that share one failure domain are one copy.
    pub(crate) fn lint_failure_domains(&mut self) {
        for (name, source) in &self.policy.sources {
            let domains: Vec<FailureDomain<'_>> = repositories_with_copies(self.policy, source)
                .into_iter()
                .filter_map(|place| self.policy.repositories.get(place))
                .map(FailureDomain::of_repository)
                .collect();
            if let [first, others @ ..] = domains.as_slice()
                && !others.is_empty()
                && others.iter().all(|other| other == first)
            {
                let message = format!("all copies of `{name}` share one failure domain ({first})");
                self.add_warning(
                    &["sources", name],
                    message,
                    "keep one elsewhere, or set `failure_domain` of the repositories",
                );
            }
        }
    }
}

/// The repositories that hold a source's snapshots: its own, and all that they are copied to from there.
fn repositories_with_copies<'a>(policy: &'a Policy, source: &'a PolicySource) -> BTreeSet<&'a str> {
    let mut waiting: Vec<&str> = source.repositories.iter().map(String::as_str).collect();
    let mut found = BTreeSet::new();
    while let Some(place) = waiting.pop() {
        // Copies may form a cycle.
        if found.insert(place) {
            let copies = policy.copies.values().filter(|copy| copy.from == place);
            waiting.extend(copies.map(|copy| copy.to.as_str()));
        }
    }
    found
}

/// The failure domain of a repository.
#[derive(Debug, PartialEq, Eq)]
enum FailureDomain<'a> {
    Label(&'a str),
    Host,
    Bucket(&'a str),
    Account(&'a str),
}

impl<'a> FailureDomain<'a> {
    fn of_repository(repository: &'a PolicyRepository) -> Self {
        if let Some(label) = &repository.failure_domain {
            return Self::Label(label);
        }
        match &repository.url {
            RepositoryLocation::Directory(_) => Self::Host,
            RepositoryLocation::S3 { bucket, .. } => Self::Bucket(bucket),
            RepositoryLocation::Azure { account, .. } => Self::Account(account),
        }
    }
}

impl fmt::Display for FailureDomain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => formatter.write_str(&quote(label)),
            Self::Host => formatter.write_str("this host"),
            Self::Bucket(bucket) => write!(formatter, "the bucket {}", quote(bucket)),
            Self::Account(account) => write!(formatter, "the storage account {}", quote(account)),
        }
    }
}
