//! Tests of the crate as a whole: bad files and their messages, the example, the schema.

mod bad_files;
mod example;
mod good_files;
mod properties;
mod schema_agrees;
mod warnings;

use std::path::Path;

use crate::{PolicyErrors, PolicySet};

/// A valid policy, for tests to add to. It ends inside `sources`.
pub(crate) const BASE: &str = "\
version: 1
repositories:
  main: {url: ./repo}
sources:
  etc: {volume: {path: /etc}}
";

/// Decodes a text as if it were in `/policies/test.yaml`.
pub(crate) fn parse(text: &str) -> Result<PolicySet, PolicyErrors> {
    PolicySet::parse([(Path::new("/policies/test.yaml"), text)])
}

/// `line:column message` and the suggestion, for each error.
pub(crate) fn errors(text: &str) -> Vec<String> {
    let found = parse(text).expect_err("this policy is bad");
    found
        .iter()
        .map(|error| format!("{}:{} {}", error.line, error.column, error.message))
        .collect()
}
