//! Sets of policies: reads policy files, and finds in them what a command line names.

mod policy_file;
pub(crate) mod policy_set;
pub(crate) mod select;
