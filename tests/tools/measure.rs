//! Prints what can be counted of the project's code: how functions and types are named, which files import from each
//! other in a cycle, which directories and files are large.
//!
//! `cargo run -q -p reprise-tests --bin measure` in the project's top directory; `--imports CRATE` prints every import
//! between the files of a crate.

#![expect(clippy::print_stdout, reason = "a tool that prints")]

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use reprise_tests::source::{
    CRATES, ImportGraph, NameCounts, SourceFile, cycles, duplicate_types, load_crate,
};

/// More files beside each other than this are named.
const DIRECTORY_FILES_MAX: usize = 15;

/// Longer files are named, without their tests at the end being taken off.
const FILE_LINES_MAX: usize = 500;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [option, directory] if option == "--imports" => print_imports(directory),
        _ => print_numbers(),
    }
}

fn print_numbers() {
    let crates: Vec<(&str, Vec<SourceFile>)> = CRATES
        .map(|name| (name, load_crate(name)))
        .into_iter()
        .collect();
    let all = || crates.iter().flat_map(|(_, files)| files);
    let counts = NameCounts::of(all());
    println!(
        "functions: {}, of one word: {} ({} %)",
        counts.functions,
        counts.one_word,
        counts.one_word_percent()
    );
    let types: usize = all().map(|file| file.types.len()).sum();
    let duplicates = duplicate_types(all());
    println!(
        "types: {types}, names in several files: {}",
        duplicates.len()
    );
    for (name, files) in &duplicates {
        println!(
            "  {name}: {}",
            files.iter().copied().collect::<Vec<_>>().join(", ")
        );
    }
    for (name, files) in &crates {
        print_cycles(name, files);
    }
    print_large(all());
}

fn print_cycles(name: &str, files: &[SourceFile]) {
    for cycle in cycles(&ImportGraph::new(files).uses) {
        let paths: Vec<&str> = cycle
            .iter()
            .map(|index| files[*index].path.as_str())
            .collect();
        println!(
            "import cycle of {} files in {name}: {}",
            cycle.len(),
            paths.join(", ")
        );
    }
}

fn print_large<'a>(files: impl Iterator<Item = &'a SourceFile>) {
    let mut directories: BTreeMap<&Path, usize> = BTreeMap::new();
    for file in files {
        if file.lines > FILE_LINES_MAX {
            println!("{} lines: {}", file.lines, file.path);
        }
        if let Some(directory) = Path::new(&file.path).parent() {
            *directories.entry(directory).or_default() += 1;
        }
    }
    for (directory, count) in directories {
        if count > DIRECTORY_FILES_MAX {
            println!("{count} files beside each other: {}", directory.display());
        }
    }
}

fn print_imports(directory: &str) {
    let files = load_crate(directory);
    for (file, uses) in files.iter().zip(ImportGraph::new(&files).uses) {
        for target in uses {
            println!("{} -> {}", file.path, files[target].path);
        }
    }
}
