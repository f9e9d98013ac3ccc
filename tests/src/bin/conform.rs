//! Runs the conformance suite of backends on a destination, with settings from the environment.
//!
//! A program of its own, because a test may not change its own environment: `conform URL`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed check ends the program with a message"
)]

use std::cell::Cell;
use std::time::Duration;

use reprise_repository::backend::{Backend, RemoteOptions, RepositoryLocation, conformance};
use reprise_repository::open_backend;

fn main() {
    let Some(url) = std::env::args().nth(1) else {
        panic!("say where: conform URL")
    };
    let options = RemoteOptions {
        retry_for: Duration::from_secs(30),
        ..RemoteOptions::default()
    };
    let probed = open_backend(&RepositoryLocation::parse(&url).unwrap(), &options)
        .unwrap()
        .probe()
        .unwrap();
    let options = RemoteOptions {
        probed_capabilities: Some(probed),
        ..options
    };
    let number = Cell::new(0);
    conformance::check_conformance(&|| {
        number.set(number.get() + 1);
        let location = RepositoryLocation::parse(&format!("{url}/{}", number.get())).unwrap();
        let backend: Box<dyn Backend> = Box::new(open_backend(&location, &options).unwrap());
        (backend, Box::new(()))
    });
}
