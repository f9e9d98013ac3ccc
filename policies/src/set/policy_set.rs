//! A set of policies: one file, or a directory of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::copy::CopyJob;
use crate::model::policy::{self, Policy};
use crate::values::names::nearest_name;
use crate::values::paths;
use crate::yaml::document::TEXT_BYTES_MAX;
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
            match decode_file(file, text) {
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

fn decode_file(file: &Path, text: &str) -> Result<(Policy, Vec<PolicyWarning>), PolicyErrors> {
    let absolute = std::path::absolute(file).map_err(|error| {
        PolicyError::for_file(file, format!("the path cannot be made absolute: {error}"))
    })?;
    policy::decode(file, &paths::normalise(&absolute), text)
}

fn list_policy_files(directory: &Path) -> Result<Vec<PathBuf>, PolicyErrors> {
    let unreadable = |error: std::io::Error| {
        PolicyError::for_file(directory, format!("cannot read this directory: {error}"))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_policy = path
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml");
        if is_policy && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let message = "this directory contains no policy (`*.yaml` or `*.yml`)".to_owned();
        return Err(PolicyError::for_file(directory, message).into());
    }
    Ok(files)
}

fn read_policy_text(file: &Path) -> Result<String, PolicyErrors> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file);
    // One byte more than allowed, so that a larger file is detected without being read whole.
    let limit = u64::try_from(TEXT_BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = opened.and_then(|opened| opened.take(limit).read_to_end(&mut bytes));
    if let Err(error) = read {
        let mut error = PolicyError::for_file(file, format!("cannot read this file: {error}"));
        error.suggestion = similar_file_name(file).map(|name| format!("did you mean `{name}`?"));
        return Err(error.into());
    }
    if bytes.len() > TEXT_BYTES_MAX {
        let message = format!("the file is larger than {} KiB", TEXT_BYTES_MAX / 1024);
        return Err(PolicyError::for_file(file, message).into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        not_utf8_error(file, error.as_bytes().get(..valid).unwrap_or_default()).into()
    })
}

/// The error at the end of the valid text of the file.
fn not_utf8_error(file: &Path, valid: &[u8]) -> PolicyError {
    let valid = String::from_utf8_lossy(valid);
    let mut error = PolicyError::for_file(file, "the file is not UTF-8 text".to_owned());
    error.line = valid.matches('\n').count() + 1;
    error.column = valid
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    error
}

/// A file in the same directory with a similar name.
fn similar_file_name(file: &Path) -> Option<String> {
    let directory = file
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    let names: Vec<String> = std::fs::read_dir(directory.unwrap_or(Path::new(".")))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    nearest_name(
        file.file_name()?.to_str()?,
        names.iter().map(String::as_str),
    )
    .map(str::to_owned)
}
