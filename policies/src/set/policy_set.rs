//! A set of policies: one file, or a directory of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::copy::CopyJob;
use crate::model::policy::Policy;
use crate::model::repository::PolicyRepository;
use crate::set::policy_file::{decode_policy, list_policy_files, read_policy_text};
use crate::yaml::error::{PolicyError, PolicyErrors, PolicyWarning};

/// Policies that were read and are valid, sorted by file. Their names differ.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySet {
    policies: Vec<Policy>,
    warnings: Vec<PolicyWarning>,
}

impl PolicySet {
    /// Reads a file, or every `*.yaml` and `*.yml` in a directory (not in subdirectories). Nothing but the policy
    /// files is read: no secret has to exist.
    ///
    /// # Errors
    /// All errors in all of the files, if there are any.
    pub fn load(path: &Path) -> Result<Self, PolicyErrors> {
        let files = if path.is_dir() {
            list_policy_files(path)?
        } else {
            vec![path.to_owned()]
        };
        let mut texts = Vec::with_capacity(files.len());
        let mut errors = Vec::new();
        for file in files {
            match read_policy_text(&file) {
                Ok(text) => texts.push((file, text)),
                Err(found) => errors.extend(found.iter().cloned()),
            }
        }
        let texts = texts
            .iter()
            .map(|(file, text)| (file.as_path(), text.as_str()));
        Self::decode_all(texts, errors)
    }

    /// Reads policies from texts, each with the path of its file. Nothing is read from disk.
    ///
    /// # Errors
    /// As [`PolicySet::load`].
    pub fn parse<'a>(
        texts: impl IntoIterator<Item = (&'a Path, &'a str)>,
    ) -> Result<Self, PolicyErrors> {
        Self::decode_all(texts, Vec::new())
    }

    fn decode_all<'a>(
        texts: impl IntoIterator<Item = (&'a Path, &'a str)>,
        mut errors: Vec<PolicyError>,
    ) -> Result<Self, PolicyErrors> {
        let (mut policies, mut warnings) = (Vec::new(), Vec::new());
        let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (file, text) in texts {
            match decode_policy(file, text) {
                Ok((policy, more)) => {
                    if let Some(first) = seen.get(&policy.name) {
                        let message = format!(
                            "the policy name `{}` is already used by {}",
                            policy.name,
                            first.display()
                        );
                        let suggestion = Some("give one of them another `name:`".to_owned());
                        errors.push(PolicyError {
                            suggestion,
                            ..PolicyError::for_file(file, message)
                        });
                    }
                    seen.entry(policy.name.clone())
                        .or_insert_with(|| file.to_owned());
                    policies.push(policy);
                    warnings.extend(more);
                }
                Err(found) => errors.extend(found.iter().cloned()),
            }
        }
        PolicyErrors::fail_if_any(errors)?;
        Ok(Self { policies, warnings })
    }

    /// The policies, sorted by file.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The policy with this name.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.name == name)
    }

    /// The repositories of all policies, each with its policy.
    pub fn repositories(&self) -> impl Iterator<Item = (&Policy, &PolicyRepository)> {
        self.policies.iter().flat_map(|policy| {
            let repositories = policy.repositories.values();
            repositories.map(move |repository| (policy, repository))
        })
    }

    /// The copies of all policies, each with its policy.
    pub fn copies(&self) -> impl Iterator<Item = (&Policy, &CopyJob)> {
        self.policies
            .iter()
            .flat_map(|policy| policy.copies.values().map(move |copy| (policy, copy)))
    }

    /// What is allowed but unwise.
    #[must_use]
    pub fn warnings(&self) -> &[PolicyWarning] {
        &self.warnings
    }
}
