//! The definitions in `printed/` are output of real servers, on which it was tested that a table created in these steps
//! prints the same again; here a model of how servers order keys replaces them.

use proptest::prelude::*;

use crate::mysql::load::ddl::*;

const MYSQL: &str = include_str!("printed/mysql-9.7.sql");
const MARIADB: &str = include_str!("printed/mariadb-10.11.sql");

fn printed() -> impl Iterator<Item = &'static str> {
    let all = MYSQL.split("\n;\n").chain(MARIADB.split("\n;\n"));
    all.filter(|text| !text.is_empty())
}

/// The printed definition of this table.
fn table(server: &'static str, name: &str) -> TableDefinition {
    let begin = format!("CREATE TABLE `{name}` (");
    let mut found = server
        .split("\n;\n")
        .filter(|text| text.starts_with(&begin));
    parse_create_table(found.next().unwrap().as_bytes()).unwrap()
}

/// An InnoDB table with these items.
fn with(items: &[&str]) -> TableDefinition {
    let text = format!(
        "CREATE TABLE `t` (\n  {}\n) ENGINE=InnoDB",
        items.join(",\n  ")
    );
    parse_create_table(text.as_bytes()).unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The clauses, without `ADD`, by statement.
fn keys(definition: &TableDefinition) -> Vec<Vec<String>> {
    let clause = |clause: &Vec<u8>| text(clause).strip_prefix("ADD ").unwrap().to_owned();
    let groups = definition.keys_after_rows();
    groups
        .iter()
        .map(|group| group.iter().map(clause).collect())
        .collect()
}

/// The output of a server when all was added: each addition is after all of its rank.
fn completed(definition: &TableDefinition) -> Vec<u8> {
    let mut result = parse_create_table(&definition.before_rows()).unwrap();
    let keys = definition.keys_after_rows().concat();
    for clause in keys.into_iter().chain(definition.foreign_keys()) {
        let item =
            TableItem::new(&[b"\n  ", clause.strip_prefix(b"ADD ").unwrap()].concat()).unwrap();
        let behind = |other: &TableItem| other.rank() > item.rank();
        let at = result
            .items
            .iter()
            .position(behind)
            .unwrap_or(result.items.len());
        result.items.insert(at, item);
    }
    let items: Vec<&[u8]> = result
        .items
        .iter()
        .map(|item| item.text.as_slice())
        .collect();
    [result.head.as_slice(), &items.join(&b","[..]), &result.tail].concat()
}

/// White space at the end of an item, which one server prints, is not part of the addition.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .collect()
}

#[test]
fn a_table_made_in_steps_is_the_printed_one() {
    let mut count = 0;
    for original in printed() {
        // A period is before the keys and not after them; such a table keeps its keys, or has only a few.
        let definition = parse_create_table(original.as_bytes()).unwrap();
        if !original.contains("PERIOD FOR `app`") {
            assert_eq!(lines(&completed(&definition)), lines(original.as_bytes()));
        }
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[test]
fn what_is_made_before_the_rows_has_nothing_more_to_take_out() {
    for original in printed() {
        let before = parse_create_table(original.as_bytes())
            .unwrap()
            .before_rows();
        let again = parse_create_table(&before).unwrap();
        assert_eq!(again.before_rows(), before);
        assert_eq!(again.keys_after_rows(), Vec::<Vec<Vec<u8>>>::new());
        assert_eq!(again.foreign_keys(), Vec::<Vec<u8>>::new());
        assert_eq!(
            again.engine(),
            parse_create_table(original.as_bytes()).unwrap().engine()
        );
    }
}

#[test]
fn a_table_without_secondary_keys_stays_as_it_is() {
    for (server, name) in [
        (MYSQL, "t17_onlypk"),
        (MYSQL, "t12_myisam"),
        (MYSQL, "m06_desc_ai"),
        (MARIADB, "r01_ver"),
        (MARIADB, "r02_ver"),
        (MARIADB, "r05_aria"),
        (MARIADB, "r09_verpart"),
    ] {
        let definition = table(server, name);
        let original = printed().find(|text| text.contains(name)).unwrap();
        assert_eq!(text(&definition.before_rows()), original);
        assert!(definition.keys_after_rows().is_empty(), "{name}");
    }
}

#[test]
fn names_with_syntax_in_them_are_names() {
    let definition = table(MYSQL, "t02_``odd, (names)\n KEY x");
    let before = "CREATE TABLE `t02_``odd, (names)
 KEY x` (
  `a,b` int NOT NULL,
  `c``d` int DEFAULT NULL,
  `(e)` int DEFAULT NULL,
  `KEY ``q`` (` varchar(30) DEFAULT 'it''s, (a) \\\\ test\\n`',
  PRIMARY KEY (`a,b`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='ENGINE=MyISAM '') PARTITION BY x'";
    assert_eq!(text(&definition.before_rows()), before);
    let expected = [
        "UNIQUE KEY `u,(``)` (`c``d`,`(e)`)",
        "KEY `), KEY` (`KEY ``q`` (`)",
    ];
    assert_eq!(keys(&definition), [expected]);
    assert_eq!(definition.engine().unwrap(), "InnoDB");
}

#[test]
fn expressions_and_comments_come_along_whole() {
    let expected = [
        "UNIQUE KEY `f3` ((lower(`s`)))",
        "KEY `f1` ((cast(json_extract(`j`,_utf8mb4'$.x') as unsigned)))",
        "KEY `f2` ((concat(`s`,_utf8mb4'),`')),`id`)",
        "KEY `mv` ((cast(json_extract(`j`,_utf8mb4'$.a') as unsigned array)))",
    ];
    assert_eq!(keys(&table(MYSQL, "m02_func")), [expected]);
    let expected = ["FULLTEXT KEY `ft` (`t`) COMMENT 'parser' /*!50100 WITH PARSER `ngram` */"];
    assert_eq!(keys(&table(MYSQL, "m03_ngram")), [expected]);
    let expected = [
        "KEY `a` (`a`) /*!80000 INVISIBLE */",
        "KEY `b` (`b` DESC,`a`)",
    ];
    assert_eq!(keys(&table(MYSQL, "m01_invis")), [expected]);
    let expected = [
        "UNIQUE KEY `uv` (`v`(5))",
        r"KEY `v` (`v`) COMMENT 'key ''comment'', with ) and \\'",
    ];
    assert_eq!(keys(&table(MYSQL, "t03_comments")), [expected]);
}

#[test]
fn full_text_and_spatial_keys_are_added_alone_and_all_in_order() {
    let groups = keys(&table(MYSQL, "t20_order"));
    let expected: [&[&str]; 6] = [
        &[
            "UNIQUE KEY `u2` (`a`)",
            "UNIQUE KEY `u1` (`b`)",
            "KEY `k1` (`a`)",
        ],
        &["SPATIAL KEY `s1` (`g`)"],
        &["KEY `k2` (`b`)"],
        &["SPATIAL KEY `s2` (`h`)"],
        &["KEY `k3` (`a`,`b`)"],
        &["FULLTEXT KEY `f1` (`t`)"],
    ];
    assert_eq!(groups, expected);
}

#[test]
fn foreign_keys_leave_and_checks_stay() {
    let definition = table(MYSQL, "t10_child");
    let foreign: Vec<String> = definition
        .foreign_keys()
        .iter()
        .map(|clause| text(clause).to_owned())
        .collect();
    let expected = [
        "ADD CONSTRAINT `fk,1``(` FOREIGN KEY (`pid`) REFERENCES `t09_parent` (`id`) ON DELETE CASCADE ON UPDATE SET NULL",
        "ADD CONSTRAINT `fk2` FOREIGN KEY (`x`, `y`) REFERENCES `t09_parent` (`x`, `y`)",
    ];
    assert_eq!(foreign, expected);
    let before = definition.before_rows();
    assert!(text(&before).contains("CONSTRAINT `ck` CHECK (((`x` > 0) and (`we,ird` <> 3)))\n)"));
    assert!(!text(&before).contains("FOREIGN"));
}

#[test]
fn foreign_keys_leave_a_table_with_history_too() {
    let definition = table(MARIADB, "r11_verfk");
    assert_eq!(definition.foreign_keys().len(), 1);
    assert!(definition.keys_after_rows().is_empty());
}

#[test]
fn without_a_primary_key_unique_ones_stay() {
    assert_eq!(keys(&table(MYSQL, "t04_nopk")), [["KEY `ab` (`a`,`b`)"]]);
    assert_eq!(
        keys(&table(MYSQL, "t06_autoinc_unique")),
        [["KEY `b` (`b`)"]]
    );
}

#[test]
fn a_counting_column_keeps_a_key_and_those_before_it() {
    assert_eq!(keys(&table(MYSQL, "t05_autoinc_key")), [["KEY `a2` (`a`)"]]);
    let definition = table(MYSQL, "t23_ai_mid");
    let expected = [
        "UNIQUE KEY `ub` (`b`,`c`)",
        "UNIQUE KEY `uc` (`c`)",
        "UNIQUE KEY `ud` (`c`,`b`)",
        "KEY `kc` (`c`)",
        "KEY `ka` (`a`)",
    ];
    assert_eq!(keys(&definition), [expected]);
    assert!(text(&definition.before_rows()).contains("UNIQUE KEY `ua` (`a`)"));
}

#[test]
fn a_counting_column_is_found_outside_of_quotes_only() {
    let key = "KEY `k` (`a`)";
    let counting = [
        "`a` int AUTO_INCREMENT",
        "`b` int",
        "PRIMARY KEY (`b`)",
        key,
    ];
    assert!(keys(&with(&counting)).is_empty());
    for column in [
        "`a` int COMMENT 'AUTO_INCREMENT'",
        "`a` enum('AUTO_INCREMENT')",
        "`a` int /* `AUTO_INCREMENT` */",
    ] {
        let items = [column, "`b` int", "PRIMARY KEY (`b`)", key];
        assert_eq!(keys(&with(&items)), [[key]], "{column}");
    }
    let prefix = ["`a` int AUTO_INCREMENT", "PRIMARY KEY (`a`,`b`)", key];
    assert_eq!(keys(&with(&prefix)), [[key]]);
}

#[test]
fn a_table_gets_another_name() {
    let original = table(MYSQL, "t17_onlypk");
    let named = original.clone().renamed_to("other`", "t\n");
    let before = named.before_rows();
    assert!(text(&before).starts_with("CREATE TABLE `other```.`t\n` (\n  `id`"));
    assert_eq!(parse_create_table(&before).unwrap(), named);
    let again = named.renamed_to("a", "b");
    assert!(text(&again.before_rows()).starts_with("CREATE TABLE `a`.`b` (\n"));
}

#[test]
fn the_engine_is_the_tables_own() {
    let engine = |tail: &str| {
        parse_create_table(format!("CREATE TABLE `t` (`a` int{tail}").as_bytes())
            .unwrap()
            .engine()
    };
    let comment = ") /*!50100 TABLESPACE `ENGINE=x` */ ENGINE=InnoDB COMMENT='ENGINE=MyISAM'";
    assert_eq!(engine(comment).as_deref(), Some("InnoDB"));
    assert_eq!(engine(") SECONDARY_ENGINE=RAPID").as_deref(), None);
    assert_eq!(engine(")").as_deref(), None);
    assert_eq!(
        engine(" COMMENT 'ENGINE=x') ENGINE=Aria").as_deref(),
        Some("Aria")
    );
    let partitions =
        ") ENGINE=InnoDB\n/*!50100 PARTITION BY KEY (id)\n(PARTITION p ENGINE = MyISAM) */";
    assert_eq!(engine(partitions).as_deref(), Some("InnoDB"));
}

#[test]
fn keys_wait_with_innodb_only() {
    for (engine, waits) in [
        ("InnoDB", true),
        ("innodb", true),
        ("MyISAM", false),
        ("ROCKSDB", false),
    ] {
        let table = format!("CREATE TABLE `t` (`a` int, KEY `a` (`a`)) ENGINE={engine}");
        let definition = parse_create_table(table.as_bytes()).unwrap();
        assert_eq!(!definition.keys_after_rows().is_empty(), waits, "{engine}");
    }
}

#[test]
fn text_need_not_be_utf8() {
    let table = b"CREATE TABLE `\xff` (\n  `\xfe\xe9` int COMMENT '\x80',\n  KEY `\xe9` (`\xfe\xe9`)\n) ENGINE=InnoDB";
    let definition = parse_create_table(table).unwrap();
    assert_eq!(
        definition.keys_after_rows(),
        [[b"ADD KEY `\xe9` (`\xfe\xe9`)".to_vec()]]
    );
}

#[test]
fn what_is_no_table_definition_is_an_error() {
    for text in [
        "",
        "CREATE",
        "CREATE VIEW `v` AS select 1",
        "CREATE TABLE t (`a` int)",
        "CREATE TABLE `t`",
        "CREATE TABLE `t` AS select 1",
        "CREATE TABLE `t` (`a` int",
        "CREATE TABLE `t` (`a` int DEFAULT 'x)",
        "CREATE TABLE `t` (`a` int) COMMENT='x",
        "CREATE TABLE `t` (`a` int) COMMENT=')'')",
    ] {
        assert!(parse_create_table(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn names_are_quoted() {
    assert_eq!(quote_name("a"), "`a`");
    assert_eq!(quote_name("a`b"), "`a``b`");
}

/// Names and strings as awkward as possible.
fn nasty() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "`",
        "'",
        "\\",
        ",",
        "(",
        ")",
        "\n",
        " KEY ",
        "é",
        "\"",
        "/*!",
        "*/",
        "AUTO_INCREMENT",
        ";",
        "--",
    ]);
    prop::collection::vec(part, 1..8).prop_map(|parts| parts.concat())
}

fn string(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

prop_compose! {
    fn definition()(
        table in nasty(),
        columns in prop::collection::vec((nasty(), nasty(), any::<bool>()), 1..4),
        primary in any::<bool>(),
        unique in prop::collection::vec((nasty(), 0_usize..4), 0..4),
        other in prop::collection::vec((nasty(), 0_usize..4, any::<bool>()), 0..4),
        full in prop::collection::vec(nasty(), 0..3),
        foreign in prop::collection::vec(nasty(), 0..3),
        check in nasty(),
        comment in nasty(),
    ) -> String {
        let column = |index: usize| quote_name(&columns[index % columns.len()].0);
        let mut items: Vec<String> = columns
            .iter()
            .map(|(name, text, counts)| {
                let end = if *counts { " AUTO_INCREMENT" } else { "" };
                format!("{} int DEFAULT {}{end}", quote_name(name), string(text))
            })
            .collect();
        items.extend(primary.then(|| format!("PRIMARY KEY ({})", column(0))));
        items.extend(unique.iter().map(|(name, of)| format!("UNIQUE KEY {} ({})", quote_name(name), column(*of))));
        items.extend(other.iter().map(|(name, of, spatial)| {
            format!("{}KEY {} ({})", if *spatial { "SPATIAL " } else { "" }, quote_name(name), column(*of))
        }));
        items.extend(full.iter().map(|name| format!("FULLTEXT KEY {} ({})", quote_name(name), column(0))));
        items.extend(foreign.iter().map(|name| {
            format!("CONSTRAINT {0} FOREIGN KEY ({1}) REFERENCES {0} ({1})", quote_name(name), column(1))
        }));
        items.push(format!("CONSTRAINT {} CHECK (({} <> {}))", quote_name(&check), column(0), string(&check)));
        format!(
            "CREATE TABLE {} (\n  {}\n) ENGINE=InnoDB COMMENT={}",
            quote_name(&table), items.join(",\n  "), string(&comment)
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_table_made_in_steps_is_the_same(original in definition()) {
        let definition = parse_create_table(original.as_bytes()).unwrap();
        let completed = completed(&definition);
        prop_assert_eq!(text(&completed), original);
    }

    #[test]
    fn arbitrary_bytes_are_an_error_and_no_panic(bytes: Vec<u8>, text in nasty()) {
        let _ = parse_create_table(&bytes);
        let table = [b"CREATE TABLE `t` (", text.as_bytes(), b") ENGINE=InnoDB"].concat();
        if let Ok(definition) = parse_create_table(&table) {
            let _ = completed(&definition);
        }
    }
}
