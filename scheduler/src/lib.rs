//! What a run does, free of arguments and output: the command line and a service call the same jobs.
//!
//! `jobs/` has one kind of job a file, each with options and a report, telling meanwhile what happens. They need an
//! `environment` (keys, identities, the clock, the network's limits), and fail with a job `error`. `repositories/` opens and
//! creates what policies describe, `sources/` prepares what is read, `retention/` plans what is forgotten. `hosts` says whom policies
//! mean by a source's name. `isolation` keeps
//! a job that hangs or panics from taking the others down with it.

pub mod due;
mod environment;
mod error;
mod hosts;
pub mod isolation;
pub mod jobs;
pub mod ledger;
mod policy_version;
pub mod promises;
pub mod repositories;
pub mod retention;
pub mod runner;
pub mod sources;
pub mod text;

pub use environment::{JobEnvironment, NetworkOptions};
pub use error::{JobError, JobResult};
pub use hosts::meant_hosts;
