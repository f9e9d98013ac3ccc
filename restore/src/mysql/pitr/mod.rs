//! Points in time: `catalog` says which recovery targets there are and by which snapshot and log each is reached,
//! `roll_forward` replays the log.

pub(crate) mod catalog;
pub(crate) mod roll_forward;
