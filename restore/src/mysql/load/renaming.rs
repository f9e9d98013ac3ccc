//! What still names a database that is restored under another name: no body is rewritten.

use reprise_mysql::sql::{qualify_name, quote_name};

use crate::mysql::load::selection::SelectedDatabase;

/// A sentence for every selected object that refers to a renamed database by its old name.
pub(crate) fn find_old_names(selected: &[SelectedDatabase]) -> Vec<String> {
    let renamed = selected
        .iter()
        .filter(|chosen| chosen.target != chosen.database.name);
    renamed
        .flat_map(|renamed| {
            let (old, new) = (&renamed.database.name, &renamed.target);
            let (old_name, new_name) = (quote_name(old), quote_name(new));
            selected_definitions(selected)
                .filter(|(_, sql)| mentions_database(sql, old))
                .map(move |(object, _)| {
                    format!("{object} still refers to database {old_name}, which is restored as {new_name}")
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Everything that has a definition, described for people, with that definition.
fn selected_definitions(selected: &[SelectedDatabase]) -> impl Iterator<Item = (String, &[u8])> {
    selected.iter().flat_map(|chosen| {
        let database = &chosen.database;
        let name =
            |kind: &str, name: &str| format!("{kind} {}", qualify_name(&chosen.target, name));
        let tables = database.tables.iter();
        let tables = tables.map(move |table| (name("table", &table.name), table.sql.as_bytes()));
        let code = [
            &database.views,
            &database.routines,
            &database.triggers,
            &database.events,
        ];
        let code = code.into_iter().flatten();
        tables.chain(code.map(move |code| {
            let kind = code.kind.to_lowercase();
            (name(&kind, &code.name), code.sql.as_bytes())
        }))
    })
}

/// Whether a definition has the database's name before a dot. String literals and comments are not told apart: a false
/// match is harmless.
fn mentions_database(sql: &[u8], database: &str) -> bool {
    let quoted = format!("{}.", quote_name(database));
    let plain = format!("{database}.");
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_$`.@'\"".contains(&byte);
    let begins = |at: &usize| *at == 0 || sql.get(at - 1).is_some_and(|byte| !in_word(*byte));
    memchr::memmem::find(sql, quoted.as_bytes()).is_some()
        || memchr::memmem::find_iter(sql, plain.as_bytes()).any(|at| begins(&at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_before_a_dot_is_the_databases() {
        for sql in ["select shop.t.a", "(`shop`.`t`)", "call shop.p()", "shop.f"] {
            assert!(mentions_database(sql.as_bytes(), "shop"), "{sql}");
        }
        for sql in [
            "workshop.t",
            "shop",
            "`a`.shop.b",
            "x@'shop.example'",
            "shops.t",
        ] {
            assert!(!mentions_database(sql.as_bytes(), "shop"), "{sql}");
        }
    }
}
