//! Warnings about what is allowed but unwise: `linter` visits a decoded policy; `storage`, `mysql` and `schedules` add to it
//! what concerns repositories, database servers and times.

pub(crate) mod linter;
mod mysql;
mod schedules;
mod storage;
