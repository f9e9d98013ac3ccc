//! Counting the rows of an event: values are skipped by their lengths.

use crate::binlog::cursor::ByteCursor;
use crate::binlog::event::{Event, kind};

/// Column type codes whose values have other lengths than their type says.
mod column_type {
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TIMESTAMP2: u8 = 17;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    pub(super) const COMPRESSED_BLOB: u8 = 140;
    pub(super) const COMPRESSED_VARCHAR: u8 = 141;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const JSON: u8 = 245;
    pub(super) const DECIMAL: u8 = 246;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
    pub(super) const BLOB: u8 = 252;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
    pub(super) const GEOMETRY: u8 = 255;
}

/// The length of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ColumnWidth {
    Fixed(usize),
    /// A length prefix of this many bytes.
    LengthPrefixed(usize),
}

/// The columns of a table, as far as skipping their values needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumns {
    widths: Vec<ColumnWidth>,
    /// How many of them hold JSON.
    json_columns: usize,
}

impl TableColumns {
    /// Parses a table map event; `None` when a column has an unknown type.
    #[must_use]
    pub fn from_table_map(map: &Event) -> Option<Self> {
        let mut cursor = ByteCursor::new(map.body());
        cursor.take(8)?;
        for _ in 0..2 {
            let length = usize::try_from(cursor.length_encoded_int()?).ok()?;
            cursor.take(length + 1)?;
        }
        let count = usize::try_from(cursor.length_encoded_int()?).ok()?;
        let types = cursor.take(count)?;
        let length = usize::try_from(cursor.length_encoded_int()?).ok()?;
        let mut metadata = ByteCursor::new(cursor.take(length)?);
        let widths = types
            .iter()
            .map(|kind| column_width(*kind, &mut metadata))
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            widths,
            json_columns: types
                .iter()
                .filter(|kind| **kind == column_type::JSON)
                .count(),
        })
    }

    /// Number of rows in an event; `None` when it does not match these columns, or is compressed.
    #[must_use]
    pub fn count_rows(&self, event: &Event) -> Option<u64> {
        let mut cursor = ByteCursor::new(event.body());
        cursor.take(8)?;
        if event.kind() >= kind::WRITE_ROWS {
            let more = usize::from(cursor.u16()?);
            cursor.take(more.checked_sub(2)?)?;
        }
        let count = usize::try_from(cursor.length_encoded_int()?).ok()?;
        if count != self.widths.len() || event.kind() >= kind::MARIADB_ANNOTATE_ROWS {
            return None;
        }
        let bitmap = count.div_ceil(8);
        let before = cursor.take(bitmap)?;
        let after = match event.kind() {
            kind::UPDATE_ROWS | kind::UPDATE_ROWS_V1 | kind::PARTIAL_UPDATE_ROWS => {
                Some(cursor.take(bitmap)?)
            }
            _ => None,
        };
        let mut rows = 0;
        while !cursor.is_empty() {
            self.skip_row_image(&mut cursor, before)?;
            if let Some(after) = after {
                if event.kind() == kind::PARTIAL_UPDATE_ROWS
                    && cursor.length_encoded_int()? & 1 != 0
                {
                    cursor.take(self.json_columns.div_ceil(8))?;
                }
                self.skip_row_image(&mut cursor, after)?;
            }
            rows += 1;
        }
        Some(rows)
    }

    fn skip_row_image(&self, cursor: &mut ByteCursor<'_>, present: &[u8]) -> Option<()> {
        let columns = || (0..self.widths.len()).filter(|n| is_set(present, *n));
        let nulls = cursor.take(columns().count().div_ceil(8))?;
        for (place, column) in columns().enumerate() {
            if is_set(nulls, place) {
                continue;
            }
            let length = match self.widths[column] {
                ColumnWidth::Fixed(length) => length,
                ColumnWidth::LengthPrefixed(bytes) => {
                    usize::try_from(cursor.fixed_int(bytes)?).ok()?
                }
            };
            cursor.take(length)?;
        }
        Some(())
    }
}

fn is_set(bits: &[u8], n: usize) -> bool {
    bits.get(n / 8)
        .is_some_and(|byte| byte & (1 << (n % 8)) != 0)
}

fn column_width(kind: u8, metadata: &mut ByteCursor<'_>) -> Option<ColumnWidth> {
    let told = |longest: usize| ColumnWidth::LengthPrefixed(if longest > 255 { 2 } else { 1 });
    let fraction = |digits: u8| usize::from(digits).div_ceil(2);
    Some(match kind {
        6 => ColumnWidth::Fixed(0),
        1 | 13 => ColumnWidth::Fixed(1),
        2 => ColumnWidth::Fixed(2),
        9 | 10 | 11 | 14 => ColumnWidth::Fixed(3),
        3 | 7 => ColumnWidth::Fixed(4),
        8 | 12 => ColumnWidth::Fixed(8),
        column_type::FLOAT | column_type::DOUBLE => ColumnWidth::Fixed(usize::from(metadata.u8()?)),
        column_type::TIMESTAMP2 => ColumnWidth::Fixed(4 + fraction(metadata.u8()?)),
        column_type::DATETIME2 => ColumnWidth::Fixed(5 + fraction(metadata.u8()?)),
        column_type::TIME2 => ColumnWidth::Fixed(3 + fraction(metadata.u8()?)),
        column_type::VARCHAR | column_type::COMPRESSED_VARCHAR => {
            told(usize::from(metadata.u16()?))
        }
        column_type::BLOB
        | column_type::COMPRESSED_BLOB
        | column_type::GEOMETRY
        | column_type::JSON
        | column_type::VECTOR => ColumnWidth::LengthPrefixed(usize::from(metadata.u8()?)),
        column_type::BIT => {
            let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
            ColumnWidth::Fixed(usize::from(bytes) + usize::from(bits > 0))
        }
        column_type::DECIMAL => {
            let (digits, scale) = (metadata.u8()?, metadata.u8()?);
            ColumnWidth::Fixed(decimal_width(
                usize::from(digits.checked_sub(scale)?),
                usize::from(scale),
            ))
        }
        column_type::ENUM | column_type::SET => {
            metadata.u8()?;
            ColumnWidth::Fixed(usize::from(metadata.u8()?))
        }
        column_type::STRING | column_type::VAR_STRING => {
            string_width(metadata.u8()?, metadata.u8()?)
        }
        _ => return None,
    })
}

/// Two bits of a length above 255 are hidden in the type.
fn string_width(kind: u8, length: u8) -> ColumnWidth {
    const LENGTH_BITS: u8 = 0x30;
    match kind {
        column_type::ENUM | column_type::SET => ColumnWidth::Fixed(usize::from(length)),
        kind if kind & LENGTH_BITS == LENGTH_BITS => ColumnWidth::LengthPrefixed(1),
        kind => {
            let long = usize::from(length) | usize::from((kind & LENGTH_BITS) ^ LENGTH_BITS) << 4;
            ColumnWidth::LengthPrefixed(if long > 255 { 2 } else { 1 })
        }
    }
}

/// Nine digits take four bytes, fewer take fewer.
fn decimal_width(whole: usize, scale: usize) -> usize {
    const BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
    let part = |digits: usize| digits / 9 * 4 + BYTES[digits % 9];
    part(whole) + part(scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::event::build_event;

    /// A table `d.t` with columns of these types.
    fn map(types: &[u8], metadata: &[u8]) -> Event {
        let mut body = vec![0; 8];
        body.extend([1, b'd', 0, 1, b't', 0]);
        body.push(u8::try_from(types.len()).unwrap());
        body.extend(types);
        body.push(u8::try_from(metadata.len()).unwrap());
        body.extend(metadata);
        body.push(0xff);
        build_event(7, kind::TABLE_MAP, &body, true)
    }

    #[test]
    fn rows_of_values_of_any_length_are_counted() {
        let types = [
            3,
            column_type::VARCHAR,
            column_type::DECIMAL,
            column_type::STRING,
        ];
        let columns =
            TableColumns::from_table_map(&map(&types, &[0x2c, 1, 10, 2, 0xee, 0x80])).unwrap();
        let mut body = vec![0; 8];
        body.extend([2, 0, 4, 0b1111]);
        // A number, a text with two bytes of length, a decimal of five bytes, a text of a long column.
        let row = [
            vec![0, 1, 0, 0, 0, 3, 0],
            b"abc".to_vec(),
            vec![1; 5],
            vec![1, 0, b'x'],
        ];
        body.extend(row.concat());
        // NULL everywhere but in the first column.
        body.extend([0b1110, 2, 0, 0, 0]);
        let event = build_event(7, kind::WRITE_ROWS, &body, true);
        assert_eq!(columns.count_rows(&event), Some(2));
        let cut = build_event(7, kind::WRITE_ROWS, &body[..body.len() - 1], true);
        assert_eq!(columns.count_rows(&cut), None);
    }

    #[test]
    fn a_changed_row_has_two_images_and_is_one_row() {
        let columns = TableColumns::from_table_map(&map(&[1], &[])).unwrap();
        let body = [vec![0; 8], vec![2, 0, 1, 1, 1, 0, 5, 0, 6]].concat();
        assert_eq!(
            columns.count_rows(&build_event(7, kind::UPDATE_ROWS, &body, true)),
            Some(1)
        );
        assert_eq!(TableColumns::from_table_map(&map(&[200], &[])), None);
    }
}
