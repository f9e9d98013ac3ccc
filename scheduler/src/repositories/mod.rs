//! Repositories: opening them, and creating those that policies or people ask for.
//!
//! `destination` turns a location into a backend whose capabilities are known, `creation` makes a repository with its
//! recovery identities, `escrow` keeps a keeper's key in it, `policy_repository` opens what a policy describes and refuses what differs from it,
//! `unreachable` remembers what could not be reached in a run.

mod creation;
mod destination;
mod escrow;
mod policy_repository;
mod unreachable;

pub use creation::{
    CreateRepositoryOptions, CreatedRepository, create_identity, create_repository,
};
pub use destination::{
    DestinationOptions, describe_capabilities, open_for_reading, open_for_writing, parse_location,
    probe_destination, probe_if_allowed,
};
pub use escrow::replace_escrow_key;
pub use policy_repository::{destination_options, find_repository, open_existing, open_repository};
pub use unreachable::UnreachableRepositories;
