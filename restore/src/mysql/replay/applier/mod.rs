//! Applies transactions: `pool` has the sessions in threads, `commit_order` their dependencies, `session` is one of
//! them.

pub(crate) mod commit_order;
pub(crate) mod pool;
pub(crate) mod session;
