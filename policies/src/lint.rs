//! What is allowed but unwise: warnings, each at its place.

use std::path::Path;

use crate::document::{Mark, Node};
use crate::names::quoted;
use crate::policy::Policy;
use crate::report::{Report, Severity};
use crate::retention::{HOLD_TAG, Hold};
use crate::secret::IdentityRef;

/// Looks at a policy that was decoded. `root` is its tree, for the places.
pub(crate) fn lint(policy: &Policy, root: &Node, report: &mut Report) {
    let mut lint = Lint {
        policy,
        root,
        report,
    };
    lint.repositories();
    lint.storage();
    lint.identities();
    lint.sources();
    lint.databases();
    lint.copies();
    lint.failure_domains();
    lint.drills();
    lint.unused_retention();
    lint.holds();
}

pub(crate) struct Lint<'a> {
    pub(crate) policy: &'a Policy,
    root: &'a Node,
    report: &'a mut Report,
}

impl Lint<'_> {
    /// Whether there is a key at this path.
    pub(crate) fn is_given(&self, path: &[&str]) -> bool {
        place(self.root, path).is_some()
    }

    pub(crate) fn warn(&mut self, path: &[&str], message: String, help: &str) {
        if let Some(mark) = place(self.root, path) {
            self.report.add(
                Severity::Warning,
                mark,
                &path.join("."),
                message,
                Some(help.to_owned()),
            );
        }
    }

    fn repositories(&mut self) {
        for (name, repository) in &self.policy.repositories {
            if repository
                .create
                .as_ref()
                .is_some_and(|create| create.single_recipient)
            {
                let message = "only one key will be able to read this repository".to_owned();
                let help = "if that key is lost, no snapshot can be read; add a second recipient and keep it elsewhere";
                self.warn(
                    &["repositories", name, "create", "single_recipient"],
                    message,
                    help,
                );
            }
            if !self.is_filled(name) {
                let message = format!("no source is stored in the repository `{name}`");
                self.warn(
                    &["repositories", name],
                    message,
                    "name it in a source's `repositories`, or remove it",
                );
            }
        }
    }

    /// Whether anything is put into a repository.
    fn is_filled(&self, repository: &str) -> bool {
        let policy = self.policy;
        let mut stored = policy
            .sources
            .values()
            .flat_map(|source| &source.repositories);
        stored.any(|name| name == repository)
            || policy.copies.values().any(|copy| copy.to == repository)
    }

    /// A key that lies in what it opens protects nothing.
    fn identities(&mut self) {
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
                self.warn(&["repositories", name, "identity"], message.clone(), help);
            }
            if repository
                .create
                .iter()
                .flat_map(|create| &create.generate_identities)
                .any(|file| inside(file))
            {
                self.warn(
                    &["repositories", name, "create", "generate_identities"],
                    message.clone(),
                    help,
                );
            }
            for (drill_name, drill) in &self.policy.drills {
                if drill.repository == *name && named(&drill.identity) {
                    self.warn(&["drills", drill_name, "identity"], message.clone(), help);
                }
            }
        }
    }

    fn sources(&mut self) {
        for (name, source) in &self.policy.sources {
            if source.retention.is_none() {
                let message = format!(
                    "the source `{name}` has no retention, so nothing of it is ever forgotten"
                );
                self.warn(
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
                self.warn(&["sources", name], message, "add one under `drills:`");
            }
        }
    }

    fn drills(&mut self) {
        for (name, drill) in &self.policy.drills {
            if drill.checks.is_empty() && drill.queries.is_empty() {
                let message = format!("the drill `{name}` restores but does not check the data");
                self.warn(
                    &["drills", name],
                    message,
                    "add `checks:` or `queries:` that would fail if the data were wrong",
                );
            }
            if drill.identity.is_none() {
                let message = format!("the drill `{name}` has no identity to read with");
                self.warn(
                    &["drills", name],
                    message,
                    "add `identity:` here or at the repository, or give it with `--identity`",
                );
            }
        }
    }

    fn holds(&mut self) {
        for (name, source) in &self.policy.sources {
            let hold = source.tags.get(HOLD_TAG);
            let hold = hold.map(|text| Hold::parse(text, self.policy.time_zone));
            if let Some(Hold::Unclear(text)) = hold {
                let message = format!("{} is not a valid hold; treated as forever", quoted(&text));
                self.warn(
                    &["sources", name, "tags", HOLD_TAG],
                    message,
                    "write `forever`, or the last day as in `until 2027-01-01`",
                );
            }
        }
    }

    fn unused_retention(&mut self) {
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
                self.warn(
                    &["retention", name],
                    message,
                    "name it in a source's `retention`, or remove it",
                );
            }
        }
    }
}

/// The place of the key at a path.
fn place(root: &Node, path: &[&str]) -> Option<Mark> {
    let (last, parents) = path.split_last()?;
    let mut node = root;
    for name in parents {
        node = node.entry(name)?.1;
    }
    node.entry(last).map(|(key, _)| key.mark)
}
