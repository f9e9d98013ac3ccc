//! Warnings about what is allowed but unwise: `linter` visits a decoded policy; `storage` and `mysql` add to it what
//! concerns repositories and database servers.

pub(crate) mod linter;
mod mysql;
mod storage;
