//! Bad files: each error is found at its exact position with this exact message.

use super::{BASE, errors, parse};

/// Text after [`BASE`] (which has five lines) and the only error in it.
fn check(cases: &[(&str, &str)]) {
    for (added, expected) in cases {
        assert_eq!(errors(&format!("{BASE}{added}")), [*expected], "{added}");
    }
}

#[test]
fn unknown_keys_are_errors_at_the_key() {
    check(&[
        (
            "  j: {volume: {path: a, exlude: [x]}}\n",
            "6:25 unknown key `exlude` in `volume`",
        ),
        ("drill: {}\n", "6:1 unknown key `drill` in a policy"),
        (
            "  ü: 1\n",
            "6:3 `ü` is not a name; names have letters, digits, `.`, `_` and `-` (first a letter or digit, at most 64)",
        ),
        (
            "  \"é\\u0020\": {volume: {path: a}}\n",
            "6:3 `é ` is not a name; names have letters, digits, `.`, `_` and `-` (first a letter or digit, at most 64)",
        ),
    ]);
}

#[test]
fn keys_given_twice_are_errors_at_the_second() {
    check(&[
        (
            "version: 1\n",
            "6:1 the key `version` was already given on line 1",
        ),
        (
            "  etc: {volume: {path: /a}}\n",
            "6:3 the key `etc` was already given on line 5",
        ),
    ]);
}

#[test]
fn a_source_is_exactly_one_kind() {
    check(&[
        (
            "  a: {tags: {x: y}}\n",
            "6:3 a source needs exactly one of `volume`, `tfstate`, `command` and `mysql`; found none",
        ),
        (
            "  a: {volume: {path: x}, tfstate: {path: y}}\n",
            "6:3 a source needs exactly one of `volume`, `tfstate`, `command` and `mysql`; found `volume` and `tfstate`",
        ),
        ("  a: {volume: {}}\n", "6:7 `volume` needs the key `path`"),
        ("  a: {volume: }\n", "6:7 expected a mapping, found nothing"),
        (
            "  a: {volume: /etc}\n",
            "6:15 expected a mapping, found a single value",
        ),
    ]);
}

#[test]
fn source_values_are_checked_in_place() {
    check(&[
        (
            "  a: {volume: {path: x, one_file_system: yes}}\n",
            "6:42 expected `true` or `false`, found `yes`",
        ),
        (
            "  a: {volume: {path: x, exclude: ['[a']}}\n",
            "6:35 `[a` is not a valid pattern: unclosed character class; missing ']'",
        ),
        (
            "  a: {volume: {path: x, exclude: []}}\n",
            "6:34 the list is empty; remove the key or add an item",
        ),
        (
            "  a: {tfstate: {path: \"https://u:p@h/x\"}}\n",
            "6:23 expected a path on this host, found `https`",
        ),
        ("  a: {tfstate: {path: ''}}\n", "6:23 the text is empty"),
        (
            "  a: {tfstate: {path: x}, shrink_alarm: 50}\n",
            "6:41 `50` has no unit; write for example `50%`",
        ),
        (
            "  a: {tfstate: {path: x}, shrink_alarm: 100%}\n",
            "6:41 100% would raise the alarm always or never",
        ),
        (
            "  a: {tfstate: {path: x}, repositories: [mian]}\n",
            "6:42 there is no repository named `mian`",
        ),
        (
            "  a: {tfstate: {path: x}, repositories: [main, main]}\n",
            "6:48 the repository `main` is listed twice",
        ),
        (
            "  a: {tfstate: {path: x}, retention: standart}\nretention: {standard: {last: 1}}\n",
            "6:38 there is no retention named `standart`",
        ),
    ]);
}

#[test]
fn commands_are_lists_without_secrets() {
    check(&[
        (
            "  a: {command: {run: pg_dump app}}\n",
            "6:22 expected a list: the program and its arguments, one item each",
        ),
        (
            "  a: {command: {run: [x, '-p${env:P}']}}\n",
            "6:26 a secret must not be passed in an argument",
        ),
        (
            "  a: {command: {run: [x], timeout: 90}}\n",
            "6:36 `90` has no unit; write for example `26h`",
        ),
        (
            "  a: {command: {run: [x], timeout: 0s}}\n",
            "6:36 the duration must not be zero",
        ),
        (
            "  a: {command: {run: [x], env: {PGPASSWORD: hunter2}}}\n",
            "6:45 `PGPASSWORD` looks like a secret, which a policy must not contain",
        ),
        (
            "  a: {command: {run: [x], env: {A: 'x${env:B}'}}}\n",
            "6:36 a reference `${env:NAME}` must be the whole value",
        ),
        (
            "  a: {command: {run: [x], env: {1A: x}}}\n",
            "6:33 `1A` is not a name; names have letters, digits and `_` (not first a digit)",
        ),
    ]);
}

/// Keys of a `mysql` source with a valid URL, and the only error in them.
fn check_mysql(cases: &[(&str, &str)]) {
    for (keys, expected) in cases {
        let text = format!("{BASE}  a: {{mysql: {{url: 'mysql://h/', {keys}}}}}\n");
        assert_eq!(errors(&text), [*expected], "{keys}");
    }
}

#[test]
fn databases_are_checked() {
    check(&[("  a: {mysql: {}}\n", "6:7 `mysql` needs the key `url`")]);
    check_mysql(&[
        ("database: [a]", "6:34 unknown key `database` in `mysql`"),
        (
            "databases: []",
            "6:45 the list is empty; remove the key or add an item",
        ),
        ("databases: ['']", "6:46 the text is empty"),
        (
            "exclude_databases: app",
            "6:53 expected a list, found a single value",
        ),
        (
            "tables: [users]",
            "6:43 `users` is not a table pattern of the form `DATABASE.TABLE`",
        ),
        (
            "exclude_tables: [app.]",
            "6:51 `app.` is not a table pattern of the form `DATABASE.TABLE`",
        ),
        (
            "threads: 0",
            "6:43 expected a whole number from 1 to 32, found `0`",
        ),
        (
            "threads: 33",
            "6:43 expected a whole number from 1 to 32, found `33`",
        ),
        (
            "tls: verify_ca",
            "6:39 `verify_ca` is not a TLS mode; the modes are `off`, `preferred`, `required`, `verify-ca` and `verify-identity`",
        ),
        (
            "tls_ca: 'https://h/ca.pem'",
            "6:42 expected a path on this host, found `https`",
        ),
        ("users: no", "6:41 expected `true` or `false`, found `no`"),
        (
            "hold_nontransactional: 1",
            "6:57 expected `true` or `false`, found `1`",
        ),
    ]);
}

#[test]
fn passwords_of_databases_are_named_and_not_written() {
    check_mysql(&[
        (
            "password: hunter2",
            "6:44 a password is a secret, which a policy must not contain",
        ),
        (
            "password: 'x${env:P}'",
            "6:44 a reference `${env:NAME}` must be the whole value",
        ),
    ]);
    let message = "6:20 the URL contains a password, which a policy must not contain";
    for url in [
        "mysql://u:hunter2@h/",
        "mysql://u:${env:P}@h/",
        "mysql://h/?password=hunter2",
        "mysql://u:hunter#2@h/",
    ] {
        check(&[(&format!("  a: {{mysql: {{url: '{url}'}}}}\n"), message)]);
    }
}

#[test]
fn urls_of_databases_are_checked() {
    for (url, expected) in [
        ("db.example", "expected a URL that begins with `mysql://`"),
        (
            "postgres://h/",
            "expected a URL that begins with `mysql://`",
        ),
        ("mysql:///app", "the URL names no host"),
        ("mysql://u@/app", "the URL names no host"),
        (
            "mysql://h/a b",
            "a URL must not contain spaces, control characters or `#`",
        ),
        (
            "mysql://h/a/b",
            "the path of the URL is at most one database",
        ),
        ("mysql://h:0/", "the port is not a number from 1 to 65535"),
        ("mysql://u@h:x/", "the port is not a number from 1 to 65535"),
        (
            "mysql://[::1]:65536/",
            "the port is not a number from 1 to 65535",
        ),
        (
            "mysql://h/?sokcet=/x",
            "`sokcet` is not a parameter of the URL; they are `socket` and `container`",
        ),
        ("mysql://h/?socket=", "`socket` in the URL is empty"),
        (
            "mysql://h/?tls=off",
            "`tls` is not a URL parameter in a policy, but a separate key",
        ),
        (
            "mysql://h/?socket=/x&defaults-file=/y",
            "`defaults-file` is not a URL parameter in a policy, but a separate key",
        ),
    ] {
        let text = format!("  a: {{mysql: {{url: '{url}'}}}}\n");
        check(&[(&text, &format!("6:20 {expected}"))]);
    }
}

#[test]
fn retention_needs_a_rule_and_no_zero() {
    check(&[
        (
            "retention: {a: {}}\n",
            "6:13 a set of retention rules needs at least one of `last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly` and `within`",
        ),
        (
            "retention: {a: {daily: 0}}\n",
            "6:24 expected a whole number from 1 to 4294967295, found `0`",
        ),
        (
            "retention: {a: {daily: -1}}\n",
            "6:24 expected a whole number from 1 to 4294967295, found `-1`",
        ),
        (
            "retention: {a: {within: soon}}\n",
            "6:25 `soon` does not begin with a whole number; write for example `26h`",
        ),
    ]);
}

#[test]
fn drills_refer_to_what_exists() {
    check(&[
        (
            "drills: {d: {source: ect}}\n",
            "6:22 there is no source named `ect`",
        ),
        (
            "drills: {d: {source: etc, repository: other}}\n",
            "6:39 there is no repository named `other`",
        ),
        (
            "drills: {d: {source: etc, budget: {}}}\n",
            "6:27 `budget` needs at least one of `recovery_time` and `data_loss`",
        ),
        (
            "drills: {d: {source: etc, identity: AGE-SECRET-KEY-1XYZ}}\n",
            "6:37 expected a reference to an identity file, not the identity itself",
        ),
    ]);
}

#[test]
fn a_server_is_drilled_with_queries_and_files_with_checks() {
    let server = "server: {url: 'mysql://s/'}";
    let of = |source: &str, more: &str| format!("drills: {{d: {{source: {source}, {more}}}}}\n");
    let on_server = |query: &str| of("db", &format!("{server}, queries: [{query}]"));
    const DATABASE: &str = "  db: {mysql: {url: 'mysql://h/'}}\n";
    for (text, expected) in [
        (of("etc", server), "`etc` is not a database server"),
        (
            of(
                "db",
                &format!("{server}, checks: [{{path: a, exists: true}}]"),
            ),
            "a server has no files to check",
        ),
        (
            of("db", "queries: [{query: SELECT 1, equals: 1}]"),
            "queries need a server",
        ),
        (
            of("db", "server: {url: 'mysql://s/', replay: prof}"),
            "`prof` is none of `none`, `latest` and `proof`",
        ),
        (
            of("db", "server: {url: 'mysql://s/', password: hunter2}"),
            "a password is a secret",
        ),
        (
            on_server("{query: SELECT 1}"),
            "`query` needs either `equals` or `at_least` beside it",
        ),
        (
            on_server("{query: SELECT 1, equals: 1, within: 1h}"),
            "this key needs `newest`, not `query`",
        ),
        (
            on_server("{newest: SELECT 1, at_least: 1}"),
            "this key needs `query`, not `newest`",
        ),
        (
            on_server("{query: SELECT 1, newest: SELECT 1, equals: 1}"),
            "a query needs exactly one of",
        ),
    ] {
        let found = errors(&format!("{BASE}{DATABASE}{text}"));
        assert!(
            found.iter().any(|error| error.contains(expected)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn checks_are_checked() {
    let check_of = |check: &str| {
        errors(&format!(
            "{BASE}drills: {{d: {{source: etc, checks: [\n{check}]}}}}\n"
        ))
    };
    for (text, expected) in [
        ("{path: a}", "7:1 a check needs at least one of"),
        (
            "{path: /a, exists: true}",
            "7:8 the path is relative to what was restored, without `..`",
        ),
        (
            "{path: a/../b, exists: true}",
            "7:8 the path is relative to what was restored, without `..`",
        ),
        (
            "{path: '[', exists: true}",
            "7:8 `[` is not a valid glob: unclosed character class; missing ']'",
        ),
        (
            "{path: a, matches: '('}",
            "7:20 `(` is not a valid regular expression: unclosed group",
        ),
        (
            "{path: a, mode: '0888'}",
            "7:17 `0888` is not a mode; write three or four octal digits, like \"0600\"",
        ),
        (
            "{path: a, kind: dir}",
            "7:17 `dir` is not a kind of entry; the kinds are `file`, `directory` and `symlink`",
        ),
        (
            "{path: a, sha256: abc}",
            "7:19 expected 64 hexadecimal digits, found `abc`",
        ),
        (
            "{path: a, size_at_least: 1 foot}",
            "7:26 `foot` is not a unit here",
        ),
        (
            "{path: a, json_pointer: .serial, equals: 3}",
            "7:25 `.serial` is not a JSON pointer",
        ),
        (
            "{path: a, json_pointer: /serial}",
            "7:11 `json_pointer` needs `equals` beside it",
        ),
        (
            "{path: a, exists: true, equals: 1}",
            "7:25 `equals` needs `json_pointer` beside it",
        ),
        (
            "{path: a, exists: false, mode: 600}",
            "7:19 `exists: false` cannot be combined with other expectations",
        ),
    ] {
        let found = check_of(text);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn repositories_are_checked() {
    for (repository, expected) in [
        ("{}", "3:3 a repository needs the key `url`"),
        (
            "{url: 'ftp://h/x'}",
            "3:15 `ftp` is not a supported URL scheme; use `file`, `s3`, `azure` or a plain path",
        ),
        (
            "{url: 's3://u:hunter2@b'}",
            "3:15 the URL contains credentials, which a repository URL must not contain",
        ),
        (
            "{url: x, signers: [12]}",
            "3:28 expected 64 hexadecimal digits, found `12`",
        ),
        (
            "{url: x, recipients: [bob]}",
            "3:31 `bob` is not a public key that age knows",
        ),
        (
            "{url: x, recipients: [AGE-SECRET-KEY-1AB]}",
            "3:31 this is a secret key; a recipient is a public one",
        ),
        (
            "{url: x, create: {generate_identities: [a]}}",
            "3:18 `create` needs two recipients or identities: if the only key is lost, so is the repository",
        ),
        (
            "{url: x, recipients: [bob], create: {generate_identities: [a]}}",
            "3:31 `bob` is not a public key that age knows",
        ),
        (
            "{url: x, create: {}}",
            "3:18 `create` needs two recipients or identities: if the only key is lost, so is the repository",
        ),
        (
            "{url: x, create: {generate_identities: [a, ./a], single_recipient: true}}",
            "3:18 two identities would be written to the same file",
        ),
    ] {
        let text = BASE.replace("{url: ./repo}", repository);
        assert_eq!(errors(&text), [expected], "{repository}");
    }
}

#[test]
fn hosts_are_checked() {
    let signer = "ab".repeat(32);
    let known = format!("hosts: {{web1: {{signer: {signer}}}}}\n");
    for (hosts, source, expected) in [
        (
            "hosts: {web1: {}}\n",
            "[web1]",
            "6:9 a host needs the key `signer`",
        ),
        (
            "hosts: {web1: {signer: abc}}\n",
            "[web1]",
            "6:24 expected 64 hexadecimal digits, found `abc`",
        ),
        (
            &format!("hosts: {{web1: {{signer: {signer}, roles: [reader]}}}}\n"),
            "[web1]",
            "6:98 `reader` is not a role; the roles are `writer`, `keeper`, `prover` and `watcher`",
        ),
        (&known, "[web2]", "5:39 there is no host named `web2`"),
        (
            &known,
            "[web1, web1]",
            "5:45 the host `web1` is listed twice",
        ),
    ] {
        let base = BASE.strip_suffix("}\n").unwrap_or(BASE);
        let text = format!("{base}, hosts: {source}}}\n{hosts}");
        assert_eq!(errors(&text), [expected], "{text}");
    }
}

#[test]
fn what_a_repository_is_told_is_checked() {
    for (told, expected) in [
        (
            "immutable_days: 0",
            "3:39 expected a whole number from 1 to 36500, found `0`",
        ),
        (
            "immutable_days: 36501",
            "3:39 expected a whole number from 1 to 36500, found `36501`",
        ),
        (
            "immutable_days: 30d",
            "3:39 expected a whole number from 1 to 36500, found `30d`",
        ),
        (
            "lock_mode: complience",
            "3:34 `complience` is not a lock mode; the modes are `governance` and `compliance`",
        ),
        ("storage_class: ''", "3:38 the text is empty"),
        (
            "path_style: yes",
            "3:35 expected `true` or `false`, found `yes`",
        ),
        (
            "limit_upload: 0KB/s",
            "3:37 `0KB/s` is zero; a rate must be greater than zero",
        ),
        (
            "limit_download: fast",
            "3:39 `fast` does not begin with a whole number; write for example `10MiB`",
        ),
        (
            "retry_for: 15",
            "3:34 `15` has no unit; write for example `26h`",
        ),
        ("failure_domain: [a]", "3:39 expected text, found a list"),
        (
            "immutible_days: 3",
            "3:23 unknown key `immutible_days` in a repository",
        ),
    ] {
        let text = BASE.replace("url: ./repo", &format!("url: s3://b, {told}"));
        assert_eq!(errors(&text), [expected], "{told}");
    }
}

#[test]
fn a_folder_cannot_promise_locks() {
    let text = BASE.replace(
        "./repo",
        "./repo, immutable_days: 30, lock_mode: governance",
    );
    assert_eq!(
        errors(&text),
        ["3:23 a local directory cannot lock objects"]
    );
    let text = BASE.replace("./repo", "file:///srv/x, immutable_days: 0");
    assert_eq!(
        errors(&text),
        [
            "3:30 a local directory cannot lock objects",
            "3:46 expected a whole number from 1 to 36500, found `0`",
        ]
    );
}

#[test]
fn copies_go_from_one_repository_to_another() {
    check(&[
        (
            "copies: {c: {from: main, to: main}}\n",
            "6:30 `main` would be copied to itself",
        ),
        (
            "copies: {c: {from: mian, to: main}}\n",
            "6:20 there is no repository named `mian`",
        ),
        (
            "copies: {c: {from: main, to: offsite}}\n",
            "6:30 there is no repository named `offsite`",
        ),
        (
            "copies: {c: {to: main}}\n",
            "6:10 a copy needs the key `from`",
        ),
        (
            "copies: {c: main}\n",
            "6:13 expected a mapping, found a single value",
        ),
        ("copies: [c]\n", "6:9 expected a mapping, found a list"),
    ]);
}

#[test]
fn with_several_repositories_a_source_must_say_which() {
    let text = BASE.replace("  main: {url: ./repo}\n", "  a: {url: x}\n  b: {url: y}\n");
    assert_eq!(
        errors(&text),
        [
            "6:3 there are several repositories (`a` and `b`); this source must name one or more of them"
        ]
    );
}

#[test]
fn the_document_itself_is_checked() {
    for (text, expected) in [
        ("", vec!["1:1 the file is empty"]),
        ("[]", vec!["1:1 expected a mapping, found a list"]),
        (
            "version: 2\nwhatever: 1\n",
            vec!["1:10 version `2` is not supported; this version of reprise supports version 1"],
        ),
        (
            "version: 1\nrepositories: {}\nsources: {}\n",
            vec![
                "2:15 `repositories` is empty; a policy needs at least one",
                "3:10 `sources` is empty; a policy needs at least one",
            ],
        ),
        (
            "{}",
            vec![
                "1:1 a policy needs the key `repositories`",
                "1:1 a policy needs the key `sources`",
                "1:1 a policy needs the key `version`",
            ],
        ),
    ] {
        assert_eq!(errors(text), expected, "{text}");
    }
    check(&[
        (
            "time_zone: Europe/Pari\n",
            "6:12 `Europe/Pari` is not an IANA time zone",
        ),
        (
            "name: a/b\n",
            "6:7 `a/b` is not a name; names have letters, digits, `.`, `_` and `-` (first a letter or digit, at most 64)",
        ),
        (
            "<<: {a: b}\n",
            "6:1 merge keys (`<<`) are not supported; write the keys out",
        ),
    ]);
}

#[test]
fn a_syntax_error_has_its_place() {
    let found = parse("version: 1\nsources:\n  a: [x\n  b: y\n").unwrap_err();
    let error = found.iter().next().unwrap();
    assert!(error.line >= 3 && error.column >= 1, "{error}");
    assert!(
        error.message.starts_with("this is not valid YAML: "),
        "{error}"
    );
}

#[test]
fn a_forgotten_colon_is_explained() {
    let text = "version: 1\nname x\nsources: y\n";
    assert_eq!(
        errors(text),
        ["3:1 this is not valid YAML: expected `:` after the key before this position"]
    );
}

#[test]
fn independent_mistakes_are_all_found_in_one_pass() {
    let text = "\
version: 1
repositories: {main: {url: 'ftp://x'}}
sources:
  a: {volume: {pth: x}, repositories: [main]}
  b: {tfstate: {path: y}, retention: nightly}
retention: {daily: {dayly: 7}}
drills: {d: {source: c}}
";
    let places: Vec<_> = parse(text)
        .unwrap_err()
        .iter()
        .map(|error| (error.line, error.column))
        .collect();
    assert_eq!(
        places,
        [(2, 28), (4, 7), (4, 16), (5, 38), (6, 13), (6, 21), (7, 22)]
    );
}

#[test]
fn a_message_shows_the_line_the_caret_and_the_nearest_name() {
    let found = parse(&format!(
        "{BASE}  j: {{volume: {{path: a, exlude: [x]}}}}\n"
    ))
    .unwrap_err();
    let expected = "\
/policies/test.yaml:6:25: unknown key `exlude` in `volume`
  6 |   j: {volume: {path: a, exlude: [x]}}
    |                         ^^^^^^
help: did you mean `exclude`?";
    assert_eq!(found.to_string(), expected);
    assert_eq!(found.iter().next().unwrap().path, "sources.j.volume.exlude");
}

#[test]
fn suggestions_name_what_was_meant() {
    let suggestion = |added: &str| {
        let found = parse(&format!("{BASE}{added}")).unwrap_err();
        found
            .iter()
            .next()
            .unwrap()
            .suggestion
            .clone()
            .unwrap_or_default()
    };
    for (added, expected) in [
        (
            "  a: {tfstate: {path: x}, retention: standart}\nretention: {standard: {last: 1}}\n",
            "did you mean `standard`?",
        ),
        (
            "  a: {tfstate: {path: x}, retention: x}\n",
            "this policy defines no retention",
        ),
        ("time_zone: Europe/Pari\n", "did you mean `Europe/Paris`?"),
        ("time_zone: europe/paris\n", "did you mean `Europe/Paris`?"),
        (
            "drills: {d: {source: etc, checks: [{path: a, json_pointer: .a.b, equals: 1}]}}\n",
            "did you mean `/a/b`?",
        ),
        (
            "drills: {d: {source: etc, checks: [{path: a, kind: directry}]}}\n",
            "did you mean `directory`?",
        ),
        (
            "copies: {c: {from: mian, to: main}}\n",
            "did you mean `main`?",
        ),
        (
            "copies: {c: {from: main, to: s3}}\n",
            "this policy defines `main`",
        ),
        (
            "  a: {mysql: {url: 'mysql://h/', tls: verify_identity}}\n",
            "did you mean `verify-identity`?",
        ),
        ("  a: {mysql: {url: 'mysql://h/', tls: x}}\n", ""),
        (
            "  a: {mysql: {url: 'mysql://h/', tables: [users]}}\n",
            "write for example `app.users`, or `*.users` for any database",
        ),
        (
            "  a: {mysql: {url: 'mysql://h/', password: x}}\n",
            "write `${env:NAME}` to take it from the environment, or `file:PATH`",
        ),
        (
            "  a: {mysql: {url: 'mysql://u:p@h/'}}\n",
            "leave it out and write `password: ${env:NAME}` or `password: file:PATH` beside the URL",
        ),
        (
            "  a: {mysql: {url: 'mysql://h/?tls-ca=a.pem'}}\n",
            "write `tls_ca: a.pem` beside the URL",
        ),
        (
            "  a: {mysql: {url: 'mysql://h/?server-public-key=k.pem'}}\n",
            "write `server_public_key: k.pem` beside the URL",
        ),
        (
            "  a: {command: {run: [x], env: {API_TOKEN: abc}}}\n",
            "write `${env:API_TOKEN}` to take it from the environment, or `file:PATH`",
        ),
    ] {
        assert_eq!(suggestion(added), expected, "{added}");
    }
}

#[test]
fn a_secret_is_never_shown_even_by_another_error_on_its_line() {
    for text in [
        format!("{BASE}  a: {{command: {{run: [x], env: {{PGPASSWORD: hunter2}}, timeout: x}}}}\n"),
        format!("{BASE}  a: {{command: {{run: [x], env: {{api_token: hunter2}}, timeout: x}}}}\n"),
        format!(
            "{BASE}  a: {{command: {{run: [x], env: {{API_KEY: \"hunter2\\\n      ${{env:x\"}}, timeout: x}}}}\n"
        ),
        BASE.replace("./repo", "'s3://u:hunter2@b/x'"),
        BASE.replace("./repo", "x, recipients: [AGE-SECRET-KEY-1hunter2]"),
        BASE.replace("./repo", "x, identity: AGE-SECRET-KEY-1hunter2"),
        format!("{BASE}  a: {{tfstate: {{path: 'https://u:hunter2@h/x'}}}}\n"),
        format!("{BASE}  a: {{mysql: {{url: 'mysql://h/', password: hunter2, threads: x}}}}\n"),
        format!(
            "{BASE}  a: {{mysql: {{url: 'mysql://h/', password: 'hunter2${{env:', threads: x}}}}\n"
        ),
        format!("{BASE}  a: {{mysql: {{url: 'mysql://h/', password: [hunter2], threads: x}}}}\n"),
        format!("{BASE}  a: {{mysql: {{url: 'mysql://u:hunter2@h/', threads: x}}}}\n"),
        format!("{BASE}  a: {{mysql: {{url: 'mysql://u:hunter2#@h/', threads: x}}}}\n"),
        format!("{BASE}  a: {{mysql: {{url: 'myslq://u:hunter2@h/', threads: x}}}}\n"),
        format!("{BASE}  a: {{mysql: {{url: 'mysql://h/?password=hunter2', threads: x}}}}\n"),
        format!("{BASE}  a: {{mysql: {{url: 'mysql://u:hunter2', threads: x}}}}\n"),
        format!("{BASE}  a: {{command: {{env: {{PGPASSWORD: hunter2 ]\n"),
    ] {
        let shown = parse(&text).unwrap_err().to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_flood_of_errors_is_cut_and_counted() {
    let text = (0..300).fold(BASE.to_owned(), |text, index| {
        text + &format!("x{index}: 1\n")
    });
    let found = parse(&text).unwrap_err();
    assert_eq!(found.len(), 101);
    assert!(found.to_string().ends_with("200 more errors are not shown"));
}
