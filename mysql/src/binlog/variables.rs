//! Values that precede a statement because its text does not contain them: user variables, seeds, counters.

use std::fmt::Write as _;

use crate::binlog::cursor::ByteCursor;
use crate::binlog::event::{Event, EventError, kind};

/// A value that a statement needs.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementVariable {
    /// `LAST_INSERT_ID`.
    LastInsertId(u64),
    /// `INSERT_ID`.
    InsertId(u64),
    /// Both seeds of `RAND()`.
    RandSeeds(u64, u64),
    /// A user variable.
    User {
        /// Its name, in UTF-8.
        name: Vec<u8>,
        /// Its value.
        value: UserVariableValue,
    },
}

/// The value of a user variable.
#[derive(Debug, Clone, PartialEq)]
pub enum UserVariableValue {
    /// `NULL`.
    Null,
    /// A string with its collation ID.
    Text(Vec<u8>, u32),
    /// A floating point number.
    Real(f64),
    /// A signed integer.
    Signed(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A decimal, as written.
    Decimal(String),
}

impl StatementVariable {
    /// Parses such an event.
    ///
    /// # Errors
    /// When it is of another type or cannot be parsed.
    pub fn from_event(event: &Event) -> Result<Self, EventError> {
        let mut body = ByteCursor::new(event.body());
        let variable = match event.kind() {
            kind::INTVAR => parse_integer_variable(&mut body),
            kind::RAND => parse_rand_seeds(&mut body),
            kind::USER_VAR => parse_user_variable(&mut body),
            _ => None,
        };
        variable.ok_or_else(|| EventError::malformed(event.kind(), "its value cannot be parsed"))
    }
}

fn parse_integer_variable(body: &mut ByteCursor<'_>) -> Option<StatementVariable> {
    match (body.u8()?, body.u64()?) {
        (1, value) => Some(StatementVariable::LastInsertId(value)),
        (2, value) => Some(StatementVariable::InsertId(value)),
        _ => None,
    }
}

fn parse_rand_seeds(body: &mut ByteCursor<'_>) -> Option<StatementVariable> {
    Some(StatementVariable::RandSeeds(body.u64()?, body.u64()?))
}

fn parse_user_variable(body: &mut ByteCursor<'_>) -> Option<StatementVariable> {
    let length = usize::try_from(body.u32()?).ok()?;
    let name = body.take(length)?.to_vec();
    if body.u8()? != 0 {
        let value = UserVariableValue::Null;
        return Some(StatementVariable::User { name, value });
    }
    let form = body.u8()?;
    let collation = body.u32()?;
    let length = usize::try_from(body.u32()?).ok()?;
    let bytes = body.take(length)?;
    let unsigned = body.u8().unwrap_or(0) & 1 != 0;
    let value = match form {
        0 => UserVariableValue::Text(bytes.to_vec(), collation),
        1 => UserVariableValue::Real(f64::from_le_bytes(bytes.try_into().ok()?)),
        2 if unsigned => UserVariableValue::Unsigned(u64::from_le_bytes(bytes.try_into().ok()?)),
        2 => UserVariableValue::Signed(i64::from_le_bytes(bytes.try_into().ok()?)),
        4 => UserVariableValue::Decimal(parse_decimal(bytes)?),
        _ => return None,
    };
    Some(StatementVariable::User { name, value })
}

/// Nine digits take four bytes; the remaining ones this many.
const BYTES_PER_DIGITS: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// A decimal in the server's binary format: precision, scale, then groups of nine digits from the decimal point
/// outwards, most significant byte first. The first bit is set unless it is negative; then all are inverted.
fn parse_decimal(bytes: &[u8]) -> Option<String> {
    let (&[precision, scale], packed) = bytes.split_first_chunk::<2>()?;
    let (precision, scale) = (usize::from(precision), usize::from(scale));
    let whole = precision.checked_sub(scale)?;
    let negative = packed.first()? & 0x80 == 0;
    let mut packed: Vec<u8> = packed
        .iter()
        .map(|byte| if negative { !byte } else { *byte })
        .collect();
    *packed.first_mut()? ^= 0x80;
    let mut cursor = ByteCursor::new(&packed);
    let mut text = String::new();
    append_digits(&mut cursor, &mut text, whole % 9)?;
    for _ in 0..whole / 9 {
        append_digits(&mut cursor, &mut text, 9)?;
    }
    let digits = text.trim_start_matches('0');
    let mut text = format!(
        "{}{}",
        if negative { "-" } else { "" },
        if digits.is_empty() { "0" } else { digits }
    );
    if scale > 0 {
        text.push('.');
        for _ in 0..scale / 9 {
            append_digits(&mut cursor, &mut text, 9)?;
        }
        append_digits(&mut cursor, &mut text, scale % 9)?;
    }
    Some(text)
}

fn append_digits(cursor: &mut ByteCursor<'_>, text: &mut String, digits: usize) -> Option<()> {
    if digits > 0 {
        let bytes = cursor.take(BYTES_PER_DIGITS[digits])?;
        let number = bytes
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        write!(text, "{number:0digits$}").ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_numbers_are_unpacked() {
        // From the server's own documentation of the format: 1234567890.1234 with 14 digits, 4 after the point.
        let packed = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        let with = |bytes: &[u8]| [&[14, 4], bytes].concat();
        assert_eq!(parse_decimal(&with(&packed)).unwrap(), "1234567890.1234");
        let negative: Vec<u8> = packed.iter().map(|byte| !byte).collect();
        assert_eq!(parse_decimal(&with(&negative)).unwrap(), "-1234567890.1234");
        assert_eq!(parse_decimal(&[3, 2, 0x81, 50]).unwrap(), "1.50");
        assert_eq!(parse_decimal(&[3, 2]), None);
    }

    #[test]
    fn user_variables_have_names_and_values() {
        let mut body = 1_u32.to_le_bytes().to_vec();
        body.extend([b'u', 0, 2]);
        body.extend(63_u32.to_le_bytes());
        body.extend(8_u32.to_le_bytes());
        body.extend((-5_i64).to_le_bytes());
        let expected = |value| StatementVariable::User {
            name: b"u".to_vec(),
            value,
        };
        let read = |body: &[u8]| parse_user_variable(&mut ByteCursor::new(body)).unwrap();
        assert_eq!(read(&body), expected(UserVariableValue::Signed(-5)));
        body.push(1);
        assert_eq!(
            read(&body),
            expected(UserVariableValue::Unsigned(u64::MAX - 4))
        );
        assert_eq!(
            read(&[1, 0, 0, 0, b'u', 1]),
            expected(UserVariableValue::Null)
        );
    }
}
