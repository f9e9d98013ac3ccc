//! Writing to the terminal. A closed pipe is no error.
//!
//! Names, tags and messages come from hosts and servers that may be hostile. Here, in one place, they lose the power to
//! move the cursor, to hide or reorder text, and to begin a line of their own.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use reprise_repository::escape_line;
pub(crate) use reprise_scheduler::text::{format_bytes, format_count};
pub(crate) use reprise_times::format_time;

/// Writes a line of a result.
pub(crate) fn print_line(text: &str) {
    print_raw(&escape_line(text));
}

/// Writes text that this program has laid out in lines, as part of a result.
pub(crate) fn print_lines(text: &str) {
    text.lines().for_each(print_line);
}

/// Writes a JSON value as one line of a result.
pub(crate) fn print_json(value: &serde_json::Value) {
    print_raw(&value.to_string());
}

/// Writes a line of JSON or of a script, which must stay as it is.
pub(crate) fn print_raw(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Writes a note while a command runs. Not part of its result.
pub(crate) fn print_note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", escape_line(text)));
}

/// Writes a note that this program has laid out in lines.
pub(crate) fn print_notes(text: &str) {
    text.lines().for_each(print_note);
}

/// Writes an error.
pub(crate) fn print_error(text: &str) {
    print_note(text);
}

/// How many different log lines are remembered.
const LOG_LINES_MAX: usize = 1000;

/// Standard error for lines of the log. A command may meet the same object several times: unless details are wanted, the
/// same words about it are written once.
#[derive(Debug)]
pub(crate) struct TerminalLog {
    pub(crate) once: bool,
}

impl Write for TerminalLog {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        static WRITTEN: Mutex<BTreeSet<Vec<u8>>> = Mutex::new(BTreeSet::new());
        let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.once || is_new_line(&mut written, line) {
            std::io::stderr().lock().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

fn is_new_line(written: &mut BTreeSet<Vec<u8>>, line: &[u8]) -> bool {
    !written.contains(line) && (written.len() >= LOG_LINES_MAX || written.insert(line.to_vec()))
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

/// Prints a table whose first row has the titles of its columns. On a terminal that is too narrow for it, each row
/// becomes lines of title and cell.
pub(crate) fn print_table(rows: &[Vec<String>]) {
    format_table(rows, terminal_width())
        .iter()
        .for_each(|line| print_raw(line));
}

/// Prints rows without titles in columns.
pub(crate) fn print_columns(rows: &[Vec<String>]) {
    format_table(rows, None)
        .iter()
        .for_each(|line| print_raw(line));
}

/// Characters in a line of the terminal that standard output is; `None` when it is none.
fn terminal_width() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The lines of a table with columns as wide as their widest cell; the last column is not padded.
fn format_table(rows: &[Vec<String>], width_max: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| escape_line(cell)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let aligned: Vec<String> = rows.iter().map(|row| align_row(row, &widths)).collect();
    let is_too_wide = |line: &String| width_max.is_some_and(|max| line.chars().count() > max);
    if aligned.iter().any(is_too_wide) {
        return list_cells(&rows);
    }
    aligned
}

fn align_row(row: &[Cow<'_, str>], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).enumerate();
    let cells = cells.map(|(column, (cell, width))| match column + 1 == row.len() {
        true => cell.to_string(),
        false => format!("{cell:<width$}"),
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// Each row below the first as lines of title and cell, with an empty line between two rows.
fn list_cells(rows: &[Vec<Cow<'_, str>>]) -> Vec<String> {
    let Some((titles, rows)) = rows.split_first() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for row in rows {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let filled = titles.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        lines.extend(filled.map(|(title, cell)| format!("{title}: {cell}")));
    }
    lines
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

    #[test]
    fn a_log_line_is_new_once_and_never_held_back_for_want_of_memory() {
        let mut written = BTreeSet::new();
        assert!(is_new_line(&mut written, b"a") && is_new_line(&mut written, b"b"));
        assert!(!is_new_line(&mut written, b"a"));
        let many = (0..=LOG_LINES_MAX).map(|n| n.to_string());
        assert!(
            many.into_iter()
                .all(|line| is_new_line(&mut written, line.as_bytes()))
        );
        assert!(is_new_line(&mut written, b"another"));
    }

    fn table() -> Vec<Vec<String>> {
        let rows = [
            ["ID", "SOURCE", "TAGS"],
            ["1", "etc", "a=b"],
            ["22", "x\u{1b}[2J", ""],
        ];
        rows.map(|row| row.map(str::to_owned).to_vec()).to_vec()
    }

    #[test]
    fn a_table_is_aligned_by_what_is_shown() {
        let aligned = [
            "ID  SOURCE      TAGS",
            "1   etc         a=b",
            "22  x\\u{1b}[2J",
        ];
        assert_eq!(format_table(&table(), None), aligned);
        assert_eq!(format_table(&table(), Some(20)), aligned);
    }

    #[test]
    fn a_table_that_is_too_wide_becomes_lines() {
        let lines = [
            "ID: 1",
            "SOURCE: etc",
            "TAGS: a=b",
            "",
            "ID: 22",
            "SOURCE: x\\u{1b}[2J",
        ];
        assert_eq!(format_table(&table(), Some(19)), lines);
    }
}
