//! Errors in a policy, each with its file, line and column.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::yaml::excerpt::Excerpt;

/// One error, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyError {
    /// The file, as it was named to [`crate::PolicySet::load`].
    pub file: PathBuf,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// The column in characters, from 1; 0 for the whole file.
    pub column: usize,
    /// The path in the document, like `sources.jenkins.volume.exclude[1]`; empty for the document itself.
    pub path: String,
    /// The message.
    pub message: String,
    /// The hint, as a sentence.
    pub suggestion: Option<String>,
    pub(crate) excerpt: Option<Excerpt>,
}

impl PolicyError {
    /// An error about a file as a whole.
    pub(crate) fn for_file(file: &Path, message: String) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message,
            suggestion: None,
            excerpt: None,
        }
    }

    fn write_with_kind(&self, formatter: &mut fmt::Formatter<'_>, kind: &str) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(formatter, "{}:{}:", self.line, self.column)?;
        }
        write!(formatter, " {kind}{}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            write!(formatter, "\n{excerpt}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(formatter, "\nhelp: {suggestion}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_with_kind(formatter, "")
    }
}

impl std::error::Error for PolicyError {}

/// Something allowed but unwise, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWarning(pub(crate) PolicyError);

impl PolicyWarning {
    /// The position and the message.
    #[must_use]
    pub fn details(&self) -> &PolicyError {
        &self.0
    }
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_with_kind(formatter, "warning: ")
    }
}

/// All errors, found in one pass. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors(Vec<PolicyError>);

impl PolicyErrors {
    /// `Err` when there are errors.
    pub(crate) fn fail_if_any(errors: Vec<PolicyError>) -> Result<(), Self> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Self(errors))
        }
    }

    /// All of them, sorted by file and position.
    pub fn iter(&self) -> std::slice::Iter<'_, PolicyError> {
        self.0.iter()
    }

    /// How many.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the list is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<PolicyError> for PolicyErrors {
    fn from(error: PolicyError) -> Self {
        Self(vec![error])
    }
}

impl<'a> IntoIterator for &'a PolicyErrors {
    type Item = &'a PolicyError;
    type IntoIter = std::slice::Iter<'a, PolicyError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(formatter, "{gap}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}
