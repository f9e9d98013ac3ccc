//! Brings snapshots back: files with all their attributes, comparison with what was saved, and drills.

pub mod drill;
mod error;
pub mod files;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the restore to a server that uses it comes on top"
    )
)]
mod mysql;

pub use error::{Error, Result};
