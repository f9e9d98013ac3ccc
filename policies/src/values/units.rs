//! Durations, sizes, rates and percentages as people write them: `26h`, `10MiB`, `10MiB/s`, `50%`.

use std::fmt;
use std::time::Duration;

use crate::values::names::make_printable;

/// Why a text is not a duration, a size, a rate or a percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text does not begin with a whole number.
    #[error("`{text}` does not begin with a whole number; write for example `{example}`")]
    NoNumber {
        /// What was written.
        text: String,
        /// What could have been written.
        example: &'static str,
    },
    /// The number has no unit.
    #[error("`{text}` has no unit; write for example `{example}`")]
    NoUnit {
        /// What was written.
        text: String,
        /// What could have been written.
        example: &'static str,
    },
    /// The unit is not one of those known.
    #[error("`{unit}` is not a unit here; the units are {known}")]
    UnknownUnit {
        /// The unit that was written.
        unit: String,
        /// The units that may be written.
        known: &'static str,
    },
    /// The number is out of range.
    #[error("`{text}` is too large")]
    TooLarge {
        /// What was written.
        text: String,
    },
    /// The number is zero where that would stop all progress.
    #[error("`{text}` is zero; a rate must be greater than zero")]
    Zero {
        /// What was written.
        text: String,
    },
}

/// A duration in the largest unit that has no rest, as it is written: `26h`, `7d`.
pub(crate) fn describe_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(604_800, "w"), (86_400, "d"), (3600, "h"), (60, "m")];
    let fitting = units
        .iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    match fitting {
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// A percentage from 0% to 100%.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// The percentage as a number from 0 to 100; `None` beyond.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        if value <= 100 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The percentage as a number from 0 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}%", self.0)
    }
}

/// Reads `90s`, `5m`, `26h`, `14d` or `2w`. A day is 24 hours here: durations are measured, not counted in a calendar.
///
/// # Errors
/// When the text is not a whole number with one of these units, or is beyond 64 bits of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = number_and_unit(text, "26h")?;
    let factor = match unit {
        "" => {
            return Err(UnitError::NoUnit {
                text: shorten_text(text),
                example: "26h",
            });
        }
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => {
            return Err(UnitError::UnknownUnit {
                unit: shorten_text(unit),
                known: "s, m, h, d and w",
            });
        }
    };
    number
        .checked_mul(factor)
        .map(Duration::from_secs)
        .ok_or_else(|| UnitError::TooLarge {
            text: shorten_text(text),
        })
}

/// A duration as a policy writes it.
pub(crate) fn format_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// Reads a number of bytes: `4096`, `10MiB` (of 1024) or `1GB` (of 1000). Letter case does not matter.
///
/// # Errors
/// When the text is not a whole number with one of these units, or is beyond 64 bits of bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = number_and_unit(text, "10MiB")?;
    scale_to_bytes(text, number, unit)
}

/// Reads a number of bytes per second: a size that is not zero, with or without `/s` behind it: `10MiB`, `500KB/s`.
///
/// # Errors
/// As [`parse_size`], and when it is zero.
pub fn parse_rate(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = number_and_unit(text, "10MiB")?;
    let unit = unit.strip_suffix("/s").map_or(unit, str::trim_end);
    match scale_to_bytes(text, number, unit)? {
        0 => Err(UnitError::Zero {
            text: shorten_text(text),
        }),
        rate => Ok(rate),
    }
}

fn scale_to_bytes(text: &str, number: u64, unit: &str) -> Result<u64, UnitError> {
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000_u64.pow(2),
        "gb" => 1000_u64.pow(3),
        "tb" => 1000_u64.pow(4),
        "kib" => 1024,
        "mib" => 1024_u64.pow(2),
        "gib" => 1024_u64.pow(3),
        "tib" => 1024_u64.pow(4),
        _ => {
            let known = "B, KB, MB, GB, TB (of 1000), KiB, MiB, GiB and TiB (of 1024)";
            return Err(UnitError::UnknownUnit {
                unit: shorten_text(unit),
                known,
            });
        }
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| UnitError::TooLarge {
            text: shorten_text(text),
        })
}

/// Reads `0%` to `100%`.
///
/// # Errors
/// When the text is not a whole number with a percent sign, or is beyond 100.
pub fn parse_percent(text: &str) -> Result<Percent, UnitError> {
    let (number, unit) = number_and_unit(text, "50%")?;
    match unit {
        "" => Err(UnitError::NoUnit {
            text: shorten_text(text),
            example: "50%",
        }),
        "%" => {
            let share = u8::try_from(number).ok().and_then(Percent::new);
            share.ok_or_else(|| UnitError::TooLarge {
                text: shorten_text(text),
            })
        }
        _ => Err(UnitError::UnknownUnit {
            unit: shorten_text(unit),
            known: "%",
        }),
    }
}

fn number_and_unit<'a>(text: &'a str, example: &'static str) -> Result<(u64, &'a str), UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::NoNumber {
            text: shorten_text(text),
            example,
        });
    }
    let number = number.parse().map_err(|_| UnitError::TooLarge {
        text: shorten_text(text),
    })?;
    Ok((number, unit.trim_start()))
}

/// An error repeats the input, but not a whole file of it.
fn shorten_text(text: &str) -> String {
    text.chars().take(40).map(make_printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("26h"), Ok(93_600));
        assert_eq!(seconds("14d"), Ok(1_209_600));
        assert_eq!(seconds("2w"), Ok(1_209_600));
    }

    #[test]
    fn a_bad_duration_says_what_to_write() {
        let message = |text| parse_duration(text).unwrap_err().to_string();
        assert_eq!(message("90"), "`90` has no unit; write for example `26h`");
        assert_eq!(
            message("soon"),
            "`soon` does not begin with a whole number; write for example `26h`"
        );
        assert_eq!(
            message(""),
            "`` does not begin with a whole number; write for example `26h`"
        );
        assert_eq!(
            message("-5m"),
            "`-5m` does not begin with a whole number; write for example `26h`"
        );
        assert_eq!(
            message("1.5h"),
            "`.5h` is not a unit here; the units are s, m, h, d and w"
        );
        assert_eq!(
            message("3M"),
            "`M` is not a unit here; the units are s, m, h, d and w"
        );
        assert_eq!(
            message("99999999999999999999s"),
            "`99999999999999999999s` is too large"
        );
        assert_eq!(
            message("18446744073709551615w"),
            "`18446744073709551615w` is too large"
        );
    }

    #[test]
    fn sizes_know_both_kinds_of_kilo() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("10MiB"), Ok(10_485_760));
        assert_eq!(parse_size("1GB"), Ok(1_000_000_000));
        assert_eq!(parse_size("1 kib"), Ok(1024));
        assert!(parse_size("10M").is_err());
        assert!(parse_size("18446744073709551615TiB").is_err());
    }

    #[test]
    fn rates_are_sizes_that_are_not_zero() {
        assert_eq!(parse_rate("10MiB"), Ok(10_485_760));
        assert_eq!(parse_rate("10 mib /s"), Ok(10_485_760));
        assert_eq!(parse_rate("4096/s"), Ok(4096));
        for (text, message) in [
            ("0", "`0` is zero; a rate must be greater than zero"),
            ("0KB/s", "`0KB/s` is zero; a rate must be greater than zero"),
            ("1KB/h", "`KB/h` is not a unit here; the units are B, KB"),
            ("1M/s", "`M` is not a unit here; the units are B, KB"),
            (
                "/s",
                "`/s` does not begin with a whole number; write for example `10MiB`",
            ),
            (
                "18446744073709551615TB/s",
                "`18446744073709551615TB/s` is too large",
            ),
        ] {
            let found = parse_rate(text).unwrap_err().to_string();
            assert!(found.starts_with(message), "{found}");
        }
    }

    #[test]
    fn percentages_end_at_one_hundred() {
        assert_eq!(parse_percent("50%").map(Percent::get), Ok(50));
        assert_eq!(
            parse_percent("101%").unwrap_err().to_string(),
            "`101%` is too large"
        );
        assert_eq!(
            parse_percent("50").unwrap_err().to_string(),
            "`50` has no unit; write for example `50%`"
        );
    }
}
