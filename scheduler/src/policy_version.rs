//! The Git commit of a policy file. Without Git, or outside of a work tree, there is none, and that is no error.

use std::path::Path;
use std::process::{Command, Stdio};

use reprise_repository::PolicyVersion;
use reprise_snapshotters::command::environment::remove_credentials;

/// The version of a policy file, for the record.
pub(crate) fn read_policy_version(file: &Path) -> PolicyVersion {
    let commit = run_git(file, &["log", "-1", "--format=%H", "--"]);
    let commit = commit.filter(|commit| !commit.is_empty());
    let changed = commit.is_some()
        && run_git(file, &["status", "--porcelain", "--"])
            .is_none_or(|changes| !changes.is_empty());
    PolicyVersion {
        file: file.display().to_string(),
        commit,
        changed,
    }
}

/// The output of Git about a file; `None` when there is none.
fn run_git(file: &Path, args: &[&str]) -> Option<String> {
    let (directory, name) = (file.parent()?, file.file_name()?);
    let mut command = Command::new("git");
    // A repository's configuration may name programs that Git runs.
    remove_credentials(&mut command);
    command
        .arg("-C")
        .arg(directory)
        .args(args)
        .arg(name)
        // Git is only queried and must write nothing, not even its index.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The version for people.
pub(crate) fn describe_version(version: &PolicyVersion) -> String {
    match (&version.commit, version.changed) {
        (None, _) => version.file.clone(),
        (Some(commit), false) => format!("{} at commit {commit}", version.file),
        (Some(commit), true) => format!("{}, changed since commit {commit}", version.file),
    }
}
