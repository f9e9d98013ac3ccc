//! What stands before a statement because its text does not say it: user variables, seeds, counters.

use std::fmt::Write as _;

use super::bytes::Cursor;
use super::event::{Event, EventError, kind};

/// A value that a statement needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Variable {
    /// `LAST_INSERT_ID`.
    LastInsertId(u64),
    /// `INSERT_ID`.
    InsertId(u64),
    /// Both seeds of `RAND()`.
    Seeds(u64, u64),
    /// A user variable.
    User {
        /// Its name, in UTF-8.
        name: Vec<u8>,
        /// Its value.
        value: UserValue,
    },
}

/// The value of a user variable.
#[derive(Debug, Clone, PartialEq)]
pub enum UserValue {
    /// `NULL`.
    Null,
    /// A text with the number of its collation.
    Text(Vec<u8>, u32),
    /// A floating point number.
    Real(f64),
    /// A whole number.
    Signed(i64),
    /// A whole number without a sign.
    Unsigned(u64),
    /// An exact number, as written.
    Decimal(String),
}

impl Variable {
    /// Reads such an event.
    ///
    /// # Errors
    /// When it is none or cannot be understood.
    pub fn of(event: &Event) -> Result<Self, EventError> {
        let mut body = Cursor::new(event.body());
        let variable = match event.kind() {
            kind::INTVAR => integer(&mut body),
            kind::RAND => seeds(&mut body),
            kind::USER_VAR => user(&mut body),
            _ => None,
        };
        variable.ok_or_else(|| EventError::content(event.kind(), "its value cannot be parsed"))
    }
}

fn integer(body: &mut Cursor<'_>) -> Option<Variable> {
    match (body.u8()?, body.u64()?) {
        (1, value) => Some(Variable::LastInsertId(value)),
        (2, value) => Some(Variable::InsertId(value)),
        _ => None,
    }
}

fn seeds(body: &mut Cursor<'_>) -> Option<Variable> {
    Some(Variable::Seeds(body.u64()?, body.u64()?))
}

fn user(body: &mut Cursor<'_>) -> Option<Variable> {
    let length = usize::try_from(body.u32()?).ok()?;
    let name = body.take(length)?.to_vec();
    if body.u8()? != 0 {
        let value = UserValue::Null;
        return Some(Variable::User { name, value });
    }
    let form = body.u8()?;
    let collation = body.u32()?;
    let length = usize::try_from(body.u32()?).ok()?;
    let bytes = body.take(length)?;
    let unsigned = body.u8().unwrap_or(0) & 1 != 0;
    let value = match form {
        0 => UserValue::Text(bytes.to_vec(), collation),
        1 => UserValue::Real(f64::from_le_bytes(bytes.try_into().ok()?)),
        2 if unsigned => UserValue::Unsigned(u64::from_le_bytes(bytes.try_into().ok()?)),
        2 => UserValue::Signed(i64::from_le_bytes(bytes.try_into().ok()?)),
        4 => UserValue::Decimal(decimal(bytes)?),
        _ => return None,
    };
    Some(Variable::User { name, value })
}

/// Nine digits take four bytes; what is left of them this many.
const REST_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// An exact number in the server's packed form: precision, scale, then groups of nine digits from the point on
/// to both sides, most significant byte first. The first bit is set unless it is negative; then all are inverted.
fn decimal(bytes: &[u8]) -> Option<String> {
    let (&[precision, scale], packed) = bytes.split_first_chunk::<2>()?;
    let (precision, scale) = (usize::from(precision), usize::from(scale));
    let whole = precision.checked_sub(scale)?;
    let negative = packed.first()? & 0x80 == 0;
    let mut packed: Vec<u8> = packed
        .iter()
        .map(|byte| if negative { !byte } else { *byte })
        .collect();
    *packed.first_mut()? ^= 0x80;
    let mut cursor = Cursor::new(&packed);
    let mut text = String::new();
    group(&mut cursor, &mut text, whole % 9)?;
    for _ in 0..whole / 9 {
        group(&mut cursor, &mut text, 9)?;
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
            group(&mut cursor, &mut text, 9)?;
        }
        group(&mut cursor, &mut text, scale % 9)?;
    }
    Some(text)
}

fn group(cursor: &mut Cursor<'_>, text: &mut String, digits: usize) -> Option<()> {
    if digits > 0 {
        let bytes = cursor.take(REST_BYTES[digits])?;
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
        // From the server's own documentation of the form: 1234567890.1234 with 14 digits, 4 after the point.
        let packed = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        let with = |bytes: &[u8]| [&[14, 4], bytes].concat();
        assert_eq!(decimal(&with(&packed)).unwrap(), "1234567890.1234");
        let negative: Vec<u8> = packed.iter().map(|byte| !byte).collect();
        assert_eq!(decimal(&with(&negative)).unwrap(), "-1234567890.1234");
        assert_eq!(decimal(&[3, 2, 0x81, 50]).unwrap(), "1.50");
        assert_eq!(decimal(&[3, 2]), None);
    }

    #[test]
    fn user_variables_have_names_and_values() {
        let mut body = 1_u32.to_le_bytes().to_vec();
        body.extend([b'u', 0, 2]);
        body.extend(63_u32.to_le_bytes());
        body.extend(8_u32.to_le_bytes());
        body.extend((-5_i64).to_le_bytes());
        let expected = |value| Variable::User {
            name: b"u".to_vec(),
            value,
        };
        let read = |body: &[u8]| user(&mut Cursor::new(body)).unwrap();
        assert_eq!(read(&body), expected(UserValue::Signed(-5)));
        body.push(1);
        assert_eq!(read(&body), expected(UserValue::Unsigned(u64::MAX - 4)));
        assert_eq!(read(&[1, 0, 0, 0, b'u', 1]), expected(UserValue::Null));
    }
}
