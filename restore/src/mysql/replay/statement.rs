//! Logged statements, and the settings under which they run again.

use std::collections::HashMap;

use reprise_mysql::binlog::{
    AlterPhase, Event, QueryEvent, StatementSettings, StatementVariable, UserVariableValue, option,
};
use reprise_mysql::sql::contains_word;
use reprise_mysql::{Bytes, Flavour};

/// A statement.
#[derive(Debug, Clone)]
pub(crate) struct LoggedStatement {
    pub(crate) settings: StatementSettings,
    /// The connection that ran it.
    thread: u32,
    /// The error with which it ended.
    pub(crate) error: u16,
    /// When it began, in seconds since 1970.
    timestamp: u32,
    /// The database in use.
    pub(crate) database: Option<Vec<u8>>,
    /// Its text.
    pub(crate) text: Bytes,
    /// The settings that it needs.
    pub(crate) variables: Vec<StatementVariable>,
    /// It creates or drops a database, which is then not in use any more.
    pub(crate) is_database_ddl: bool,
}

impl LoggedStatement {
    /// Parses a statement with the events that precede it. The error names an unknown setting.
    pub(crate) fn new(
        event: &Event,
        query: &QueryEvent<'_>,
        variables: Vec<StatementVariable>,
    ) -> Result<Self, String> {
        let of_database = event.header().is_without_use();
        let database = Some(query.database.to_vec());
        Ok(Self {
            settings: StatementSettings::parse(query.settings)?,
            thread: query.thread_id,
            error: query.error_code,
            timestamp: event.header().timestamp,
            database: database.filter(|name| !name.is_empty() && !of_database),
            text: event.bytes().slice_ref(query.text),
            variables,
            is_database_ddl: of_database,
        })
    }

    /// Whether it is logged twice and only the second one is applied.
    pub(crate) fn is_repeated_later(&self) -> bool {
        matches!(
            self.settings.alter_phase,
            Some(AlterPhase::Started | AlterPhase::RolledBack)
        )
    }

    /// Whether it begins with these words.
    pub(crate) fn starts_with(&self, words: &[&str]) -> bool {
        let text = leading_words(&self.text);
        words.iter().enumerate().all(|(n, word)| {
            text.get(n)
                .is_some_and(|found| found.eq_ignore_ascii_case(word))
        })
    }

    /// Its text as it is to be run. Some statements make the account that runs them the definer; where the log names
    /// the original one, it is added to the text.
    pub(crate) fn runnable_text(&self) -> Vec<u8> {
        let text = self.text.trim_ascii_start();
        if let Some((user, host)) = &self.settings.invoker {
            // A role has no host.
            let owner = match host.is_empty() {
                true => quote_name_bytes(user),
                false => [
                    quote_name_bytes(user),
                    b"@".to_vec(),
                    quote_name_bytes(host),
                ]
                .concat(),
            };
            if self.starts_with(&["ALTER", "EVENT"])
                && let Some(rest) = text.get("ALTER".len()..)
            {
                return [b"ALTER DEFINER=", owner.as_slice(), rest].concat();
            }
        }
        self.text.to_vec()
    }

    /// Whether it is about users, roles or their privileges.
    pub(crate) fn is_about_accounts(&self) -> bool {
        let objects = ["USER", "ROLE"];
        let verbs = ["CREATE", "ALTER", "DROP", "RENAME"];
        let pairs = verbs.iter().any(|verb| {
            objects
                .iter()
                .any(|object| self.starts_with(&[verb, object]))
        });
        pairs
            || self.starts_with(&["GRANT"])
            || self.starts_with(&["REVOKE"])
            || self.starts_with(&["SET", "PASSWORD"])
            || self.starts_with(&["SET", "DEFAULT", "ROLE"])
    }

    /// Whether it contains one of these names as a whole word.
    pub(crate) fn mentions_any(&self, names: &[String]) -> bool {
        let text = String::from_utf8_lossy(&self.text);
        let mut names = names.iter().filter(|name| !name.is_empty());
        names.any(|name| contains_word(&text, name))
    }

    /// Whether it commits implicitly, and with it any open transaction.
    pub(crate) fn is_ddl(&self) -> bool {
        const WORDS: [&str; 6] = ["CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "GRANT"];
        let temporary =
            self.starts_with(&["CREATE", "TEMPORARY"]) || self.starts_with(&["DROP", "TEMPORARY"]);
        WORDS.iter().any(|word| self.starts_with(&[word])) && !temporary
    }
}

/// The first words, without comments, except those that a server executes.
fn leading_words(text: &[u8]) -> Vec<String> {
    const WORDS: usize = 3;
    let text = String::from_utf8_lossy(&text[..text.len().min(4096)]);
    let mut words = Vec::new();
    let mut rest = text.as_ref();
    while words.len() < WORDS {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        if let Some(inner) = rest.strip_prefix("/*!").or(rest.strip_prefix("/*M!")) {
            rest = inner.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else if let Some(after) = rest.strip_prefix("*/") {
            rest = after;
        } else if rest.starts_with('#') || rest.starts_with("-- ") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    words
}

/// Variables of a session, each with its value as SQL.
pub(crate) type SessionAssignments = Vec<(&'static str, String)>;

/// The settings of a statement. `autocommit` stays unchanged: in a log every transaction has its begin and commit. Nor
/// is a primary key required: the source already checked that for the statements that it accepted.
pub(crate) fn session_assignments(
    statement: &LoggedStatement,
    flavour: Flavour,
    collations: &HashMap<u32, (String, String)>,
) -> Result<SessionAssignments, String> {
    let settings = &statement.settings;
    let micros = format!(".{:06}", settings.microseconds);
    let mut set: SessionAssignments = vec![
        ("timestamp", format!("{}{micros}", statement.timestamp)),
        ("pseudo_thread_id", statement.thread.to_string()),
    ];
    if let Some(options) = settings.options {
        push_option_flags(options, flavour, &mut set);
    }
    if let Some(mode) = settings.sql_mode {
        set.push(("sql_mode", mode.to_string()));
    }
    let (increment, offset) = settings.auto_increment.unwrap_or((1, 1));
    set.push(("auto_increment_increment", increment.to_string()));
    set.push(("auto_increment_offset", offset.to_string()));
    if let Some((client, connection, server)) = settings.charset {
        set.push(("character_set_client", client.to_string()));
        set.push(("collation_connection", connection.to_string()));
        set.push(("collation_server", server.to_string()));
    }
    if let Some(zone) = &settings.time_zone {
        set.push(("time_zone", quote_time_zone(zone)?));
    }
    set.push((
        "lc_time_names",
        settings.time_names.unwrap_or(0).to_string(),
    ));
    let collation = settings.database_collation.filter(|number| *number != 0);
    let collation = collation.map_or("DEFAULT".to_owned(), |number| number.to_string());
    set.push(("collation_database", collation));
    if let Some(collation) = settings.utf8mb4_collation {
        set.push(("default_collation_for_utf8mb4", collation.to_string()));
    }
    // Both are 255 where the log has no value.
    if let Some(explicit @ 0..=1) = settings.explicit_timestamp {
        set.push(("explicit_defaults_for_timestamp", explicit.to_string()));
    }
    if let Some(encrypted @ 0..=1) = settings.table_encryption {
        set.push(("default_table_encryption", encrypted.to_string()));
    }
    if let Some(triggers @ 0..=1) = settings.cascade_triggers {
        set.push(("enable_cascade_triggers", triggers.to_string()));
    }
    if let Some(pairs) = &settings.collations {
        let mut text = Vec::new();
        for (_, collation) in pairs {
            let (charset, collation) = collations
                .get(&u32::from(*collation))
                .ok_or_else(|| format!("the target does not support collation {collation}"))?;
            text.push(format!("{charset}={collation}"));
        }
        set.push(("character_set_collations", format!("'{}'", text.join(","))));
    }
    Ok(set)
}

fn push_option_flags(options: u32, flavour: Flavour, set: &mut SessionAssignments) {
    let mut flag = |name, bit: u32, inverted: bool| {
        let on = (options & bit != 0) != inverted;
        set.push((name, u8::from(on).to_string()));
    };
    flag("foreign_key_checks", option::NO_FOREIGN_KEY_CHECKS, true);
    flag("unique_checks", option::NO_UNIQUE_CHECKS, true);
    flag("sql_auto_is_null", option::AUTO_IS_NULL, false);
    if flavour == Flavour::Mariadb {
        flag(
            "check_constraint_checks",
            option::NO_CONSTRAINT_CHECKS,
            true,
        );
        flag("sql_if_exists", option::IF_EXISTS, false);
        flag(
            "system_versioning_insert_history",
            option::INSERT_HISTORY,
            false,
        );
        flag(
            "explicit_defaults_for_timestamp",
            option::EXPLICIT_TIMESTAMP,
            false,
        );
    }
}

/// A quoted value that needs no escapes.
fn quote_time_zone(text: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(text);
    let harmless = |c: char| c.is_ascii_alphanumeric() || "+-:/_. ".contains(c);
    if text.chars().all(harmless) {
        Ok(format!("'{text}'"))
    } else {
        Err(format!("`{text}` is not a valid time zone"))
    }
}

/// The events that precede a statement, as assignments.
pub(crate) fn variable_assignment(
    variable: &StatementVariable,
    collations: &HashMap<u32, (String, String)>,
) -> Result<Vec<u8>, String> {
    let text = match variable {
        StatementVariable::LastInsertId(value) => format!("@@session.last_insert_id={value}"),
        StatementVariable::InsertId(value) => format!("@@session.insert_id={value}"),
        StatementVariable::RandSeeds(one, two) => {
            format!("@@session.rand_seed1={one},@@session.rand_seed2={two}")
        }
        StatementVariable::User { name, value } => {
            let mut sql = [b"@".to_vec(), quote_name_bytes(name)].concat();
            sql.extend_from_slice(b":=");
            sql.extend_from_slice(user_value_sql(value, collations)?.as_bytes());
            return Ok(sql);
        }
    };
    Ok(text.into_bytes())
}

fn user_value_sql(
    value: &UserVariableValue,
    collations: &HashMap<u32, (String, String)>,
) -> Result<String, String> {
    Ok(match value {
        UserVariableValue::Null => "NULL".to_owned(),
        UserVariableValue::Text(bytes, collation) => {
            let (charset, collation) = collations
                .get(collation)
                .ok_or_else(|| format!("the target does not support collation {collation}"))?;
            format!("_{charset} X'{}' COLLATE {collation}", hex::encode(bytes))
        }
        UserVariableValue::Real(number) => format!("{number:e}"),
        UserVariableValue::Signed(number) => number.to_string(),
        UserVariableValue::Unsigned(number) => number.to_string(),
        UserVariableValue::Decimal(number) => number.clone(),
    })
}

/// A name in backticks, with backticks in it doubled.
fn quote_name_bytes(name: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'`'];
    for byte in name {
        quoted.push(*byte);
        if *byte == b'`' {
            quoted.push(b'`');
        }
    }
    quoted.push(b'`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_behind_comments() {
        let words = |text: &str| leading_words(text.as_bytes()).join(" ");
        assert_eq!(words("/* a */ create # b\n table x"), "create table x");
        assert_eq!(
            words("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS x"),
            "DROP TEMPORARY TABLE"
        );
        assert_eq!(words("`x`"), "");
        assert_eq!(words("a b c d e"), "a b c");
    }

    #[test]
    fn values_of_user_variables_are_exact() {
        let collations =
            HashMap::from([(8, ("latin1".to_owned(), "latin1_swedish_ci".to_owned()))]);
        let value = |value| user_value_sql(&value, &collations).unwrap();
        assert_eq!(value(UserVariableValue::Real(0.1)), "1e-1");
        let text = UserVariableValue::Text(b"a'".to_vec(), 8);
        assert_eq!(value(text), "_latin1 X'6127' COLLATE latin1_swedish_ci");
        assert!(user_value_sql(&UserVariableValue::Text(Vec::new(), 9), &collations).is_err());
        let user = StatementVariable::User {
            name: b"a`b".to_vec(),
            value: UserVariableValue::Null,
        };
        assert_eq!(
            variable_assignment(&user, &collations).unwrap(),
            b"@`a``b`:=NULL"
        );
    }
}
