//! SQL fragments that source and target share.

use crate::manifest::{MysqlAccount, MysqlTable, PUBLIC_ROLE, TableColumn, ValueFormat};

/// A name in backticks.
#[must_use]
pub fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `database`.`name`
#[must_use]
pub fn qualify_name(database: &str, name: &str) -> String {
    format!("{}.{}", quote_name(database), quote_name(name))
}

/// A quoted string, for sessions whose `sql_mode` lets a backslash escape.
#[must_use]
pub fn quote_text(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('\'');
    for c in value.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A list of strings, as `('a', 'b')`.
#[must_use]
pub fn quote_list<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = values.into_iter().map(quote_text).collect();
    format!("({})", texts.join(", "))
}

/// The expression that reads a column, so that it can be written and loaded exactly.
#[must_use]
pub fn select_expression(column: &TableColumn) -> String {
    let name = quote_name(&column.name);
    match column.form {
        // The index: an invalid value and an empty one look alike as text.
        ValueFormat::Enum => format!("{name}+0"),
        _ => name,
    }
}

/// The statement that loads a table's rows from a file, byte by byte as they were written.
#[must_use]
pub fn load_data_statement(file: &str, database: &str, table: &MysqlTable) -> String {
    let mut columns = Vec::new();
    let mut set = Vec::new();
    for (n, column) in table.columns.iter().enumerate() {
        let name = quote_name(&column.name);
        match column.form {
            ValueFormat::Enum => {
                columns.push(format!("@c{n}"));
                set.push(format!("{name} = @c{n}+0"));
            }
            // These types accept no binary string.
            ValueFormat::Json | ValueFormat::Unicode => {
                columns.push(format!("@c{n}"));
                set.push(format!("{name} = CONVERT(@c{n} USING utf8mb4)"));
            }
            _ => columns.push(name),
        }
    }
    if columns.is_empty() {
        columns.push("@none".to_owned());
    }
    let set = if set.is_empty() {
        String::new()
    } else {
        format!(" SET {}", set.join(", "))
    };
    format!(
        "LOAD DATA LOCAL INFILE {} INTO TABLE {} CHARACTER SET binary \
         FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({}){set}",
        quote_text(file),
        qualify_name(database, &table.name),
        columns.join(", "),
    )
}

/// Whether a text contains a name that is not part of a longer one.
#[must_use]
pub fn contains_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside)
    })
}

/// `'user'@'host'`
#[must_use]
pub fn format_account(account: &MysqlAccount) -> String {
    match &account.host {
        // A keyword: in quotes it would be another role.
        None if account.user == PUBLIC_ROLE => PUBLIC_ROLE.to_owned(),
        Some(host) => format!("{}@{}", quote_text(&account.user), quote_text(host)),
        None => quote_text(&account.user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_end_their_quotes() {
        assert_eq!(qualify_name("a`b", "c"), "`a``b`.`c`");
        assert_eq!(quote_text("it's \\ 'q'"), "'it''s \\\\ ''q'''");
        assert_eq!(quote_list(["a", "b'"]), "('a', 'b''')");
    }

    #[test]
    fn a_name_is_found_as_a_whole_only() {
        assert!(contains_word("DROP TABLE `orders` /* x */", "orders"));
        assert!(contains_word("drop table shop.orders", "shop"));
        assert!(!contains_word("DROP TABLE orders_old, my_orders", "orders"));
    }
}
