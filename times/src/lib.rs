//! Times as people read and write them: time zones, local times, and the zone in which times are shown.
//!
//! - `time_zone`: zones by the database that is part of the program;
//! - `local_time`: a time that a person has written becomes a moment, or is refused by name;
//! - `shown`: every time that a person reads is formatted here, in one zone and with its offset.
//!
//! Records and JSON do not pass through here: they are in UTC.

mod local_time;
mod shown;
mod time_zone;

pub use local_time::{DayMeaning, TimeInputError, WrittenTime, read_time};
pub use shown::{format_precise_time, format_time, show_times_in};
pub use time_zone::{LocalInstants, TimeZone, TimeZoneData};
