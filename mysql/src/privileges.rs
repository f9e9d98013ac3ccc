//! What the account may see. A server does not report what it hides, so a missing privilege means that
//! objects may be missing.

use std::collections::BTreeSet;

use crate::connection::Session;
use crate::error::DatabaseError;

/// The account's global and database privileges.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    global: BTreeSet<String>,
    by_database: Vec<(String, BTreeSet<String>)>,
    /// Partial revokes of global privileges, by the exact name of a database.
    revoked: Vec<(String, BTreeSet<String>)>,
}

impl Privileges {
    /// Reads them, including those of active roles.
    ///
    /// # Errors
    /// The server's error.
    pub fn query(session: &mut Session) -> Result<Self, DatabaseError> {
        let mut rows = session.query_rows("SHOW GRANTS")?;
        // MySQL shows the privileges of roles only when they are named.
        if let Ok(role) = session.query_row("SELECT CURRENT_ROLE()")
            && let Some(roles) = role
                .text(0)
                .filter(|roles| *roles != "NONE" && roles.contains('@'))
            && let Ok(more) =
                session.query_rows(format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}"))
        {
            rows.extend(more);
        }
        let mut rights = Self::default();
        for row in &rows {
            rights.add_grant(&String::from_utf8_lossy(row.bytes(0).unwrap_or_default()));
        }
        Ok(rights)
    }

    fn add_grant(&mut self, grant: &str) {
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
            self.global.extend(names);
        } else if let Some(name) = database(".* TO ") {
            self.by_database.push((name, names.collect()));
        }
    }

    /// Whether the account has a global privilege.
    #[must_use]
    pub fn has_globally(&self, right: &str) -> bool {
        contains_privilege(&self.global, right)
            && !self.revoked.iter().any(|(_, names)| names.contains(right))
    }

    /// Whether no database is hidden from the account.
    pub fn can_see_all_databases(&self) -> bool {
        self.has_globally("SELECT") || contains_privilege(&self.global, "SHOW DATABASES")
    }

    /// Whether no routine of a database is hidden from the account. `in_tables`: the server stores them in tables.
    pub fn can_see_routines(&self, database: &str, in_tables: bool) -> bool {
        let anywhere = ["SELECT", "SHOW_ROUTINE", "SHOW CREATE ROUTINE"];
        let here = ["EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE"];
        anywhere.iter().any(|right| self.has_globally(right))
            || here
                .iter()
                .any(|right| self.has_on_database(right, database))
            || (in_tables && self.has_on_database("SELECT", "mysql"))
    }

    /// Whether the account has a privilege on a whole database.
    pub fn has_on_database(&self, right: &str, database: &str) -> bool {
        let revoked =
            |(name, names): &(String, BTreeSet<String>)| name == database && names.contains(right);
        let granted = |(pattern, names): &(String, BTreeSet<String>)| {
            contains_privilege(names, right) && database_pattern_matches(pattern, database)
        };
        (contains_privilege(&self.global, right) && !self.revoked.iter().any(revoked))
            || self.by_database.iter().any(granted)
    }
}

fn contains_privilege(names: &BTreeSet<String>, right: &str) -> bool {
    names.contains(right) || names.contains("ALL PRIVILEGES")
}

/// Whether the name in a grant matches this database: `%` and `_` are wildcards unless escaped.
fn database_pattern_matches(pattern: &str, database: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let database: Vec<char> = database.chars().collect();
    matches_like(&pattern, &database)
}

fn matches_like(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| matches_like(rest, &text[skipped..])),
        ['\\', c @ ('%' | '_' | '\\'), rest @ ..] => {
            text.first() == Some(c) && matches_like(rest, &text[1..])
        }
        ['_', rest @ ..] => !text.is_empty() && matches_like(rest, &text[1..]),
        [c, rest @ ..] => text.first() == Some(c) && matches_like(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_hold_everywhere_or_where_they_were_given() {
        let mut rights = Privileges::default();
        rights.add_grant("GRANT SELECT, SHOW VIEW ON *.* TO `b`@`%`");
        rights.add_grant("GRANT BACKUP_ADMIN,SHOW_ROUTINE ON *.* TO `b`@`%`");
        rights.add_grant("GRANT EVENT, TRIGGER ON `shop\\_%`.* TO `b`@`%`");
        rights.add_grant("GRANT ALL PRIVILEGES ON `own`.* TO `b`@`%`");
        rights.add_grant("GRANT `role`@`%` TO `b`@`%`");
        rights.add_grant("GRANT SELECT ON `a`.`t` TO `b`@`%`");
        assert!(
            rights.has_on_database("SELECT", "anything")
                && rights.has_on_database("SHOW VIEW", "x")
        );
        assert!(
            rights.has_on_database("EVENT", "shop_a") && !rights.has_on_database("EVENT", "shopxa")
        );
        assert!(
            rights.has_on_database("EVENT", "own") && !rights.has_on_database("EVENT", "other")
        );
        assert!(rights.can_see_all_databases() && rights.can_see_routines("x", false));
    }

    #[test]
    fn a_right_that_was_taken_from_one_database_is_missing_there() {
        let mut rights = Privileges::default();
        rights.add_grant("GRANT SELECT, EVENT ON *.* TO `b`@`%`");
        rights.add_grant("REVOKE SELECT ON `hidden`.* FROM `b`@`%`");
        assert!(
            rights.has_on_database("SELECT", "app") && !rights.has_on_database("SELECT", "hidden")
        );
        assert!(rights.has_on_database("EVENT", "hidden") && !rights.can_see_all_databases());
    }

    #[test]
    fn routines_are_seen_with_one_of_several_rights() {
        let mut rights = Privileges::default();
        rights.add_grant("GRANT SELECT ON `app`.* TO `b`@`%`");
        assert!(!rights.can_see_routines("app", true));
        rights.add_grant("GRANT SELECT ON `mysql`.* TO `b`@`%`");
        assert!(rights.can_see_routines("app", true) && !rights.can_see_routines("app", false));
        rights.add_grant("GRANT EXECUTE ON `app`.* TO `b`@`%`");
        assert!(rights.can_see_routines("app", false) && !rights.can_see_routines("b", false));
    }
}
