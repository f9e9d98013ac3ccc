//! Rows as lines: loaded by `LOAD DATA` without interpretation, with a checksum that is independent of order.

use std::fmt::Write as _;
use std::io::Write as _;

use twox_hash::XxHash3_128;

use crate::connection::Value;
use crate::manifest::ValueFormat;

/// Appends one row as a line, without its line end.
///
/// # Errors
/// An error text, when the server sent a value that no column of the type can have.
pub fn write_line(
    values: &[Value],
    forms: &[ValueFormat],
    line: &mut Vec<u8>,
) -> Result<(), String> {
    if values.len() != forms.len() {
        return Err(format!(
            "the server sent {} values for {} columns",
            values.len(),
            forms.len()
        ));
    }
    for (n, (value, form)) in values.iter().zip(forms).enumerate() {
        if n > 0 {
            line.push(b'\t');
        }
        write_value(value, *form, line)?;
    }
    Ok(())
}

fn write_value(value: &Value, form: ValueFormat, line: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::NULL => line.extend_from_slice(b"\\N"),
        Value::Bytes(bytes) => write_escaped_bytes(bytes, line),
        Value::Int(number) if form == ValueFormat::Year => write_year(number, line),
        Value::UInt(number) if form == ValueFormat::Year => write_year(number, line),
        Value::Int(number) => write_integer(*number, line),
        Value::UInt(number) => write_integer(*number, line),
        // Every FLOAT is exactly a DOUBLE; its own shortest text could be rounded twice when it is loaded.
        Value::Float(number) => write_double(f64::from(*number), line),
        #[expect(clippy::cast_possible_truncation, reason = "an index is at most 65535")]
        Value::Double(number) if form == ValueFormat::Enum => write_integer(*number as i64, line),
        Value::Double(number) => write_double(*number, line),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            write_date(*year, *month, *day, line);
            if let ValueFormat::Datetime(digits) = form {
                line.push(b' ');
                write_two_digits(*hour, line);
                write_minutes_and_seconds(*minute, *second, *micros, digits, line);
            }
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let ValueFormat::Time(digits) = form else {
                return Err("the server sent a TIME value for a column of another type".to_owned());
            };
            if *negative {
                line.push(b'-');
            }
            // Writing to a Vec cannot fail.
            let _ = write!(line, "{:02}", days * 24 + u32::from(*hours));
            write_minutes_and_seconds(*minutes, *seconds, *micros, digits, line);
        }
    }
    Ok(())
}

fn write_integer(number: impl itoa::Integer, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_year(year: &impl std::fmt::Display, line: &mut Vec<u8>) {
    let _ = write!(line, "{year:0>4}");
}

/// Tab, newline and backslash would be misread; every other byte stays as it is.
fn write_escaped_bytes(mut bytes: &[u8], line: &mut Vec<u8>) {
    line.reserve(bytes.len());
    while let Some(at) = memchr::memchr3(b'\t', b'\n', b'\\', bytes) {
        line.extend_from_slice(&bytes[..at]);
        line.extend_from_slice(match bytes[at] {
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\\\",
        });
        bytes = &bytes[at + 1..];
    }
    line.extend_from_slice(bytes);
}

/// The shortest digits that parse to the same number.
fn write_double(number: f64, line: &mut Vec<u8>) {
    let _ = if number == 0.0 || (1e-5..1e15).contains(&number.abs()) {
        write!(line, "{number}")
    } else {
        write!(line, "{number:e}")
    };
}

fn write_date(year: u16, month: u8, day: u8, line: &mut Vec<u8>) {
    write_two_digits((year / 100 % 100) as u8, line);
    write_two_digits((year % 100) as u8, line);
    line.push(b'-');
    write_two_digits(month, line);
    line.push(b'-');
    write_two_digits(day, line);
}

/// Minutes, seconds and their fraction, after the hours.
fn write_minutes_and_seconds(minute: u8, second: u8, micros: u32, digits: u8, line: &mut Vec<u8>) {
    line.push(b':');
    write_two_digits(minute, line);
    line.push(b':');
    write_two_digits(second, line);
    if digits > 0 {
        let fraction = format!("{micros:06}");
        line.push(b'.');
        line.extend_from_slice(&fraction.as_bytes()[..usize::from(digits.min(6))]);
    }
}

fn write_two_digits(number: u8, line: &mut Vec<u8>) {
    line.extend_from_slice(&[b'0' + number / 10 % 10, b'0' + number % 10]);
}

/// A checksum of lines in any order: the sum of their hashes, so that a repeated row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowChecksum {
    sum: u128,
    /// Number of lines.
    pub rows: u64,
}

impl RowChecksum {
    /// Adds one line, without its line end. Returns its hash.
    pub fn add_line(&mut self, line: &[u8]) -> u128 {
        let hash = XxHash3_128::oneshot(line);
        self.sum = self.sum.wrapping_add(hash);
        self.rows += 1;
        hash
    }

    /// Adds the lines of another checksum.
    pub fn merge(&mut self, other: &Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.rows += other.rows;
    }

    /// The sum in hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let mut hex = String::with_capacity(32);
        let _ = write!(hex, "{:032x}", self.sum);
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value_as_text(value: &Value, form: ValueFormat) -> String {
        let mut line = Vec::new();
        write_value(value, form, &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn values_are_written_as_the_server_reads_them() {
        let cases = [
            (Value::NULL, ValueFormat::Plain, "\\N"),
            (Value::Bytes(b"\\N".to_vec()), ValueFormat::Plain, "\\\\N"),
            (
                Value::Bytes(b"a\tb\nc\\d\r\0".to_vec()),
                ValueFormat::Plain,
                "a\\tb\\nc\\\\d\r\0",
            ),
            (
                Value::Int(i64::MIN),
                ValueFormat::Plain,
                "-9223372036854775808",
            ),
            (
                Value::UInt(u64::MAX),
                ValueFormat::Plain,
                "18446744073709551615",
            ),
            (Value::Int(0), ValueFormat::Year, "0000"),
            (Value::UInt(2155), ValueFormat::Year, "2155"),
            (Value::Double(3.0), ValueFormat::Enum, "3"),
            (Value::Double(-0.0), ValueFormat::Plain, "-0"),
            (
                Value::Double(1.797_693_134_862_315_7e308),
                ValueFormat::Plain,
                "1.7976931348623157e308",
            ),
            (Value::Float(16_777_216.0), ValueFormat::Plain, "16777216"),
            (
                Value::Date(0, 0, 0, 0, 0, 0, 0),
                ValueFormat::Date,
                "0000-00-00",
            ),
            (
                Value::Date(2021, 2, 31, 0, 0, 0, 0),
                ValueFormat::Datetime(0),
                "2021-02-31 00:00:00",
            ),
            (
                Value::Date(2021, 2, 3, 4, 5, 6, 7),
                ValueFormat::Datetime(6),
                "2021-02-03 04:05:06.000007",
            ),
            (
                Value::Date(2021, 2, 3, 4, 5, 6, 120_000),
                ValueFormat::Datetime(2),
                "2021-02-03 04:05:06.12",
            ),
            (
                Value::Time(true, 34, 22, 59, 59, 0),
                ValueFormat::Time(0),
                "-838:59:59",
            ),
            (
                Value::Time(false, 0, 0, 0, 0, 1),
                ValueFormat::Time(6),
                "00:00:00.000001",
            ),
        ];
        for (value, form, expected) in cases {
            assert_eq!(value_as_text(&value, form), expected);
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_repetition_does() {
        let of = |lines: &[&str]| {
            let mut sum = RowChecksum::default();
            for line in lines {
                sum.add_line(line.as_bytes());
            }
            sum
        };
        assert_eq!(of(&["a", "b", "c"]), of(&["c", "a", "b"]));
        assert_ne!(of(&["a", "a"]).to_hex(), of(&[]).to_hex());
        assert_ne!(of(&["a"]).to_hex(), of(&["b"]).to_hex());
        let mut joined = of(&["a"]);
        joined.merge(&of(&["b"]));
        assert_eq!(joined, of(&["b", "a"]));
    }

    proptest! {
        #[test]
        fn numbers_come_back_exactly(bits: u64, small: u32) {
            let double = f64::from_bits(bits);
            if double.is_finite() {
                let text = value_as_text(&Value::Double(double), ValueFormat::Plain);
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
            }
            let float = f32::from_bits(small);
            if float.is_finite() {
                let text = value_as_text(&Value::Float(float), ValueFormat::Plain);
                #[expect(clippy::cast_possible_truncation, reason = "this is what a server does with a FLOAT")]
                let back = text.parse::<f64>().unwrap() as f32;
                prop_assert_eq!(back.to_bits(), small);
            }
        }

        #[test]
        fn a_line_never_holds_an_end_of_line_or_a_bare_tab(bytes: Vec<u8>) {
            let mut line = Vec::new();
            write_escaped_bytes(&bytes, &mut line);
            prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\t'));
        }
    }
}
