//! Reads sources into snapshots. Every source kind produces the same shape: a tree of entries and a root.
//!
//! A source streams: nothing is staged on disk, and memory does not grow with its size.

pub mod command;
pub mod confined_directory;
mod error;
pub mod mysql;
mod run;
pub mod tfstate;
pub mod volume;

pub use error::{Error, Result};
pub use run::{RunContext, ShrinkAlarm};
