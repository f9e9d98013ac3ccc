//! Collects the findings of one file and, at the end, adds an excerpt to each.

use std::path::Path;

use crate::yaml::document::YamlMark;
use crate::yaml::error::{PolicyError, PolicyWarning};
use crate::yaml::excerpt::Excerpt;

/// More findings than this are counted, not shown: nobody reads them, and each excerpt costs a search for its line.
const FINDINGS_SHOWN_MAX: usize = 100;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// A finding without its excerpt: all secrets have to be known first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PolicyFinding {
    mark: YamlMark,
    severity: Severity,
    path: String,
    message: String,
    suggestion: Option<String>,
}

/// The findings in one file.
#[derive(Debug, Default)]
pub(crate) struct FindingReport {
    findings: Vec<PolicyFinding>,
    secrets: Vec<YamlMark>,
}

impl FindingReport {
    pub(crate) fn add_finding(
        &mut self,
        severity: Severity,
        mark: YamlMark,
        path: &str,
        message: String,
        suggestion: Option<String>,
    ) {
        self.findings.push(PolicyFinding {
            mark,
            severity,
            path: path.to_owned(),
            message,
            suggestion,
        });
    }

    /// The text at this position must not be shown in any excerpt.
    pub(crate) fn hide_secret(&mut self, mark: YamlMark) {
        self.secrets.push(mark);
    }

    /// Errors and warnings by position. A value that an alias repeats is reported once.
    pub(crate) fn into_errors(
        mut self,
        file: &Path,
        text: &str,
    ) -> (Vec<PolicyError>, Vec<PolicyWarning>) {
        self.findings.sort();
        self.findings
            .dedup_by(|a, b| a.mark == b.mark && a.message == b.message);
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        // Errors first, so that no number of warnings can hide one.
        self.findings.sort_by_key(|finding| finding.severity);
        let hidden = self
            .findings
            .split_off(self.findings.len().min(FINDINGS_SHOWN_MAX));
        for finding in self.findings {
            let excerpt = Excerpt::new(text, finding.mark, &self.secrets);
            let error = PolicyError {
                file: file.to_owned(),
                line: finding.mark.line,
                column: finding.mark.column,
                path: finding.path,
                message: finding.message,
                suggestion: finding.suggestion,
                excerpt,
            };
            match finding.severity {
                Severity::Error => errors.push(error),
                Severity::Warning => warnings.push(PolicyWarning(error)),
            }
        }
        let hidden = hidden
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count();
        if hidden > 0 {
            errors.push(PolicyError::for_file(
                file,
                format!("{hidden} more errors are not shown"),
            ));
        }
        (errors, warnings)
    }
}
