//! Brings snapshots back: files with all their attributes, comparison with what was saved, and drills.

pub mod drill;
mod error;
pub mod files;
pub mod mysql;

pub use error::{Error, Result};
