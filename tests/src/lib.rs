//! End-to-end tests of `reprise`: see `tests/`. They drive the real binary; `tests/run` builds it first.

pub mod metadata;
pub mod proxy;
pub mod recorder;
pub mod servers;
pub mod source;
pub mod workload;
pub mod zoo;
