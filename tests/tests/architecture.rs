//! The rooms and the arrows between them, as ARCHITECTURE.md draws them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use reprise_tests::source::{
    CRATES, ImportGraph, NameCounts, SourceFile, cycles, describe_large, duplicate_types,
    load_crate, load_tests, project_root, rust_files,
};
use serde_json::Value;

/// Which of our crates each may use. Fewer arrows are better; a new one needs a reason in ARCHITECTURE.md.
const ARROWS: [(&str, &[&str]); 10] = [
    ("reprise-location", &[]),
    ("reprise-times", &[]),
    ("reprise-policies", &["reprise-location", "reprise-times"]),
    ("reprise-repository", &["reprise-location", "reprise-times"]),
    ("reprise-mysql", &["reprise-repository", "reprise-times"]),
    (
        "reprise-snapshotters",
        &["reprise-mysql", "reprise-repository"],
    ),
    (
        "reprise-restore",
        &[
            "reprise-mysql",
            "reprise-policies",
            "reprise-repository",
            "reprise-snapshotters",
        ],
    ),
    (
        "reprise-scheduler",
        &[
            "reprise-mysql",
            "reprise-policies",
            "reprise-repository",
            "reprise-restore",
            "reprise-snapshotters",
        ],
    ),
    (
        "reprise",
        &[
            "reprise-mysql",
            "reprise-policies",
            "reprise-repository",
            "reprise-restore",
            "reprise-scheduler",
            "reprise-snapshotters",
            "reprise-times",
        ],
    ),
    (
        "reprise-tests",
        &["reprise-mysql", "reprise-repository", "reprise-restore"],
    ),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(project_root())
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
    let files = rust_files(&project_root());
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let first = text.lines().find(|line| !line.trim().is_empty());
        let says = first.is_some_and(|line| line.starts_with("//!"));
        assert!(says, "{}", path.display());
    }
    assert!(
        files.len() > 50,
        "only {} source files were found",
        files.len()
    );
}

/// In each crate, which parts may use which: a part is a directory or a file beside `lib.rs`. A part that is not named here
/// uses no other one. Fewer arrows are better; a new one needs a reason in ARCHITECTURE.md.
const PARTS: [(&str, &str, &str); 68] = [
    ("location", "error", "masking"),
    ("location", "location", "error"),
    ("times", "local_time", "time_zone"),
    ("times", "shown", "time_zone"),
    ("policies", "lint", "model retention schedule values yaml"),
    ("policies", "model", "retention schedule schema values yaml"),
    ("policies", "retention", "values"),
    ("policies", "schedule", "values"),
    ("policies", "schema", "values"),
    ("policies", "set", "lint model values yaml"),
    ("policies", "yaml", "schema values"),
    (
        "repository",
        "copy",
        "backend error format id index keys parallel progress read records store",
    ),
    ("repository", "crypto", "error id"),
    ("repository", "error", "backend id"),
    ("repository", "format", "backend crypto error id text"),
    ("repository", "fuzzing", "crypto format index"),
    ("repository", "index", "backend crypto error format id"),
    (
        "repository",
        "keys",
        "backend crypto error format id index parallel records store text",
    ),
    (
        "repository",
        "log",
        "backend crypto error format id parallel records store",
    ),
    ("repository", "progress", "error"),
    (
        "repository",
        "prune",
        "backend clock crypto error format id index log parallel program progress read records store",
    ),
    (
        "repository",
        "read",
        "backend crypto error format id index store",
    ),
    (
        "repository",
        "records",
        "backend crypto error format id parallel store",
    ),
    (
        "repository",
        "rekey",
        "backend crypto error format id index keys parallel program progress read records store",
    ),
    (
        "repository",
        "repository",
        "backend clock crypto error format id index keys parallel records store text",
    ),
    (
        "repository",
        "store",
        "backend clock crypto error format id",
    ),
    (
        "repository",
        "testing",
        "backend crypto error format id index program store text write",
    ),
    ("repository", "text", "error"),
    (
        "repository",
        "verify",
        "backend crypto error format id index log parallel program progress read records repository store text",
    ),
    (
        "repository",
        "write",
        "crypto error format id index program progress records store text",
    ),
    ("mysql", "binlog", "log_time"),
    ("mysql", "connection", "error"),
    ("mysql", "load_statements", "manifest sql"),
    ("mysql", "log", "binlog log_time manifest sql"),
    ("mysql", "privileges", "connection error"),
    ("mysql", "row_text", "connection manifest"),
    ("mysql", "server_info", "connection error manifest sql"),
    ("mysql", "sql", "manifest"),
    ("mysql", "wire", "binlog connection error"),
    ("snapshotters", "command", "error run"),
    ("snapshotters", "mysql", "error run"),
    ("snapshotters", "run", "error"),
    ("snapshotters", "tfstate", "error run volume"),
    ("snapshotters", "volume", "confined_directory error run"),
    ("restore", "drill", "error files mysql"),
    ("restore", "files", "error"),
    ("restore", "mysql", "error"),
    ("scheduler", "due", "ledger"),
    ("scheduler", "environment", "error"),
    ("scheduler", "isolation", "error"),
    (
        "scheduler",
        "jobs",
        "environment error policy_version repositories retention sources",
    ),
    ("scheduler", "promises", "environment error repositories"),
    ("scheduler", "repositories", "environment error"),
    (
        "scheduler",
        "retention",
        "environment error repositories text",
    ),
    (
        "scheduler",
        "runner",
        "due environment error isolation jobs ledger policy_version repositories retention text",
    ),
    ("scheduler", "sources", "environment error"),
    (
        "cli",
        "command_line",
        "commands context failure global_args version",
    ),
    (
        "cli",
        "commands",
        "context failure host_args interruption output progress quantities retention_args retention_output server_address time_input",
    ),
    (
        "cli",
        "context",
        "failure global_args interruption output quantities version",
    ),
    ("cli", "failure", "output"),
    ("cli", "interruption", "output"),
    ("cli", "progress", "context interruption output"),
    ("cli", "quantities", "failure"),
    ("cli", "retention_args", "context failure quantities"),
    ("cli", "retention_output", "context failure output"),
    ("cli", "server_address", "context failure"),
    ("cli", "time_input", "context failure"),
    ("cli", "version", "global_args output"),
];

/// `lib.rs` and `main.rs` say what a crate offers, and so name everything.
const ROOTS: [&str; 2] = ["lib", "main"];

/// The part of its crate that a file belongs to.
fn part(file: &SourceFile) -> &str {
    file.module.first().map_or("lib", String::as_str)
}

#[test]
fn arrows_between_the_parts_of_a_crate_are_those_of_the_list_and_go_one_way() {
    for directory in CRATES {
        let files = load_crate(directory);
        let graph = ImportGraph::new(&files);
        let mut found = graph.group_by(|index| part(&files[index]));
        found.retain(|name, uses| !ROOTS.contains(name) && !uses.is_empty());
        let allowed: BTreeMap<&str, BTreeSet<&str>> = PARTS
            .iter()
            .filter(|(of, _, _)| *of == directory)
            .map(|(_, name, uses)| (*name, uses.split_whitespace().collect()))
            .collect();
        assert_eq!(found, allowed, "{directory}");
        let names: Vec<&str> = files.iter().map(part).collect();
        let index = |name: &str| names.iter().position(|other| *other == name);
        let mut uses = vec![BTreeSet::new(); names.len()];
        for (name, targets) in &found {
            uses[index(name).unwrap()] = targets.iter().filter_map(|name| index(name)).collect();
        }
        let circles = cycles(&uses);
        let in_circle = |circle: &Vec<usize>| circle.iter().map(|n| names[*n]).collect::<Vec<_>>();
        assert!(
            circles.is_empty(),
            "{directory}: {:?}",
            circles.iter().map(in_circle).collect::<Vec<_>>()
        );
    }
}

#[test]
fn no_import_cycle_is_larger_than_three_files() {
    for directory in CRATES {
        let files = load_crate(directory);
        for cycle in cycles(&ImportGraph::new(&files).uses) {
            let paths: Vec<&str> = cycle.iter().map(|n| files[*n].path.as_str()).collect();
            assert!(paths.len() <= 3, "{paths:?}");
        }
    }
}

#[test]
fn no_file_has_more_than_500_lines_and_no_directory_more_than_15_files() {
    let crates = CRATES.map(load_crate);
    let large = describe_large(crates.iter().flatten());
    assert!(large.is_empty(), "{}", large.join("\n"));
}

#[test]
fn no_type_has_the_name_of_another_one() {
    let (crates, tests) = (CRATES.map(load_crate), load_tests());
    let duplicates = duplicate_types(crates.iter().flatten().chain(&tests));
    assert!(duplicates.is_empty(), "{duplicates:?}");
}

#[test]
fn most_functions_are_named_by_more_than_a_word() {
    let crates = CRATES.map(load_crate);
    let percent = NameCounts::of(crates.iter().flatten()).one_word_percent();
    assert!(
        percent < 35,
        "{percent} % of the functions are named by one word"
    );
}

/// Words that `docs/glossary.md` replaces, as parts of names.
const RETIRED_WORDS: [&str; 14] = [
    "weather", "trouble", "census", "handover", "intake", "crew", "stretch", "hurt", "mend",
    "folder", "beneath", "wishes", "judged", "said",
];

/// What no message says any more, and what it says instead.
const RETIRED_PHRASES: [(&str, &str); 9] = [
    ("folder", "directory"),
    ("gave up to ", "cannot …: gave up after …"),
    ("stood still", "lease expired, or stalled"),
    ("not have its name", "content does not match its hash"),
    ("goes with the next", "will be deleted by the next"),
    ("gone on with", "resumed"),
    ("anew", "again, or re-encrypted"),
    ("counts for nothing", "is ignored"),
    ("swept", "deleted by prune"),
];

/// The words of a name in snake case or camel case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
    }
    words
}

/// The names of a file that have a retired word in them.
fn retired_names(file: &SourceFile) -> Vec<String> {
    let names = file.functions.iter().chain(&file.types).chain(&file.module);
    let is_retired = |word: &String| RETIRED_WORDS.contains(&word.as_str());
    names
        .filter(|name| words(name).iter().any(is_retired))
        .map(|name| format!("{}: {name}", file.path))
        .collect()
}

#[test]
fn no_name_in_the_tests_has_a_retired_word() {
    let mut files = load_tests();
    for file in &mut files {
        file.functions.append(&mut file.tests);
    }
    let found: Vec<String> = files.iter().flat_map(retired_names).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn matches_over_our_own_errors_name_every_variant() {
    // An error that is added later would not be noticed there. `if let` says that one is special.
    let crates = CRATES.map(load_crate);
    let files = || crates.iter().flatten();
    let errors: BTreeSet<&String> = files().flat_map(|file| &file.error_enums).collect();
    assert!(errors.len() > 5, "{errors:?}");
    for file in files() {
        for open in &file.open_matches {
            let is_ours = open.types.iter().any(|name| errors.contains(name));
            assert!(!is_ours, "{}: {}", file.path, open.function);
        }
    }
}

#[test]
fn no_name_and_no_message_has_a_retired_word() {
    let mut found = Vec::new();
    for file in CRATES.map(load_crate).iter().flatten() {
        found.extend(retired_names(file));
        for text in &file.strings {
            let retired = RETIRED_PHRASES
                .iter()
                .find(|(phrase, _)| text.contains(phrase));
            found.extend(retired.map(|(phrase, instead)| {
                format!("{}: {text:?} says {phrase:?}; say {instead:?}", file.path)
            }));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
