//! What cannot share a transaction with its record: definitions, rows of tables without transactions, transactions in
//! two phases. A note is made before. If the replay is interrupted before the note is gone, this decides
//! whether it took effect:
//!
//! - The definition or the number of one of its tables is another one than before: it did.
//! - It is done again, and the server says that what it makes exists, or that what it drops is not there: it did.
//! - Otherwise doing it again makes no difference.
//! - A transaction in two phases is prepared when the server lists it; when it does not, and was to be
//!   committed, it was.
//! - Of rows of a table without transactions nobody can tell: that is refused.

use std::collections::BTreeMap;

use reprise_snapshotters::mysql::DatabaseError;
use reprise_snapshotters::mysql::sql::qualify_name;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::applier_session::ApplierSession;
use super::statement::LoggedStatement;
use crate::error::{Error, Result};

/// What is about to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingChange {
    /// The transaction, for whoever reads it.
    pub(super) transaction: String,
    /// Its place in the events.
    pub(super) number: u64,
    pub(super) what: PendingChangeKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PendingChangeKind {
    /// A definition, with the state of its tables before it.
    Definition(BTreeMap<String, String>),
    /// Rows of a table without transactions.
    Rows,
    /// The first phase of a transaction in two.
    Prepare,
    /// The first phase is done, and the second about to be.
    Commit,
}

impl PendingChange {
    /// Refuses what nobody can tell.
    pub(super) fn check_recoverable(&self) -> Result<()> {
        match self.what {
            PendingChangeKind::Rows => Err(Error::TransactionPartlyApplied {
                transaction: self.transaction.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Says that what was to be made exists: database, table or view, trigger, routine, event, function, key,
/// foreign key, account, server, tablespace, plugin, spatial reference system.
const ALREADY_EXISTS: [u16; 13] = [
    1007, 1050, 1359, 1304, 1537, 1125, 1061, 1826, 1396, 1476, 3120, 1968, 3712,
];

/// Says that what was to be dropped is not there: database, table, routine, trigger, event, column or key, account,
/// server, sequence, view, grants, role, plugin.
const DOES_NOT_EXIST: [u16; 15] = [
    1008, 1051, 1305, 1360, 1539, 1091, 1396, 1477, 4091, 4092, 1141, 1147, 1269, 1403, 3523,
];

/// Says that an account is there or is not: exists or not, unknown user, no such grant, unknown role, user that does
/// not exist for a grant.
const ACCOUNT_ERRORS: [u16; 8] = [1396, 1133, 1410, 1141, 1147, 1269, 3523, 1959];

/// Whether an error is about which accounts and rights there are.
pub(super) fn is_account_error(error: &DatabaseError) -> bool {
    error
        .code()
        .is_some_and(|code| ACCOUNT_ERRORS.contains(&code))
}

/// Whether an error means that a statement has taken effect already.
pub(super) fn is_already_in_effect(statement: &LoggedStatement, error: &DatabaseError) -> bool {
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
pub(super) fn table_digests(
    target: &mut ApplierSession,
    statement: &LoggedStatement,
) -> Result<BTreeMap<String, String>, DatabaseError> {
    let mut state = BTreeMap::new();
    for (database, table) in changed_tables(statement) {
        let name = qualify_name(&database, &table);
        let digest = table_digest(target, &database, &table)?;
        state.insert(name, digest);
    }
    Ok(state)
}

/// A digest of a table's definition, and of its number, which follows it when it is renamed.
fn table_digest(
    target: &mut ApplierSession,
    database: &str,
    table: &str,
) -> Result<String, DatabaseError> {
    let mut text = match target.query_plain(format!(
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
    // Their names have an encoding of their own; where it differs there is no number.
    let view = if target.is_mariadb() {
        "INNODB_SYS_TABLES"
    } else {
        "INNODB_TABLES"
    };
    let name = format!("{database}/{table}");
    let pattern = format!("{name}#%");
    let sql = format!(
        "SELECT TABLE_ID FROM information_schema.{view} WHERE NAME = X'{}' OR NAME LIKE X'{}' ORDER BY NAME",
        hex::encode(name.as_bytes()),
        hex::encode(pattern.replace('_', "\\_").as_bytes())
    );
    match target.query_plain(sql) {
        Ok(rows) => rows
            .iter()
            .for_each(|row| text.extend(row.string(0).bytes())),
        Err(DatabaseError::Server { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(hex::encode(sha2::Sha256::digest(&text)))
}

/// The tables that a statement changes, as far as that is to be known from its text.
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
    /// So many words say which tables are meant.
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

    /// The table behind a word.
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
