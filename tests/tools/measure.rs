//! Prints what can be counted of the project's code: how functions and types are named, which files import from each
//! other in a cycle, which directories and files are large.
//!
//! `cargo run -q -p reprise-tests --bin measure` in the project's top directory; `--imports CRATE` prints every import
//! between the files of a crate.

#![expect(clippy::print_stdout, reason = "a tool that prints")]

use std::env;

use reprise_tests::source::{
    CRATES, ImportGraph, NameCounts, SourceFile, cycles, describe_large, duplicate_types,
    load_crate,
};

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
    for large in describe_large(all()) {
        println!("{large}");
    }
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

fn print_imports(directory: &str) {
    let files = load_crate(directory);
    for (file, uses) in files.iter().zip(ImportGraph::new(&files).uses) {
        for target in uses {
            println!("{} -> {}", file.path, files[target].path);
        }
    }
}
