//! The zoo itself: it loads, holds what it promises, and its description shows a change.

use reprise_tests::servers::{Database, Mariadb, Mysql, ServerDescription, describe, differences};
use reprise_tests::zoo::Zoo;

fn has(description: &ServerDescription, names: &[&str]) {
    for name in names {
        assert!(
            description.contains_key(*name),
            "{name}: {:#?}",
            description.keys()
        );
    }
}

fn fills(server: &impl Zoo) -> ServerDescription {
    let empty = describe(server);
    server.load_zoo();
    let full = describe(server);
    assert!(full.len() > empty.len() + 200, "{:#?}", full.keys());
    assert!(differences(&full, &describe(server)).is_empty());
    has(
        &full,
        &[
            "database `Zoo ä'\"``/.%_\\中\n\t-`",
            "table `zoo`.`..`",
            "view `zoo`.`invalid_too`",
            "trigger `zoo`.`after's \"ü\" ``中```",
            "procedure `zoo`.`do it's ``all`` ü中`",
            "function `zoo`.`same`",
            "event `zoo`.`disabled's ``ü中```",
            "user `o'neil`@`%`",
        ],
    );
    assert!(full["rows of `zoo`.`many`"].starts_with("10000\n"));
    full
}

#[test]
fn mysql_holds_the_zoo() {
    let mysql = Mysql::start();
    let full = fills(&mysql);
    has(
        &full,
        &["library `zoo_own`.`lib's \"ü\"`", "grants of `all`@`%`"],
    );
    assert!(full["table `zoo_own`.`generated_key`"].contains("my_row_id"));
    one_change_shows(&mysql, &full);
}

#[test]
fn mariadb_holds_the_zoo() {
    let mariadb = Mariadb::start();
    let full = fills(&mariadb);
    has(
        &full,
        &[
            "sequence `zoo_own`.`plain`",
            "package body `zoo_own`.`pack`",
            "grants of PUBLIC",
        ],
    );
    assert_eq!(
        full["history of `zoo_own`.`versioned`"]
            .matches("----")
            .count(),
        4
    );
    one_change_shows(&mariadb, &full);
}

/// A digit that text dumps lose is seen.
fn one_change_shows(server: &impl Database, full: &ServerDescription) {
    server.execute("UPDATE zoo.numbers SET f = 16777200 WHERE id = 10");
    let different = differences(full, &describe(server));
    let names: Vec<&String> = different.keys().collect();
    assert_eq!(names, ["rows of `zoo`.`numbers`"]);
}
