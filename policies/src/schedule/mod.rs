//! When something is due: the timing of a schedule, and the slots that follow from it.
//!
//! `cron` knows cron expressions in local time, without time zones; `slots` puts them on the time line, around changes of
//! clocks too; a `slot` is one of the results; `settings` is the whole of a schedule. Everything is a pure function of the
//! schedule and a time that is given.

mod cron;
mod settings;
mod slot;
mod slots;
#[cfg(test)]
mod tests;

pub use cron::{CronExpression, CronExpressionError};
pub use settings::{CatchUp, DailyWindow, OverlapRule, Schedule, ScheduleTiming};
pub use slot::Slot;
