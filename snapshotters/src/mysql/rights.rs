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
        let Some((names, rest)) = grant
            .strip_prefix("GRANT ")
            .and_then(|grant| grant.split_once(" ON "))
        else {
            return;
        };
        let names = names.split(',').map(|name| name.trim().to_uppercase());
        if rest.starts_with("*.* TO ") {
            self.everywhere.extend(names);
        } else if let Some((database, _)) = rest.split_once(".* TO ") {
            let database = database.trim_matches('`').replace("``", "`");
            self.databases.push((database, names.collect()));
        }
    }

    /// Whether the account has a right on a whole database.
    pub(super) fn has(&self, right: &str, database: &str) -> bool {
        let mut databases = self.databases.iter();
        self.has_everywhere(right)
            || databases.any(|(pattern, names)| holds(names, right) && covers(pattern, database))
    }

    /// Whether the account has a right on everything.
    #[must_use]
    pub fn has_everywhere(&self, right: &str) -> bool {
        holds(&self.everywhere, right)
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
    }
}
