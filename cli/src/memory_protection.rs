//! Keeps keys and passwords in memory: no core dump, and no other process of the user that reads it.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Protects this process. A system that refuses leaves it as it was, which is no reason not to make a backup.
pub(crate) fn forbid_core_dumps() {
    // Only the soft limit: a program that is started may raise its own.
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::debug!(%error, "core dumps cannot be forbidden");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::debug!(%error, "memory cannot be protected from other processes");
    }
}
