//! Fills a new repository on a local disk as `tests/bench/garbage` wants it:
//! `synthetic REPOSITORY CONFIG CHUNKS SNAPSHOTS EACH PLACES merged|runs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a tool for measuring, which ends with a message"
)]

use std::sync::Arc;

use reprise_repository::backend::LocalBackend;
use reprise_repository::testing::SyntheticRepository;
use reprise_repository::{HostDirectory, OpenOptions, Repository};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [
        repository,
        config,
        chunks,
        snapshots,
        each,
        places,
        fragments,
    ] = arguments.as_slice()
    else {
        panic!("synthetic REPOSITORY CONFIG CHUNKS SNAPSHOTS EACH PLACES merged|runs")
    };
    let options = OpenOptions {
        host: HostDirectory::new(config),
        identity_files: Vec::new(),
        cache: None,
        memory: None,
        pinned_signers: Vec::new(),
    };
    let repository = Repository::open(Arc::new(LocalBackend::new(repository)), &options).unwrap();
    let wish = SyntheticRepository {
        chunks: chunks.parse().unwrap(),
        snapshots: snapshots.parse().unwrap(),
        chunks_per_snapshot: each.parse().unwrap(),
        places: places.parse().unwrap(),
        merged: fragments == "merged",
        now: chrono::Utc::now(),
    };
    let made = wish.build(&repository).unwrap();
    println!(
        "{}",
        serde_json::json!({
            "chunks": made.chunks,
            "packs": made.packs,
            "stored_bytes": made.stored_bytes,
            "fragments": made.fragments,
            "reference_bytes": made.reference_bytes,
        })
    );
}
