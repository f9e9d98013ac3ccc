//! The key that a table is read by, and the key ranges that connections share.

use std::collections::HashMap;

use reprise_mysql::sql::{qualify_name, quote_name};
use reprise_mysql::{DatabaseError, Session, TextRow};

/// How a column's values are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnType {
    pub(crate) data_type: String,
    pub(crate) charset: Option<String>,
    pub(crate) collation: Option<String>,
}

/// A unique key without NULL: every row has a unique position in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScanKey {
    /// Its name.
    pub(crate) name: String,
    /// Its columns.
    pub(crate) columns: Vec<(String, ColumnType)>,
}

/// How a key is split into ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SplitMethod {
    /// By calculation: one integer column.
    IntegerRanges,
    /// By finding where the next so many rows end.
    RowCounts,
    /// Not at all.
    Unsplittable,
}

const INTEGER_TYPES: [&str; 5] = ["tinyint", "smallint", "mediumint", "int", "bigint"];
const STRING_TYPES: [&str; 4] = ["char", "varchar", "binary", "varbinary"];
const TEMPORAL_TYPES: [&str; 4] = ["date", "datetime", "timestamp", "time"];

impl ScanKey {
    pub(crate) fn split_method(&self) -> SplitMethod {
        match self.columns.as_slice() {
            [(_, only)] if INTEGER_TYPES.contains(&only.data_type.as_str()) => {
                SplitMethod::IntegerRanges
            }
            columns
                if columns
                    .iter()
                    .all(|(_, column)| column.has_exact_literals()) =>
            {
                SplitMethod::RowCounts
            }
            _ => SplitMethod::Unsplittable,
        }
    }

    /// `ORDER BY` the key.
    pub(crate) fn column_list(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| quote_name(name))
            .collect();
        columns.join(", ")
    }

    /// The values of this key's columns in a row, as literals for comparison.
    pub(crate) fn bound_literals(&self, row: &TextRow) -> Option<Vec<String>> {
        self.columns
            .iter()
            .enumerate()
            .map(|(n, (_, column))| column.to_literal(row.bytes(n)?))
            .collect()
    }

    /// The condition for rows from `bound` on. Servers use no index for `(a, b) >= (x, y)`.
    pub(crate) fn at_or_after_condition(&self, bound: &[String]) -> String {
        self.comparison_condition(bound, ">", ">=")
    }

    /// The condition for rows before `bound`.
    pub(crate) fn before_condition(&self, bound: &[String]) -> String {
        self.comparison_condition(bound, "<", "<")
    }

    fn comparison_condition(&self, bound: &[String], strictly: &str, last: &str) -> String {
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| quote_name(name))
            .collect();
        let mut alternatives = Vec::new();
        for n in 0..names.len() {
            let operator = if n + 1 == names.len() { last } else { strictly };
            let equal = (0..n).map(|m| format!("{} = {}", names[m], bound[m]));
            let mut parts: Vec<String> = equal.collect();
            parts.push(format!("{} {operator} {}", names[n], bound[n]));
            alternatives.push(format!("({})", parts.join(" AND ")));
        }
        format!("({})", alternatives.join(" OR "))
    }
}

impl ColumnType {
    /// Whether a value can be written as a literal that compares exactly like the column.
    fn has_exact_literals(&self) -> bool {
        let kind = self.data_type.as_str();
        INTEGER_TYPES.contains(&kind)
            || STRING_TYPES.contains(&kind)
            || TEMPORAL_TYPES.contains(&kind)
            || kind == "decimal"
    }

    fn to_literal(&self, value: &[u8]) -> Option<String> {
        let kind = self.data_type.as_str();
        if STRING_TYPES.contains(&kind) {
            let mut hex = String::with_capacity(value.len() * 2 + 3);
            hex.push_str("x'");
            value
                .iter()
                .for_each(|byte| hex.push_str(&format!("{byte:02x}")));
            hex.push('\'');
            return Some(match (&self.charset, &self.collation) {
                (Some(charset), Some(collation)) => format!("_{charset} {hex} COLLATE {collation}"),
                _ => format!("_binary {hex}"),
            });
        }
        let value = std::str::from_utf8(value).ok()?;
        let plain = value
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"-+.: ".contains(&byte));
        if !plain {
            return None;
        }
        Some(if TEMPORAL_TYPES.contains(&kind) {
            format!("'{value}'")
        } else {
            value.to_owned()
        })
    }
}

/// The key to read a table by: the primary key, or else a unique key without NULL.
pub(crate) fn read_table_key(
    session: &mut Session,
    database: &str,
    table: &str,
    types: &HashMap<String, ColumnType>,
) -> Result<Option<ScanKey>, DatabaseError> {
    let rows = session.query_rows(format!("SHOW INDEX FROM {}", qualify_name(database, table)))?;
    let mut found: Vec<(ScanKey, bool)> = Vec::new();
    for row in &rows {
        let name = row.string(2);
        if row.text(1) != Some("0") || row.text(10) != Some("BTREE") || is_invisible_index(row) {
            continue;
        }
        // A prefix index orders by that prefix only; an expression has no name.
        let column = row
            .text(4)
            .filter(|_| row.bytes(7).is_none() && row.text(9) != Some("YES"));
        let typed = column.and_then(|column| Some((column.to_owned(), types.get(column)?.clone())));
        let usable = typed.is_some();
        match found.iter_mut().find(|(key, _)| key.name == name) {
            Some((key, all)) => {
                *all &= usable;
                key.columns.extend(typed);
            }
            None => {
                let columns = typed.into_iter().collect();
                found.push((ScanKey { name, columns }, usable));
            }
        }
    }
    let mut usable = found
        .into_iter()
        .filter(|(_, usable)| *usable)
        .map(|(key, _)| key);
    let first = usable.next();
    Ok(match first {
        Some(key) if key.name != "PRIMARY" => {
            Some(usable.find(|key| key.name == "PRIMARY").unwrap_or(key))
        }
        first => first,
    })
}

/// Whether the optimizer must not use the index, and rejects hints for it: MySQL has a column more
/// than MariaDB, with the opposite meaning.
fn is_invisible_index(row: &TextRow) -> bool {
    match row.column_count() {
        15 => row.text(13) == Some("NO"),
        14 => row.text(13) == Some("YES"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, data_type: &str) -> (String, ColumnType) {
        let text = STRING_TYPES.contains(&data_type);
        let of = |value: &str| text.then(|| value.to_owned());
        let r#type = ColumnType {
            data_type: data_type.to_owned(),
            charset: of("latin1"),
            collation: of("latin1_swedish_ci"),
        };
        (name.to_owned(), r#type)
    }

    fn key(columns: Vec<(String, ColumnType)>) -> ScanKey {
        ScanKey {
            name: "PRIMARY".to_owned(),
            columns,
        }
    }

    #[test]
    fn a_range_and_the_one_before_it_share_no_row_and_miss_none() {
        let key = key(vec![column("a", "int"), column("b", "varchar")]);
        let bound = [
            "5".to_owned(),
            "_latin1 x'e9' COLLATE latin1_swedish_ci".to_owned(),
        ];
        assert_eq!(
            key.at_or_after_condition(&bound),
            "((`a` > 5) OR (`a` = 5 AND `b` >= _latin1 x'e9' COLLATE latin1_swedish_ci))"
        );
        assert_eq!(
            key.before_condition(&bound),
            "((`a` < 5) OR (`a` = 5 AND `b` < _latin1 x'e9' COLLATE latin1_swedish_ci))"
        );
    }

    #[test]
    fn only_what_compares_exactly_is_cut() {
        assert_eq!(
            key(vec![column("a", "bigint")]).split_method(),
            SplitMethod::IntegerRanges
        );
        assert_eq!(
            key(vec![column("a", "int"), column("b", "date")]).split_method(),
            SplitMethod::RowCounts
        );
        for kind in ["enum", "float", "double", "bit", "json", "uuid", "set"] {
            assert_eq!(
                key(vec![column("a", kind)]).split_method(),
                SplitMethod::Unsplittable,
                "{kind}"
            );
        }
    }

    #[test]
    fn a_literal_cannot_be_anything_else() {
        let (_, time) = column("t", "datetime");
        assert_eq!(
            time.to_literal(b"2021-01-01 00:00:00.5"),
            Some("'2021-01-01 00:00:00.5'".to_owned())
        );
        assert_eq!(time.to_literal(b"'; DROP"), None);
        let (_, number) = column("n", "bigint");
        assert_eq!(number.to_literal(b"-5"), Some("-5".to_owned()));
    }
}
