//! Writing to the terminal. A closed pipe is no error.

use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};
pub(crate) use reprise_scheduler::text::{format_bytes, format_count};

/// Writes a line of a result.
pub(crate) fn print_line(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Writes a JSON value as one line of a result.
pub(crate) fn print_json(value: &serde_json::Value) {
    print_line(&value.to_string());
}

/// Writes a note while a command runs. Not part of its result.
pub(crate) fn print_note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Writes an error.
pub(crate) fn print_error(text: &str) {
    print_note(text);
}

/// A time for people and scripts alike.
pub(crate) fn format_time(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Seconds for people: `0.4 s`, `3 min 12 s`, `26 h 5 min`.
pub(crate) fn format_seconds(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a duration of some seconds"
    )]
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A table with columns as wide as their widest cell; the last column is not padded.
pub(crate) fn print_table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            if column + 1 == row.len() {
                cell.clone()
            } else {
                format!("{cell:<0$}", widths[column])
            }
        });
        print_line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_readable() {
        assert_eq!(
            [
                format_bytes(0),
                format_bytes(1023),
                format_bytes(1536),
                format_bytes(3 << 30)
            ],
            ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]
        );
        assert_eq!(
            [
                format_seconds(0.44),
                format_seconds(192.9),
                format_seconds(93_900.0)
            ],
            ["0.4 s", "3 min 12 s", "26 h 5 min"]
        );
        let entries = |number: u64| format_count(number, "entry", "entries");
        assert_eq!([entries(0), entries(1)], ["0 entries", "1 entry"]);
    }
}
