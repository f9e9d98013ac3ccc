//! Applies transactions: `pool` has the sessions in threads, `commit_order` their dependencies. `session` is one of them,
//! `config` what all have in common; what a session does is in `batches`, `steps`, `statements`, `settings`,
//! `xa_transactions` and `binlog_statement`.

mod batches;
mod binlog_statement;
pub(crate) mod commit_order;
pub(crate) mod config;
pub(crate) mod pool;
pub(crate) mod session;
mod settings;
mod statements;
mod steps;
mod xa_transactions;
