//! The example is a manual: it must load without a warning, and its checks must pass for the data beside it.

use std::path::{Path, PathBuf};

use regex::RegexBuilder;

use crate::{Expectation, PolicySet, PolicySourceKind};

pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart.yaml")
}

#[test]
fn the_quickstart_loads_without_errors_or_warnings() {
    let set = PolicySet::load(&example()).unwrap_or_else(|errors| panic!("{errors}"));
    let warnings: Vec<String> = set.warnings().iter().map(ToString::to_string).collect();
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
    assert_eq!(set.select_sources(&[]).unwrap().len(), 3);
    let drills = set.select_drills(&[]).unwrap();
    assert!(
        drills.len() == 3
            && drills
                .iter()
                .all(|(_, drill)| drill.snapshot_first && !drill.checks.is_empty())
    );
}

#[test]
fn the_example_of_a_server_loads_without_errors_or_warnings() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mysql.yaml");
    let set = PolicySet::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    let warnings: Vec<String> = set.warnings().iter().map(ToString::to_string).collect();
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
}

#[test]
fn the_quickstart_protects_data_that_exists() {
    let set = PolicySet::load(&example()).unwrap();
    for (_, source) in set.select_sources(&[]).unwrap() {
        match &source.kind {
            PolicySourceKind::Volume(volume) => {
                assert!(volume.path.is_dir(), "{}", volume.path.display())
            }
            PolicySourceKind::TfState(state) => {
                assert!(state.path.is_file(), "{}", state.path.display())
            }
            PolicySourceKind::Command(command) => assert_eq!(command.run[0], "uname"),
            PolicySourceKind::Mysql(_) => panic!("there is no server beside the example"),
        }
    }
}

fn files(directory: &Path, root: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.strip_prefix(root).unwrap().to_owned());
        if path.is_dir() {
            files(&path, root, found);
        }
    }
}

/// Only what the sample's checks use; the drill makes the real checks.
#[test]
fn the_checks_of_the_jenkins_drill_hold_for_the_sample() {
    let set = PolicySet::load(&example()).unwrap();
    let policy = &set.policies()[0];
    let PolicySourceKind::Volume(volume) = &policy.sources["jenkins"].kind else {
        panic!("not a volume")
    };
    let mut found = Vec::new();
    files(&volume.path, &volume.path, &mut found);
    found.retain(|path| !path.starts_with("workspace") && !path.starts_with("caches"));
    for check in &policy.drills["jenkins-home"].checks {
        let glob = globset::GlobBuilder::new(&check.path)
            .literal_separator(true)
            .build()
            .unwrap()
            .compile_matcher();
        let matching: Vec<&PathBuf> = found.iter().filter(|path| glob.is_match(path)).collect();
        assert_eq!(
            matching.is_empty(),
            check.expectations.contains(&Expectation::Exists(false)),
            "{}",
            check.path
        );
        for expectation in &check.expectations {
            let every = |test: &dyn Fn(&str) -> bool| {
                matching
                    .iter()
                    .all(|path| test(&std::fs::read_to_string(volume.path.join(path)).unwrap()))
            };
            let holds = match expectation {
                Expectation::Contains(text) => every(&|file| file.contains(text.as_str())),
                Expectation::Matches(text) => {
                    let expression = RegexBuilder::new(text).multi_line(true).build().unwrap();
                    every(&|file| expression.is_match(file))
                }
                Expectation::CountAtLeast(count) => {
                    matching.len() >= usize::try_from(*count).unwrap()
                }
                Expectation::SizeAtLeast(size) => every(&|file| file.len() as u64 >= *size),
                _ => true,
            };
            assert!(holds, "{}: {expectation:?}", check.path);
        }
    }
}

#[test]
fn the_checks_of_the_terraform_drill_hold_for_the_sample() {
    let set = PolicySet::load(&example()).unwrap();
    let policy = &set.policies()[0];
    let PolicySourceKind::TfState(source) = &policy.sources["terraform"].kind else {
        panic!("not a state")
    };
    let text = std::fs::read_to_string(&source.path).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    for expectation in policy.drills["terraform-state"]
        .checks
        .iter()
        .flat_map(|check| &check.expectations)
    {
        match expectation {
            Expectation::Json { pointer, equals } => {
                assert_eq!(state.pointer(pointer), Some(equals))
            }
            Expectation::Contains(part) => assert!(text.contains(part.as_str())),
            Expectation::SizeAtLeast(size) => assert!(text.len() as u64 >= *size),
            other => panic!("{other:?} is not looked at here"),
        }
    }
}
