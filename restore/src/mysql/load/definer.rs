//! Changes the definer of a view, trigger, routine or event.

use std::ops::Range;

use crate::mysql::load::ddl::{SqlToken, SqlTokens, TokenKind, quote_name};

/// The words that end the part of a statement in which a definer may stand.
const OBJECT_KEYWORDS: [&str; 7] = [
    "VIEW",
    "TRIGGER",
    "PROCEDURE",
    "FUNCTION",
    "EVENT",
    "PACKAGE",
    "TABLE",
];

/// The statement with another definer: `USER@HOST` (each part quoted or not), a role, or `CURRENT_USER`.
///
/// A statement that names no definer is unchanged; its object belongs to the account that runs it.
pub(crate) fn with_definer(statement: &[u8], definer: &str) -> Vec<u8> {
    match find_definer_clause(statement) {
        Some(range) => replace_range(
            statement,
            range,
            format!("DEFINER={}", quote_account(definer)),
        ),
        None => statement.to_vec(),
    }
}

/// The statement without its definer: its object belongs to the account that runs it.
pub(crate) fn without_definer(statement: &[u8]) -> Vec<u8> {
    let Some(mut range) = find_definer_clause(statement) else {
        return statement.to_vec();
    };
    let rest = statement.get(range.end..).unwrap_or_default();
    let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
    range.end += space.count();
    replace_range(statement, range, String::new())
}

fn replace_range(statement: &[u8], range: Range<usize>, by: String) -> Vec<u8> {
    let mut result = statement.to_vec();
    result.splice(range, by.into_bytes());
    result
}

/// The range of `DEFINER=ACCOUNT`.
fn find_definer_clause(statement: &[u8]) -> Option<Range<usize>> {
    // An unterminated quote is after the definer, or the statement is unusable anyway.
    let mut tokens = SqlTokens::new(statement).map_while(Result::ok).peekable();
    loop {
        let token = tokens.next()?;
        if OBJECT_KEYWORDS.iter().any(|object| token.is_word(object)) {
            return None;
        }
        // `SQL SECURITY DEFINER` has no account.
        let has_account = tokens.peek().is_some_and(|next| next.is_symbol(b'='));
        if token.is_word("DEFINER") && has_account {
            let account: Vec<SqlToken<'_>> = tokens.skip(1).take(3).collect();
            return Some(token.start..account_end(statement, &account)?);
        }
    }
}

/// The offset after an account: `USER`, `USER@HOST` or `CURRENT_USER()`.
fn account_end(statement: &[u8], tokens: &[SqlToken<'_>]) -> Option<usize> {
    match tokens {
        [_, at, host] if at.is_symbol(b'@') => match host.kind {
            TokenKind::Name | TokenKind::Text => Some(host.end()),
            // An unquoted host may contain dots and dashes.
            _ => Some(statement.len() - after_unquoted_host(statement.get(host.start..)?).len()),
        },
        [user, open, close]
            if user.kind == TokenKind::Word && open.is_symbol(b'(') && close.is_symbol(b')') =>
        {
            Some(close.end())
        }
        [user, ..] => Some(user.end()),
        [] => None,
    }
}

/// The rest of an unquoted host.
fn after_unquoted_host(text: &[u8]) -> &[u8] {
    let in_host = |byte: &&u8| byte.is_ascii_alphanumeric() || b".-_$".contains(byte);
    let length = text.iter().take_while(in_host).count();
    text.get(length..).unwrap_or_default()
}

/// An account in backticks, which quote a name in every mode.
fn quote_account(definer: &str) -> String {
    let definer = definer.trim();
    if [
        "CURRENT_USER",
        "CURRENT_USER()",
        "CURRENT_ROLE",
        "CURRENT_ROLE()",
    ]
    .iter()
    .any(|word| definer.eq_ignore_ascii_case(word))
    {
        return definer.to_owned();
    }
    match definer.rsplit_once('@') {
        Some((user, host)) => format!(
            "{}@{}",
            quote_name(&unquote_name(user)),
            quote_name(&unquote_name(host))
        ),
        None => quote_name(&unquote_name(definer)),
    }
}

/// A name without the quotes around it.
fn unquote_name(name: &str) -> String {
    for quote in ['`', '\'', '"'] {
        let inner = name
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.replace(&quote.to_string().repeat(2), &quote.to_string());
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(statement: &str, definer: &str) -> String {
        String::from_utf8(with_definer(statement.as_bytes(), definer)).unwrap()
    }

    fn without(statement: &str) -> String {
        String::from_utf8(without_definer(statement.as_bytes())).unwrap()
    }

    #[test]
    fn every_kind_of_object_gets_another_definer() {
        for (before, after) in [
            (
                "CREATE ALGORITHM=UNDEFINED ",
                " SQL SECURITY DEFINER VIEW `v` AS select 'DEFINER=x' AS `DEFINER`",
            ),
            (
                "CREATE ",
                " TRIGGER `t` BEFORE INSERT ON `a` FOR EACH ROW set @a = 'it\'s",
            ),
            (
                "CREATE ",
                " PROCEDURE `p`(IN a INT)\nCOMMENT 'DEFINER=`x`@`y`'\nBEGIN END",
            ),
            ("CREATE ", " FUNCTION `f`() RETURNS int RETURN 1"),
            (
                "CREATE OR REPLACE ",
                " AGGREGATE FUNCTION `f`() RETURNS int RETURN 1",
            ),
            ("CREATE ", " EVENT `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1"),
            (
                "create\n",
                "\nevent `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1",
            ),
            (
                "/*!50003 CREATE*/ /*!50017 ",
                "*/ /*!50003 TRIGGER `t` BEFORE INSERT */",
            ),
        ] {
            for old in [
                "DEFINER=`root`@`localhost`",
                "DEFINER=`we``ird @ (=`@`%`",
                "DEFINER=\"ansi\"@\"%\"",
                "DEFINER='a''b'@'10.0.0.%'",
                "DEFINER = root@localhost",
                "DEFINER=root@10.0.0.7",
                "DEFINER=`role`",
                "DEFINER=CURRENT_USER",
                "definer=CURRENT_USER()",
            ] {
                let statement = format!("{before}{old}{after}");
                let expected = format!("{before}DEFINER=`app`@`10.%`{after}");
                assert_eq!(with(&statement, "app@10.%"), expected);
                let expected = format!("{before}{}", after.trim_ascii_start());
                assert_eq!(without(&statement), expected);
            }
        }
    }

    #[test]
    fn a_statement_without_a_definer_stays_as_it_is() {
        for statement in [
            "CREATE VIEW `v` AS select 1",
            "CREATE SQL SECURITY DEFINER VIEW `v` AS select DEFINER = 1",
            "CREATE TRIGGER `t` BEFORE INSERT ON `DEFINER` FOR EACH ROW SET @a = 'DEFINER=x'",
            "CREATE TABLE `t` (DEFINER = 1)",
            "CREATE DEFINER",
            "CREATE DEFINER=",
            "",
        ] {
            assert_eq!(with(statement, "a@b"), statement);
            assert_eq!(without(statement), statement);
        }
    }

    #[test]
    fn an_account_is_quoted_once() {
        for (written, quoted) in [
            ("app@localhost", "`app`@`localhost`"),
            ("`app`@`localhost`", "`app`@`localhost`"),
            ("'app'@'%'", "`app`@`%`"),
            ("'it''s'@'%'", "`it's`@`%`"),
            ("a@b@c", "`a@b`@`c`"),
            ("back`tick@h", "`back``tick`@`h`"),
            ("role", "`role`"),
            ("CURRENT_USER", "CURRENT_USER"),
            ("current_user()", "current_user()"),
        ] {
            assert_eq!(quote_account(written), quoted);
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>, definer: String) {
            let changed = with_definer(&[b"CREATE DEFINER=`a`@`b` VIEW ", &bytes[..]].concat(), &definer);
            proptest::prop_assert!(changed.ends_with(&[b" VIEW ", &bytes[..]].concat()));
            with_definer(&bytes, &definer);
            without_definer(&bytes);
        }
    }
}
