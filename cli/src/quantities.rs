//! Durations, sizes and rates given as options.

use std::time::Duration;

use reprise_policies::{parse_duration, parse_rate, parse_size};

use crate::failure::Failure;

/// Reads a duration; `way_out` explains the format.
pub(crate) fn parse_duration_option(
    text: &str,
    option: &str,
    way_out: &str,
) -> Result<Duration, Failure> {
    parse_duration(text).map_err(|error| invalid_quantity(text, "time", option, &error, way_out))
}

/// Reads a size in bytes; `way_out` explains the format.
pub(crate) fn parse_size_option(text: &str, option: &str, way_out: &str) -> Result<u64, Failure> {
    parse_size(text).map_err(|error| invalid_quantity(text, "size", option, &error, way_out))
}

/// Reads a rate in bytes per second.
pub(crate) fn parse_rate_option(text: &str, option: &str) -> Result<u64, Failure> {
    let way_out = "write bytes per second as 500KiB or 10MiB";
    parse_rate(text).map_err(|error| invalid_quantity(text, "rate", option, &error, way_out))
}

fn invalid_quantity(
    text: &str,
    quantity: &str,
    option: &str,
    error: &dyn std::fmt::Display,
    way_out: &str,
) -> Failure {
    let message = format!("`{text}` is not a {quantity} for {option}: {error}");
    Failure::usage(message, way_out)
}
