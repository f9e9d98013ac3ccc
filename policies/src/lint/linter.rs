//! Warnings about what is allowed but unwise, each with its position.

use std::path::Path;

use crate::model::policy::Policy;
use crate::retention::{HOLD_TAG, Hold};
use crate::values::names::quote;
use crate::values::secret::IdentityRef;
use crate::yaml::document::{YamlMark, YamlNode};
use crate::yaml::report::{FindingReport, Severity};

/// Checks a decoded policy. `root` is its tree, for the positions.
pub(crate) fn lint_policy(policy: &Policy, root: &YamlNode, report: &mut FindingReport) {
    let mut lint = PolicyLinter {
        policy,
        root,
        report,
    };
    lint.lint_repositories();
    lint.lint_storage();
    lint.lint_identities();
    lint.lint_sources();
    lint.lint_databases();
    lint.lint_copies();
    lint.lint_failure_domains();
    lint.lint_drills();
    lint.lint_schedules();
    lint.lint_unused_retention();
    lint.lint_holds();
}

pub(crate) struct PolicyLinter<'a> {
    pub(crate) policy: &'a Policy,
    root: &'a YamlNode,
    report: &'a mut FindingReport,
}

impl PolicyLinter<'_> {
    /// Whether a key exists at this path.
    pub(crate) fn is_given(&self, path: &[&str]) -> bool {
        find_mark(self.root, path).is_some()
    }

    /// Whether the value at this path is this text.
    pub(crate) fn is_text_at(&self, path: &[String], text: &str) -> bool {
        let found = path
            .iter()
            .try_fold(self.root, |node, name| Some(node.entry(name)?.1));
        found.and_then(YamlNode::text) == Some(text)
    }

    pub(crate) fn add_warning(&mut self, path: &[&str], message: String, help: &str) {
        if let Some(mark) = find_mark(self.root, path) {
            self.report.add_finding(
                Severity::Warning,
                mark,
                &path.join("."),
                message,
                Some(help.to_owned()),
            );
        }
    }

    fn lint_repositories(&mut self) {
        for (name, repository) in &self.policy.repositories {
            if repository
                .create
                .as_ref()
                .is_some_and(|create| create.single_recipient)
            {
                let message = "only one key will be able to read this repository".to_owned();
                let help = "if that key is lost, no snapshot can be read; add a second recipient and keep it elsewhere";
                self.add_warning(
                    &["repositories", name, "create", "single_recipient"],
                    message,
                    help,
                );
            }
            if repository.create.as_ref().is_some_and(|create| {
                create.keeper.is_none()
                    && create.escrow.is_none()
                    && create.generate_identities.is_empty()
            }) {
                let message =
                    "the host that creates this repository will be its only keeper".to_owned();
                let help = "if that host is lost, nobody can write to the repository any more; give `create.keeper: FILE` \
                            and move that file off the host, or `create.escrow`";
                self.add_warning(&["repositories", name, "create"], message, help);
            }
            if !self.is_used(name) {
                let message = format!("no source is stored in the repository `{name}`");
                self.add_warning(
                    &["repositories", name],
                    message,
                    "name it in a source's `repositories`, or remove it",
                );
            }
        }
    }

    /// Whether anything is stored in a repository.
    fn is_used(&self, repository: &str) -> bool {
        let policy = self.policy;
        let mut stored = policy
            .sources
            .values()
            .flat_map(|source| &source.repositories);
        stored.any(|name| name == repository)
            || policy.copies.values().any(|copy| copy.to == repository)
    }

    /// A key that is stored in what it decrypts protects nothing.
    fn lint_identities(&mut self) {
        let message = "this identity file is inside the repository that it decrypts".to_owned();
        let help = "whoever can copy the repository gets the key with it; keep it elsewhere";
        for (name, repository) in &self.policy.repositories {
            let inside = |file: &Path| {
                repository
                    .url
                    .directory()
                    .is_some_and(|folder| file.starts_with(folder))
            };
            let named = |identity: &Option<IdentityRef>| matches!(identity, Some(IdentityRef::File(file)) if inside(file));
            if named(&repository.identity) {
                self.add_warning(&["repositories", name, "identity"], message.clone(), help);
            }
            if repository
                .create
                .iter()
                .flat_map(|create| &create.generate_identities)
                .any(|file| inside(file))
            {
                self.add_warning(
                    &["repositories", name, "create", "generate_identities"],
                    message.clone(),
                    help,
                );
            }
            for (drill_name, drill) in &self.policy.drills {
                if drill.repository == *name && named(&drill.identity) {
                    self.add_warning(&["drills", drill_name, "identity"], message.clone(), help);
                }
            }
        }
    }

    fn lint_sources(&mut self) {
        for (name, source) in &self.policy.sources {
            if source.retention.is_none() {
                let message = format!(
                    "the source `{name}` has no retention, so nothing of it is ever forgotten"
                );
                self.add_warning(
                    &["sources", name],
                    message,
                    "add `retention:` with a name or rules",
                );
            }
            if !self
                .policy
                .drills
                .values()
                .any(|drill| drill.source == *name)
            {
                let message = format!("no drill proves that the source `{name}` can be restored");
                self.add_warning(&["sources", name], message, "add one under `drills:`");
            }
        }
    }

    fn lint_drills(&mut self) {
        for (name, drill) in &self.policy.drills {
            if drill.checks.is_empty() && drill.queries.is_empty() {
                let message = format!("the drill `{name}` restores but does not check the data");
                self.add_warning(
                    &["drills", name],
                    message,
                    "add `checks:` or `queries:` that would fail if the data were wrong",
                );
            }
            if drill.identity.is_none() {
                let message = format!("the drill `{name}` has no identity to read with");
                self.add_warning(
                    &["drills", name],
                    message,
                    "add `identity:` here or at the repository, or give it with `--identity`",
                );
            }
        }
    }

    fn lint_holds(&mut self) {
        for (name, source) in &self.policy.sources {
            let hold = source.tags.get(HOLD_TAG);
            let hold = hold.map(|text| Hold::parse(text, &self.policy.time_zone));
            if let Some(Hold::Invalid(text)) = hold {
                let message = format!("{} is not a valid hold; treated as forever", quote(&text));
                self.add_warning(
                    &["sources", name, "tags", HOLD_TAG],
                    message,
                    "write `forever`, or the last day as in `until 2027-01-01`",
                );
            }
        }
    }

    fn lint_unused_retention(&mut self) {
        let Some((_, sources)) = self.root.entry("sources") else {
            return;
        };
        for name in self.policy.retention.keys() {
            let used = self.policy.sources.keys().any(|source| {
                let retention = sources
                    .entry(source)
                    .and_then(|(_, source)| source.entry("retention"));
                retention.is_some_and(|(_, value)| value.text() == Some(name))
            });
            if !used {
                let message = format!("no source uses the retention `{name}`");
                self.add_warning(
                    &["retention", name],
                    message,
                    "name it in a source's `retention`, or remove it",
                );
            }
        }
    }
}

/// The position of the key at a path.
fn find_mark(root: &YamlNode, path: &[&str]) -> Option<YamlMark> {
    let (last, parents) = path.split_last()?;
    let mut node = root;
    for name in parents {
        node = node.entry(name)?.1;
    }
    node.entry(last).map(|(key, _)| key.mark)
}
