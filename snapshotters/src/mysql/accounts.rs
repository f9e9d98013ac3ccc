//! Users and roles with their rights. Read on a connection of its own: some versions end the transaction.

use reprise_repository::RawText;

use super::error::{DatabaseError, code};
use super::manifest::{Account, Flavour};
use super::server::Server;
use super::session::Session;
use super::sql::text;

/// Accounts that every server brings along.
const RESERVED: [&str; 4] = [
    "mysql.sys",
    "mysql.session",
    "mysql.infoschema",
    "mariadb.sys",
];

/// The role that everybody has (MariaDB).
const PUBLIC: &str = "PUBLIC";

/// All accounts; `None` when this one may not see them.
pub(super) fn read(
    session: &mut Session,
    server: &Server,
) -> Result<Option<Vec<Account>>, DatabaseError> {
    let names = match server.facts.flavour {
        Flavour::Mysql => session.rows("SELECT User, Host, '' FROM mysql.user ORDER BY User, Host"),
        Flavour::Mariadb => session
            .rows("SELECT User, Host, is_role FROM mysql.user ORDER BY is_role DESC, User, Host"),
    };
    let names = match names {
        Ok(names) => names,
        Err(DatabaseError::Server {
            code: 1044 | 1045 | 1142 | 1143 | 1227 | code::NO_TABLE,
            ..
        }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut accounts = Vec::new();
    for row in names {
        let (user, host) = (row.string(0), row.string(1));
        if RESERVED.contains(&user.as_str()) {
            continue;
        }
        let account = match row.text(2) {
            Some("Y") => role(session, user)?,
            _ => user_account(session, server, user, host)?,
        };
        accounts.extend(account);
    }
    Ok(Some(accounts))
}

/// Accounts with a second password, which no statement shows: it is not in a snapshot.
pub(super) fn with_second_password(session: &mut Session) -> Result<Vec<String>, DatabaseError> {
    let statement = "SELECT User, Host FROM mysql.user WHERE User_attributes->'$.additional_password' IS NOT NULL";
    match session.rows(statement) {
        Ok(rows) => Ok(rows
            .iter()
            .map(|row| format!("{}@{}", text(&row.string(0)), text(&row.string(1))))
            .collect()),
        // Servers without second passwords do not know the column.
        Err(DatabaseError::Server { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// `'user'@'host'`
#[must_use]
pub fn shown(account: &Account) -> String {
    match &account.host {
        // A word of the language: in quotes it would be another role.
        None if account.user == PUBLIC => PUBLIC.to_owned(),
        Some(host) => format!("{}@{}", text(&account.user), text(host)),
        None => text(&account.user),
    }
}

/// A role of MariaDB.
fn role(session: &mut Session, user: String) -> Result<Option<Account>, DatabaseError> {
    let create = match user.as_str() {
        PUBLIC => RawText::default(),
        _ => RawText::from(format!("CREATE ROLE {}", text(&user)).as_str()),
    };
    let mut account = Account {
        create,
        user,
        host: None,
        grants: Vec::new(),
        default_roles: None,
    };
    account.grants = grants(session, &shown(&account))?;
    Ok(Some(account))
}

fn user_account(
    session: &mut Session,
    server: &Server,
    user: String,
    host: String,
) -> Result<Option<Account>, DatabaseError> {
    let mut account = Account {
        user,
        host: Some(host),
        create: RawText::default(),
        grants: Vec::new(),
        default_roles: None,
    };
    let name = shown(&account);
    let created = match session.row(format!("SHOW CREATE USER {name}")) {
        Ok(created) => created,
        // Dropped since it was listed.
        Err(DatabaseError::Server {
            code: 1396 | 1133 | 1141,
            ..
        }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut create = created.bytes(0).unwrap_or_default().to_vec();
    if server.facts.flavour == Flavour::Mysql {
        create = with_quotes(session, &account, create)?;
    }
    let (create, default_roles) = without_default_roles(&create, &name);
    account.create = RawText::new(create);
    account.default_roles = default_roles;
    for grant in grants(session, &name)? {
        // MariaDB tells the default role among the grants.
        if grant.as_bytes().starts_with(b"SET DEFAULT ROLE") {
            account.default_roles = Some(grant);
        } else {
            account.grants.push(grant);
        }
    }
    if server.facts.flavour == Flavour::Mariadb {
        account
            .grants
            .iter_mut()
            .for_each(|grant| *grant = without_password(grant));
    }
    Ok(Some(account))
}

fn grants(session: &mut Session, name: &str) -> Result<Vec<RawText>, DatabaseError> {
    match session.rows(format!("SHOW GRANTS FOR {name}")) {
        Ok(rows) => Ok(rows
            .iter()
            .filter_map(|row| row.bytes(0).map(RawText::new))
            .collect()),
        Err(DatabaseError::Server { code: 1141, .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// MySQL prints what a certificate must say without escaping it.
fn with_quotes(
    session: &mut Session,
    account: &Account,
    create: Vec<u8>,
) -> Result<Vec<u8>, DatabaseError> {
    let rows = session.rows(format!(
        "SELECT x509_subject, x509_issuer, ssl_cipher FROM mysql.user WHERE User = {} AND Host = {}",
        text(&account.user),
        text(account.host.as_deref().unwrap_or_default())
    ))?;
    let Some(row) = rows.first() else {
        return Ok(create);
    };
    Ok(["SUBJECT", "ISSUER", "CIPHER"]
        .iter()
        .enumerate()
        .filter_map(|(n, word)| Some((word, row.text(n)?)))
        .fold(create, |create, (word, value)| escaped(create, word, value)))
}

/// Replaces ` WORD 'value'` by the same with the value in proper quotes.
fn escaped(create: Vec<u8>, word: &str, value: &str) -> Vec<u8> {
    let printed = format!(" {word} '{value}'");
    match memchr::memmem::find(&create, printed.as_bytes()) {
        Some(at) if value.contains(['\'', '\\']) => {
            let proper = format!(" {word} {}", text(value));
            [
                &create[..at],
                proper.as_bytes(),
                &create[at + printed.len()..],
            ]
            .concat()
        }
        _ => create,
    }
}

/// `CREATE USER` cannot name roles that do not exist yet: they are set when all accounts are there.
fn without_default_roles(create: &[u8], name: &str) -> (Vec<u8>, Option<RawText>) {
    let word = b" DEFAULT ROLE ";
    let Some(at) = memchr::memmem::find(create, word) else {
        return (create.to_vec(), None);
    };
    let rest = &create[at + word.len()..];
    let end = memchr::memmem::find(rest, b" REQUIRE ").unwrap_or(rest.len());
    let roles = &rest[..end];
    let statement = [b"SET DEFAULT ROLE ", roles, b" TO ", name.as_bytes()].concat();
    let create = [&create[..at], &rest[end..]].concat();
    (create, Some(RawText::new(statement)))
}

/// MariaDB repeats the password's hash in a grant, which `CREATE USER` has set already.
fn without_password(grant: &RawText) -> RawText {
    let bytes = grant.as_bytes();
    let Some(at) = memchr::memmem::find(bytes, b" IDENTIFIED ") else {
        return grant.clone();
    };
    let keep = [b" REQUIRE ".as_slice(), b" WITH GRANT OPTION", b" WITH "]
        .iter()
        .filter_map(|word| memchr::memmem::find(&bytes[at..], word).map(|found| at + found))
        .min()
        .unwrap_or(bytes.len());
    RawText::new([&bytes[..at], &bytes[keep..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_must_say_is_quoted() {
        let printed = b"CREATE USER `a`@`%` REQUIRE SUBJECT '/CN=it's' PASSWORD EXPIRE".to_vec();
        assert_eq!(
            String::from_utf8(escaped(printed, "SUBJECT", "/CN=it's")).unwrap(),
            "CREATE USER `a`@`%` REQUIRE SUBJECT '/CN=it''s' PASSWORD EXPIRE"
        );
    }

    #[test]
    fn default_roles_are_set_after_all_accounts_exist() {
        let create = b"CREATE USER `a`@`%` IDENTIFIED WITH 'x' AS 'y' DEFAULT ROLE `r`@`%`,`s`@`%` REQUIRE NONE PASSWORD EXPIRE DEFAULT";
        let (create, roles) = without_default_roles(create, "'a'@'%'");
        assert_eq!(
            String::from_utf8(create).unwrap(),
            "CREATE USER `a`@`%` IDENTIFIED WITH 'x' AS 'y' REQUIRE NONE PASSWORD EXPIRE DEFAULT"
        );
        assert_eq!(
            roles.unwrap(),
            RawText::from("SET DEFAULT ROLE `r`@`%`,`s`@`%` TO 'a'@'%'")
        );
    }

    #[test]
    fn a_grants_password_is_left_to_create_user() {
        let grant = RawText::from(
            "GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*AB' WITH GRANT OPTION",
        );
        assert_eq!(
            without_password(&grant),
            RawText::from("GRANT USAGE ON *.* TO `a`@`%` WITH GRANT OPTION")
        );
        let plain = RawText::from("GRANT SELECT ON `d`.* TO `a`@`%`");
        assert_eq!(without_password(&plain), plain);
    }
}
