//! Restores snapshots: files with all their attributes, comparison with the saved state, and drills.

pub mod drill;
mod error;
pub mod files;
pub mod mysql;

pub use error::{Error, Result};
