//! The rooms and the arrows between them, as ARCHITECTURE.md draws them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which of our crates each may use. Fewer arrows are better; a new one needs a reason in ARCHITECTURE.md.
const ARROWS: [(&str, &[&str]); 6] = [
    ("reprise-policies", &[]),
    ("reprise-repository", &[]),
    ("reprise-snapshotters", &["reprise-repository"]),
    (
        "reprise-restore",
        &[
            "reprise-policies",
            "reprise-repository",
            "reprise-snapshotters",
        ],
    ),
    (
        "reprise",
        &[
            "reprise-policies",
            "reprise-repository",
            "reprise-restore",
            "reprise-snapshotters",
        ],
    ),
    (
        "reprise-tests",
        &[
            "reprise-repository",
            "reprise-restore",
            "reprise-snapshotters",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn arrows_between_the_rooms_go_one_way() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let name_of = |package: &Value| package["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name_of).collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        let name = name_of(package);
        let uses = found.entry(name.clone()).or_default();
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = name_of(dependency);
            // A crate's own tests use it with the features that are for tests.
            if ours.contains(&used) && used != name {
                uses.insert(used);
            }
        }
    }
    let expected: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(name, uses)| {
            (
                (*name).to_owned(),
                uses.iter().map(|used| (*used).to_owned()).collect(),
            )
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_room_takes_the_lints_of_the_workspace() {
    for package in metadata()["packages"].as_array().unwrap() {
        let manifest = package["manifest_path"].as_str().unwrap();
        let text = std::fs::read_to_string(manifest).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{manifest}");
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let mut folders = vec![root()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "scratch" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                let first = text.lines().find(|line| !line.trim().is_empty());
                assert!(
                    first.is_some_and(|line| line.starts_with("//!")),
                    "{}",
                    path.display()
                );
            }
        }
    }
    assert!(files > 50, "only {files} source files were found");
}
