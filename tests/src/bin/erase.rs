//! Deletes an object, with settings from the environment, as someone would who has stolen them: `erase URL KEY`.
//! Ends with 1 and what the storage says when it may not.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of tests says what is wrong"
)]

use std::process::ExitCode;

use reprise_repository::backend::{Backend, ObjectKey, RemoteOptions, RepositoryLocation};
use reprise_repository::open_backend;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let location = RepositoryLocation::parse(&arguments[0]).unwrap();
    let backend = open_backend(&location, &RemoteOptions::default()).unwrap();
    match backend.delete(&ObjectKey::new(arguments[1].as_str()).unwrap()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
