//! Reads events: `coordinator` assembles them into transactions, `transaction` is one while it is read, `row_buffer` its
//! rows.

pub(crate) mod coordinator;
mod row_buffer;
mod transaction;
