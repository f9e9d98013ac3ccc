//! Changes that cannot share a transaction with the checkpoint: DDL, rows of non-transactional tables, XA transactions.
//! Each is recorded before. If the replay is interrupted before the record is deleted, this module decides whether the
//! change took effect:
//!
//! - The definition or the ID of one of its tables differs from before: it did.
//! - It is run again, and the server reports that what it creates exists, or that what it drops does not: it did.
//! - Otherwise running it again makes no difference.
//! - An XA transaction is prepared when the server lists it; when it does not, and was to be
//!   committed, it was committed.
//! - For rows of a non-transactional table this cannot be determined: that is refused.

use std::collections::BTreeMap;

use reprise_mysql::sql::qualify_name;
use reprise_mysql::{DatabaseError, Flavour, Session};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::statement::LoggedStatement;
use crate::error::{Error, Result};

/// The pending change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingChange {
    /// The transaction, for messages.
    pub(crate) transaction: String,
    /// Its position in the events.
    pub(crate) number: u64,
    pub(crate) what: PendingChangeKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PendingChangeKind {
    /// DDL, with the state of its tables before it.
    Definition(BTreeMap<String, String>),
    /// Rows of a non-transactional table.
    Rows,
    /// The first phase of an XA transaction.
    Prepare,
    /// The second phase: the first is done.
    Commit,
}

impl PendingChange {
    /// Refuses a change whose effect cannot be determined.
    pub(crate) fn check_recoverable(&self) -> Result<()> {
        match self.what {
            PendingChangeKind::Rows => Err(Error::TransactionPartlyApplied {
                transaction: self.transaction.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Errors that the object to be created exists: database, table or view, trigger, routine, event, function, key,
/// foreign key, account, server, tablespace, plugin, spatial reference system.
const ALREADY_EXISTS: [u16; 13] = [
    1007, 1050, 1359, 1304, 1537, 1125, 1061, 1826, 1396, 1476, 3120, 1968, 3712,
];

/// Errors that the object to be dropped does not exist: database, table, routine, trigger, event, column or key,
/// account, server, sequence, view, grants, role, plugin.
const DOES_NOT_EXIST: [u16; 15] = [
    1008, 1051, 1305, 1360, 1539, 1091, 1396, 1477, 4091, 4092, 1141, 1147, 1269, 1403, 3523,
];

/// Errors that an account exists or does not: exists or not, unknown user, no such grant, unknown role, user that does
/// not exist for a grant.
const ACCOUNT_ERRORS: [u16; 8] = [1396, 1133, 1410, 1141, 1147, 1269, 3523, 1959];

/// Whether an error is about existing accounts and privileges.
pub(crate) fn is_account_error(error: &DatabaseError) -> bool {
    error
        .code()
        .is_some_and(|code| ACCOUNT_ERRORS.contains(&code))
}

/// Whether an error means that a statement has taken effect already.
pub(crate) fn is_already_in_effect(statement: &LoggedStatement, error: &DatabaseError) -> bool {
    let Some(code) = error.code() else {
        return false;
    };
    let makes = ["CREATE", "INSTALL", "ALTER", "RENAME"];
    let drops = ["DROP", "UNINSTALL", "REVOKE", "ALTER", "RENAME"];
    let begins = |words: &[&str]| words.iter().any(|word| statement.starts_with(&[word]));
    (begins(&makes) && ALREADY_EXISTS.contains(&code))
        || (begins(&drops) && DOES_NOT_EXIST.contains(&code))
}

/// The state of the tables that a statement changes.
pub(crate) fn table_digests(
    session: &mut Session,
    flavour: Flavour,
    statement: &LoggedStatement,
) -> Result<BTreeMap<String, String>, DatabaseError> {
    let mut state = BTreeMap::new();
    for (database, table) in changed_tables(statement) {
        let name = qualify_name(&database, &table);
        let digest = table_digest(session, flavour, &database, &table)?;
        state.insert(name, digest);
    }
    Ok(state)
}

/// A digest of a table's definition, and of its ID, which stays with it when it is renamed.
fn table_digest(
    session: &mut Session,
    flavour: Flavour,
    database: &str,
    table: &str,
) -> Result<String, DatabaseError> {
    let mut text = match session.query_rows(format!(
        "SHOW CREATE TABLE {}",
        qualify_name(database, table)
    )) {
        Ok(rows) => rows
            .first()
            .and_then(|row| row.bytes(1).map(<[u8]>::to_vec)),
        Err(DatabaseError::Server { .. }) => None,
        Err(error) => return Err(error),
    }
    .unwrap_or_default();
    // Table names have an encoding of their own there; where it differs no ID is found.
    let view = match flavour {
        Flavour::Mariadb => "INNODB_SYS_TABLES",
        Flavour::Mysql => "INNODB_TABLES",
    };
    let name = format!("{database}/{table}");
    let pattern = format!("{name}#%");
    let sql = format!(
        "SELECT TABLE_ID FROM information_schema.{view} WHERE NAME = X'{}' OR NAME LIKE X'{}' ORDER BY NAME",
        hex::encode(name.as_bytes()),
        hex::encode(pattern.replace('_', "\\_").as_bytes())
    );
    match session.query_rows(sql) {
        Ok(rows) => rows
            .iter()
            .for_each(|row| text.extend(row.string(0).bytes())),
        Err(DatabaseError::Server { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(hex::encode(sha2::Sha256::digest(&text)))
}

/// The tables that a statement changes, as far as its text tells.
fn changed_tables(statement: &LoggedStatement) -> Vec<(String, String)> {
    let database = statement.database.clone().unwrap_or_default();
    let database = String::from_utf8_lossy(&database).into_owned();
    let text = String::from_utf8_lossy(&statement.text);
    let names = StatementTokens::new(&text);
    let found = match () {
        () if statement.starts_with(&["RENAME"]) => names.renamed_tables(),
        () if statement.starts_with(&["ALTER"]) => names.name_after("TABLE").into_iter().collect(),
        () if statement.starts_with(&["CREATE"]) || statement.starts_with(&["DROP"]) => {
            match names.has_word("INDEX") {
                true => names.name_after("ON").into_iter().collect(),
                false => Vec::new(),
            }
        }
        () => Vec::new(),
    };
    let whole =
        |(of, table): (Option<String>, String)| (of.unwrap_or_else(|| database.clone()), table);
    found.into_iter().map(whole).collect()
}

/// A word of a statement, or a name in quotes.
#[derive(Debug, PartialEq, Eq)]
enum StatementToken {
    Word(String),
    Name(String),
    Symbol(char),
}

type QualifiedName = (Option<String>, String);

struct StatementTokens(Vec<StatementToken>);

impl StatementTokens {
    /// The number of first words that determine which tables are meant.
    const TOKENS_MAX: usize = 400;

    fn new(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next()
            && tokens.len() < Self::TOKENS_MAX
        {
            let (token, after) = if let Some(comment) = rest.strip_prefix("/*") {
                (
                    None,
                    comment.split_once("*/").map_or("", |(_, after)| after),
                )
            } else if let quote @ ('`' | '"') = first {
                read_quoted_name(&rest[1..], quote)
            } else if first.is_alphanumeric() || first == '_' || first == '$' {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                (Some(StatementToken::Word(word.to_owned())), after)
            } else {
                (
                    Some(StatementToken::Symbol(first)),
                    &rest[first.len_utf8()..],
                )
            };
            tokens.extend(token);
            rest = after.trim_start();
        }
        Self(tokens)
    }

    fn has_word(&self, word: &str) -> bool {
        self.position_of(word).is_some()
    }

    fn position_of(&self, word: &str) -> Option<usize> {
        self.0.iter().position(
            |token| matches!(token, StatementToken::Word(found) if found.eq_ignore_ascii_case(word)),
        )
    }

    /// The table that follows a word.
    fn name_after(&self, word: &str) -> Option<QualifiedName> {
        let mut at = self.position_of(word)? + 1;
        let is = |at: usize, word: &str| matches!(self.0.get(at), Some(StatementToken::Word(found)) if found.eq_ignore_ascii_case(word));
        if is(at, "IF") && is(at + 1, "EXISTS") {
            at += 2;
        }
        self.name_at(at)
    }

    fn name_at(&self, at: usize) -> Option<QualifiedName> {
        let text = |at: usize| match self.0.get(at) {
            Some(StatementToken::Word(text) | StatementToken::Name(text)) => Some(text.clone()),
            _ => None,
        };
        let first = text(at)?;
        if self.0.get(at + 1) == Some(&StatementToken::Symbol('.')) {
            return Some((Some(first), text(at + 2)?));
        }
        Some((None, first))
    }

    /// The old names of a list of renamed tables.
    fn renamed_tables(&self) -> Vec<QualifiedName> {
        let commas = self.0.iter().enumerate();
        let commas = commas.filter(|(_, token)| **token == StatementToken::Symbol(','));
        let mut found: Vec<QualifiedName> =
            commas.filter_map(|(at, _)| self.name_at(at + 1)).collect();
        found.extend(
            self.name_after("TABLE")
                .or_else(|| self.name_after("TABLES")),
        );
        found
    }
}

/// A name up to its quote; doubled, the quote is part of it.
fn read_quoted_name(text: &str, quote: char) -> (Option<StatementToken>, &str) {
    let mut name = String::new();
    let mut rest = text;
    while let Some((part, after)) = rest.split_once(quote) {
        name.push_str(part);
        match after.strip_prefix(quote) {
            Some(more) => {
                name.push(quote);
                rest = more;
            }
            None => return (Some(StatementToken::Name(name)), after),
        }
    }
    (None, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_definitions_are_found() {
        let after = |text: &str, word: &str| StatementTokens::new(text).name_after(word);
        let plain = |name: &str| Some((None, name.to_owned()));
        assert_eq!(
            after("ALTER /* x */ TABLE `a``b` ADD c INT", "TABLE"),
            plain("a`b")
        );
        assert_eq!(
            after("alter online table if exists d.t add c int", "table"),
            Some((Some("d".to_owned()), "t".to_owned()))
        );
        assert_eq!(after("CREATE UNIQUE INDEX i ON t (a)", "ON"), plain("t"));
        let renamed = StatementTokens::new("RENAME TABLE a TO b, `x`.`c` TO d").renamed_tables();
        assert_eq!(
            renamed,
            [
                (Some("x".to_owned()), "c".to_owned()),
                (None, "a".to_owned())
            ]
        );
    }
}
