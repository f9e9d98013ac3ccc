//! A policy file: from its path to its text, and from there to a policy or to all of its errors.

use std::path::{Path, PathBuf};

use crate::lint::linter;
use crate::model::policy::{self, Policy};
use crate::values::names::nearest_name;
use crate::values::paths;
use crate::yaml::decoder::Decoder;
use crate::yaml::document::{TEXT_BYTES_MAX, YamlDocument, YamlFault, parse_yaml};
use crate::yaml::error::{PolicyError, PolicyErrors, PolicyWarning};
use crate::yaml::report::{FindingReport, Severity};

/// Every `*.yaml` and `*.yml` in a directory, sorted.
pub(super) fn list_policy_files(directory: &Path) -> Result<Vec<PathBuf>, PolicyErrors> {
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

/// The text of a policy file.
pub(super) fn read_policy_text(file: &Path) -> Result<String, PolicyErrors> {
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

/// Reads the policy in a text. `file` is the name of its file, for messages; nothing is read from disk.
pub(super) fn decode_policy(
    file: &Path,
    text: &str,
) -> Result<(Policy, Vec<PolicyWarning>), PolicyErrors> {
    let absolute = std::path::absolute(file).map_err(|error| {
        PolicyError::for_file(file, format!("the path cannot be made absolute: {error}"))
    })?;
    decode_text(file, &paths::normalise(&absolute), text)
}

/// `path` is the file's absolute path, `file` its name in messages.
fn decode_text(
    file: &Path,
    path: &Path,
    text: &str,
) -> Result<(Policy, Vec<PolicyWarning>), PolicyErrors> {
    // A byte order mark is not part of the text, and would shift the first line's columns.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let base = path.parent().unwrap_or(Path::new("/"));
    let mut decoder = Decoder {
        base,
        report: FindingReport::default(),
    };
    let policy = match parse_yaml(text) {
        Ok(document) => decode_document(&mut decoder, document, path),
        Err(fault) => {
            report_fault(&mut decoder, fault);
            None
        }
    };
    let (errors, warnings) = decoder.report.into_errors(file, text);
    PolicyErrors::fail_if_any(errors)?;
    let undecided = || PolicyError::for_file(file, "the policy could not be read".to_owned());
    Ok((policy.ok_or_else(undecided)?, warnings))
}

fn decode_document(
    decoder: &mut Decoder<'_>,
    document: YamlDocument,
    path: &Path,
) -> Option<Policy> {
    for fault in document.faults {
        report_fault(decoder, fault);
    }
    let policy = policy::decode(decoder, &document.root, path)?;
    linter::lint_policy(&policy, &document.root, &mut decoder.report);
    Some(policy)
}

fn report_fault(decoder: &mut Decoder<'_>, fault: YamlFault) {
    let report = &mut decoder.report;
    report.add_finding(Severity::Error, fault.mark, "", fault.message, None);
}
