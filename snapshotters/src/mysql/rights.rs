//! What the account may see. A server does not say what it hides, so a right that is missing means that
//! objects may be missing.

use std::collections::BTreeSet;

use super::error::DatabaseError;
use super::session::Session;

/// The account's rights on everything, and on whole databases.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rights {
    everywhere: BTreeSet<String>,
    databases: Vec<(String, BTreeSet<String>)>,
    /// Taken from what holds everywhere, by the exact name of a database.
    revoked: Vec<(String, BTreeSet<String>)>,
}

impl Rights {
    /// Reads them, those of active roles included.
    ///
    /// # Errors
    /// What the server says.
    pub fn ask(session: &mut Session) -> Result<Self, DatabaseError> {
        let mut rows = session.rows("SHOW GRANTS")?;
        // MySQL shows what roles bring only when they are named.
        if let Ok(role) = session.row("SELECT CURRENT_ROLE()")
            && let Some(roles) = role
                .text(0)
                .filter(|roles| *roles != "NONE" && roles.contains('@'))
            && let Ok(more) = session.rows(format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}"))
        {
            rows.extend(more);
        }
        let mut rights = Self::default();
        for row in &rows {
            rights.add(&String::from_utf8_lossy(row.bytes(0).unwrap_or_default()));
        }
        Ok(rights)
    }

    fn add(&mut self, grant: &str) {
        let Some((action, rest)) = grant.split_once(' ') else {
            return;
        };
        let Some((names, rest)) = rest.split_once(" ON ") else {
            return;
        };
        let names = names.split(',').map(|name| name.trim().to_uppercase());
        let database = |end: &str| {
            let (name, _) = rest.split_once(end)?;
            Some(name.trim_matches('`').replace("``", "`"))
        };
        if action == "REVOKE" {
            let name = database(".* FROM ");
            self.revoked
                .extend(name.map(|name| (name, names.collect())));
        } else if rest.starts_with("*.* TO ") {
            self.everywhere.extend(names);
        } else if let Some(name) = database(".* TO ") {
            self.databases.push((name, names.collect()));
        }
    }

    /// Whether the account has a right on everything.
    #[must_use]
    pub fn has_everywhere(&self, right: &str) -> bool {
        holds(&self.everywhere, right)
            && !self.revoked.iter().any(|(_, names)| names.contains(right))
    }

    /// Whether no database is hidden from the account.
    pub(super) fn sees_databases(&self) -> bool {
        self.has_everywhere("SELECT") || holds(&self.everywhere, "SHOW DATABASES")
    }

    /// Whether no routine of a database is hidden from the account. `in_tables`: the server keeps them in tables.
    pub(super) fn sees_routines(&self, database: &str, in_tables: bool) -> bool {
        let anywhere = ["SELECT", "SHOW_ROUTINE", "SHOW CREATE ROUTINE"];
        let here = ["EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE"];
        anywhere.iter().any(|right| self.has_everywhere(right))
            || here.iter().any(|right| self.has(right, database))
            || (in_tables && self.has("SELECT", "mysql"))
    }

    /// Whether the account has a right on a whole database.
    pub(super) fn has(&self, right: &str, database: &str) -> bool {
        let revoked =
            |(name, names): &(String, BTreeSet<String>)| name == database && names.contains(right);
        let granted = |(pattern, names): &(String, BTreeSet<String>)| {
            holds(names, right) && covers(pattern, database)
        };
        (holds(&self.everywhere, right) && !self.revoked.iter().any(revoked))
            || self.databases.iter().any(granted)
    }
}

fn holds(names: &BTreeSet<String>, right: &str) -> bool {
    names.contains(right) || names.contains("ALL PRIVILEGES")
}

/// Whether the name in a grant is this database: `%` and `_` stand for others unless escaped.
fn covers(pattern: &str, database: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let database: Vec<char> = database.chars().collect();
    like(&pattern, &database)
}

fn like(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| like(rest, &text[skipped..])),
        ['\\', c @ ('%' | '_' | '\\'), rest @ ..] => {
            text.first() == Some(c) && like(rest, &text[1..])
        }
        ['_', rest @ ..] => !text.is_empty() && like(rest, &text[1..]),
        [c, rest @ ..] => text.first() == Some(c) && like(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_hold_everywhere_or_where_they_were_given() {
        let mut rights = Rights::default();
        rights.add("GRANT SELECT, SHOW VIEW ON *.* TO `b`@`%`");
        rights.add("GRANT BACKUP_ADMIN,SHOW_ROUTINE ON *.* TO `b`@`%`");
        rights.add("GRANT EVENT, TRIGGER ON `shop\\_%`.* TO `b`@`%`");
        rights.add("GRANT ALL PRIVILEGES ON `own`.* TO `b`@`%`");
        rights.add("GRANT `role`@`%` TO `b`@`%`");
        rights.add("GRANT SELECT ON `a`.`t` TO `b`@`%`");
        assert!(rights.has("SELECT", "anything") && rights.has("SHOW VIEW", "x"));
        assert!(rights.has("EVENT", "shop_a") && !rights.has("EVENT", "shopxa"));
        assert!(rights.has("EVENT", "own") && !rights.has("EVENT", "other"));
        assert!(rights.sees_databases() && rights.sees_routines("x", false));
    }

    #[test]
    fn a_right_that_was_taken_from_one_database_is_missing_there() {
        let mut rights = Rights::default();
        rights.add("GRANT SELECT, EVENT ON *.* TO `b`@`%`");
        rights.add("REVOKE SELECT ON `hidden`.* FROM `b`@`%`");
        assert!(rights.has("SELECT", "app") && !rights.has("SELECT", "hidden"));
        assert!(rights.has("EVENT", "hidden") && !rights.sees_databases());
    }

    #[test]
    fn routines_are_seen_with_one_of_several_rights() {
        let mut rights = Rights::default();
        rights.add("GRANT SELECT ON `app`.* TO `b`@`%`");
        assert!(!rights.sees_routines("app", true));
        rights.add("GRANT SELECT ON `mysql`.* TO `b`@`%`");
        assert!(rights.sees_routines("app", true) && !rights.sees_routines("app", false));
        rights.add("GRANT EXECUTE ON `app`.* TO `b`@`%`");
        assert!(rights.sees_routines("app", false) && !rights.sees_routines("b", false));
    }
}
