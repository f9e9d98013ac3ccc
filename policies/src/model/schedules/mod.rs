//! When what a policy describes is due: a `schedule`, and the `maintenance` of a repository, which is little else.

pub(crate) mod maintenance;
pub(crate) mod schedule;
