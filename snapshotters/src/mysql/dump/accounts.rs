//! Users and roles with their privileges. Read on a connection of its own: some versions end the transaction.

use reprise_mysql::sql::{format_account, quote_text};
use reprise_mysql::{
    DatabaseError, Flavour, MysqlAccount, PUBLIC_ROLE, ServerInfo, Session, error_code,
};
use reprise_repository::RawText;

use super::source::MysqlSource;
use crate::error::Error;

/// Accounts that every server has by default.
const RESERVED_ACCOUNTS: [&str; 4] = [
    "mysql.sys",
    "mysql.session",
    "mysql.infoschema",
    "mariadb.sys",
];

/// All accounts; `None` when the connected account may not see them.
fn read_accounts(
    session: &mut Session,
    server: &ServerInfo,
) -> Result<Option<Vec<MysqlAccount>>, DatabaseError> {
    let names = match server.facts.flavour {
        Flavour::Mysql => {
            session.query_rows("SELECT User, Host, '' FROM mysql.user ORDER BY User, Host")
        }
        Flavour::Mariadb => session.query_rows(
            "SELECT User, Host, is_role FROM mysql.user ORDER BY is_role DESC, User, Host",
        ),
    };
    let names = match names {
        Ok(names) => names,
        Err(DatabaseError::Server {
            code: 1044 | 1045 | 1142 | 1143 | 1227 | error_code::NO_SUCH_TABLE,
            ..
        }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut accounts = Vec::new();
    for row in names {
        let (user, host) = (row.string(0), row.string(1));
        if RESERVED_ACCOUNTS.contains(&user.as_str()) {
            continue;
        }
        let account = match row.text(2) {
            Some("Y") => read_role(session, user)?,
            _ => read_user(session, server, user, host)?,
        };
        accounts.extend(account);
    }
    Ok(Some(accounts))
}

/// Accounts with a secondary password, which no statement shows: it is not in a snapshot.
fn accounts_with_secondary_password(session: &mut Session) -> Result<Vec<String>, DatabaseError> {
    let statement = "SELECT User, Host FROM mysql.user WHERE User_attributes->'$.additional_password' IS NOT NULL";
    match session.query_rows(statement) {
        Ok(rows) => Ok(rows
            .iter()
            .map(|row| {
                format!(
                    "{}@{}",
                    quote_text(&row.string(0)),
                    quote_text(&row.string(1))
                )
            })
            .collect()),
        // Servers without secondary passwords do not know the column.
        Err(DatabaseError::Server { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A role of MariaDB.
fn read_role(session: &mut Session, user: String) -> Result<Option<MysqlAccount>, DatabaseError> {
    let create = match user.as_str() {
        PUBLIC_ROLE => RawText::default(),
        _ => RawText::from(format!("CREATE ROLE {}", quote_text(&user)).as_str()),
    };
    let mut account = MysqlAccount {
        create,
        user,
        host: None,
        grants: Vec::new(),
        default_roles: None,
    };
    account.grants = read_grants(session, &format_account(&account))?;
    Ok(Some(account))
}

fn read_user(
    session: &mut Session,
    server: &ServerInfo,
    user: String,
    host: String,
) -> Result<Option<MysqlAccount>, DatabaseError> {
    let mut account = MysqlAccount {
        user,
        host: Some(host),
        create: RawText::default(),
        grants: Vec::new(),
        default_roles: None,
    };
    let name = format_account(&account);
    let created = match session.query_row(format!("SHOW CREATE USER {name}")) {
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
        create = quote_certificate_attributes(session, &account, create)?;
    }
    let (create, default_roles) = split_default_roles(&create, &name);
    account.create = RawText::new(create);
    account.default_roles = default_roles;
    for grant in read_grants(session, &name)? {
        // MariaDB lists the default role among the grants.
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
            .for_each(|grant| *grant = remove_password_hash(grant));
    }
    Ok(Some(account))
}

fn read_grants(session: &mut Session, name: &str) -> Result<Vec<RawText>, DatabaseError> {
    match session.query_rows(format!("SHOW GRANTS FOR {name}")) {
        Ok(rows) => Ok(rows
            .iter()
            .filter_map(|row| row.bytes(0).map(RawText::new))
            .collect()),
        Err(DatabaseError::Server { code: 1141, .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// MySQL prints certificate requirements without escaping.
fn quote_certificate_attributes(
    session: &mut Session,
    account: &MysqlAccount,
    create: Vec<u8>,
) -> Result<Vec<u8>, DatabaseError> {
    let rows = session.query_rows(format!(
        "SELECT x509_subject, x509_issuer, ssl_cipher FROM mysql.user WHERE User = {} AND Host = {}",
        quote_text(&account.user),
        quote_text(account.host.as_deref().unwrap_or_default())
    ))?;
    let Some(row) = rows.first() else {
        return Ok(create);
    };
    Ok(["SUBJECT", "ISSUER", "CIPHER"]
        .iter()
        .enumerate()
        .filter_map(|(n, word)| Some((word, row.text(n)?)))
        .fold(create, |create, (word, value)| {
            quote_attribute(create, word, value)
        }))
}

/// Replaces ` WORD 'value'` by the same with the value properly quoted.
fn quote_attribute(create: Vec<u8>, word: &str, value: &str) -> Vec<u8> {
    let printed = format!(" {word} '{value}'");
    match memchr::memmem::find(&create, printed.as_bytes()) {
        Some(at) if value.contains(['\'', '\\']) => {
            let proper = format!(" {word} {}", quote_text(value));
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

/// `CREATE USER` cannot name roles that do not exist yet: they are set when all accounts exist.
fn split_default_roles(create: &[u8], name: &str) -> (Vec<u8>, Option<RawText>) {
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

/// MariaDB repeats the password hash in a grant, though `CREATE USER` has already set it.
fn remove_password_hash(grant: &RawText) -> RawText {
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

/// Accounts, and warnings about them.
#[derive(Default)]
pub(crate) struct AccountsWithWarnings {
    pub(crate) accounts: Option<Vec<MysqlAccount>>,
    pub(crate) warnings: Vec<String>,
}

/// The accounts, if they are to be stored, and what is missing of them.
pub(crate) fn read_accounts_with_warnings(
    source: &MysqlSource,
    control: &mut Session,
    server: &ServerInfo,
) -> Result<AccountsWithWarnings, Error> {
    if !source.accounts {
        return Ok(AccountsWithWarnings::default());
    }
    let failed = |error| Error::from_database("read accounts", error);
    let Some(read) = read_accounts(control, server).map_err(failed)? else {
        let warning = "users and roles are not included: the account has no SELECT privilege on mysql.user (grant it, or leave them out with --no-users)";
        return Ok(AccountsWithWarnings {
            accounts: None,
            warnings: vec![warning.to_owned()],
        });
    };
    let second = accounts_with_secondary_password(control).map_err(failed)?;
    let warning = |name| {
        format!(
            "the secondary password of {name} is not included: no statement of the server shows it"
        )
    };
    Ok(AccountsWithWarnings {
        accounts: Some(read),
        warnings: second.into_iter().map(warning).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_must_say_is_quoted() {
        let printed = b"CREATE USER `a`@`%` REQUIRE SUBJECT '/CN=it's' PASSWORD EXPIRE".to_vec();
        assert_eq!(
            String::from_utf8(quote_attribute(printed, "SUBJECT", "/CN=it's")).unwrap(),
            "CREATE USER `a`@`%` REQUIRE SUBJECT '/CN=it''s' PASSWORD EXPIRE"
        );
    }

    #[test]
    fn default_roles_are_set_after_all_accounts_exist() {
        let create = b"CREATE USER `a`@`%` IDENTIFIED WITH 'x' AS 'y' DEFAULT ROLE `r`@`%`,`s`@`%` REQUIRE NONE PASSWORD EXPIRE DEFAULT";
        let (create, roles) = split_default_roles(create, "'a'@'%'");
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
            remove_password_hash(&grant),
            RawText::from("GRANT USAGE ON *.* TO `a`@`%` WITH GRANT OPTION")
        );
        let plain = RawText::from("GRANT SELECT ON `d`.* TO `a`@`%`");
        assert_eq!(remove_password_hash(&plain), plain);
    }
}
