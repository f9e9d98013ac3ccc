//! Whatever is allowed but unwise causes a warning at its position.

use super::parse;

/// `line:column message` for each warning, without those that ask for retention and drills.
fn warnings(text: &str) -> Vec<String> {
    let set = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    set.warnings()
        .iter()
        .map(|warning| warning.details())
        .map(|details| format!("{}:{} {}", details.line, details.column, details.message))
        .filter(|shown| !shown.contains("retention") && !shown.contains("no drill"))
        .collect()
}

/// The warnings when one source is stored in the first of these repositories and copied as given.
fn with_repositories(repositories: &str, stored: &str, copies: &str) -> Vec<String> {
    warnings(&format!(
        "version: 1\nrepositories:\n{repositories}sources:\n  etc: {{volume: {{path: /etc}}, repositories: [{stored}]}}\ncopies: {{{copies}}}\n"
    ))
}

#[test]
fn unwise_policies_are_warned_about() {
    let text = "\
version: 1
repositories:
  main:
    url: ./repo
    identity: file:repo/key.txt
    create: {generate_identities: [repo/new.txt], single_recipient: true}
  spare: {url: ./spare}
sources:
  a: {tfstate: {path: x}, repositories: [main], retention: {last: 1}}
  b: {tfstate: {path: y}, repositories: [main]}
retention:
  unused: {last: 1}
drills:
  d: {source: b, identity: file:repo/other.txt}
";
    let set = parse(text).unwrap();
    let found: Vec<String> = set
        .warnings()
        .iter()
        .map(|warning| warning.details())
        .map(|details| format!("{}:{} {}", details.line, details.column, details.message))
        .collect();
    assert_eq!(
        found,
        [
            "5:5 this identity file is inside the repository that it decrypts",
            "6:14 this identity file is inside the repository that it decrypts",
            "6:51 only one key will be able to read this repository",
            "7:3 no source is stored in the repository `spare`",
            "9:3 no drill proves that the source `a` can be restored",
            "10:3 the source `b` has no retention, so nothing of it is ever forgotten",
            "12:3 no source uses the retention `unused`",
            "14:3 the drill `d` restores but does not check the data",
            "14:18 this identity file is inside the repository that it decrypts",
        ]
    );
    let first = set.warnings()[0].to_string();
    assert!(
        first.starts_with(
            "/policies/test.yaml:5:5: warning: this identity file is inside the repository"
        ),
        "{first}"
    );
}

#[test]
fn a_hold_that_says_nothing_clear_is_named() {
    let text = "\
version: 1
repositories:
  main: {url: ./repo}
sources:
  a: {tfstate: {path: x}, tags: {hold: a while}}
  b: {tfstate: {path: y}, tags: {hold: until 2027-01-01}}
";
    let set = parse(text).unwrap();
    let found: Vec<String> = set.warnings().iter().map(ToString::to_string).collect();
    let holds = found
        .iter()
        .filter(|text| text.contains("treated as forever"));
    assert_eq!(holds.count(), 1, "{found:?}");
}

#[test]
fn keys_that_do_nothing_where_they_stand_are_named() {
    for (repository, expected) in [
        (
            "url: ./a, lock_mode: governance, storage_class: GLACIER, path_style: true, allow_http: true",
            vec![
                "3:17 `lock_mode` has no effect on a local directory",
                "3:40 `storage_class` has no effect on a local directory",
                "3:64 `path_style` has no effect on a local directory",
                "3:82 `allow_http` has no effect on a local directory",
            ],
        ),
        (
            "url: azure://a/c, path_style: false",
            vec!["3:25 `path_style` has no effect on Azure"],
        ),
        (
            "url: s3://b, lock_mode: compliance, path_style: true",
            vec!["3:20 `lock_mode` has no effect without `immutable_days`"],
        ),
        (
            "url: azure://a/c, lock_mode: compliance, immutable_days: 7, storage_class: Cool",
            vec![],
        ),
        (
            "url: ./a, limit_upload: 1MiB, limit_download: 1MiB, retry_for: 1m, failure_domain: x",
            vec![],
        ),
    ] {
        let found = with_repositories(&format!("  m: {{{repository}}}\n"), "m", "");
        assert_eq!(found, expected, "{repository}");
    }
}

#[test]
fn archives_that_cannot_be_read_at_once_are_warned_about() {
    let said = |class: &str| {
        let repository = format!("  m: {{url: s3://b, storage_class: {class}}}\n");
        with_repositories(&repository, "m", "")
    };
    for class in ["GLACIER", "DEEP_ARCHIVE", "Archive", "glacier"] {
        let expected = format!(
            "3:20 packs in the storage class `{class}` cannot be read immediately, so restore, verify and drills would fail"
        );
        assert_eq!(said(class), [expected]);
    }
    for class in ["STANDARD_IA", "GLACIER_IR", "Cold"] {
        assert!(said(class).is_empty(), "{class}");
    }
}

#[test]
fn a_target_of_a_copy_is_used_but_not_stored_in() {
    let both = "  a: {url: ./a}\n  b: {url: s3://b}\n";
    let copy = "c: {from: a, to: b}";
    assert!(with_repositories(both, "a", copy).is_empty());
    assert_eq!(
        with_repositories(both, "a", ""),
        ["4:3 no source is stored in the repository `b`"]
    );
    assert_eq!(
        with_repositories(both, "a, b", copy),
        ["7:23 sources also store directly in the target of this copy: `etc`"]
    );
}

#[test]
fn copies_that_would_be_lost_together_are_warned_about() {
    let directories = "  a: {url: ./a}\n  b: {url: ./b}\n";
    let chain = "x: {from: a, to: b}, y: {from: b, to: c}";
    let circle = "x: {from: a, to: b}, y: {from: b, to: a}";
    for (repositories, stored, copies, domain) in [
        (directories, "a, b", "", Some("this host")),
        (directories, "a", "x: {from: a, to: b}", Some("this host")),
        (
            "  a: {url: s3://k/a}\n  b: {url: s3://k/b}\n",
            "a, b",
            "",
            Some("the bucket `k`"),
        ),
        (
            "  a: {url: azure://k/a}\n  b: {url: azure://k/b}\n  c: {url: azure://k/c}\n",
            "a",
            chain,
            Some("the storage account `k`"),
        ),
        (
            "  a: {url: ./a, failure_domain: paris}\n  b: {url: s3://b, failure_domain: paris}\n",
            "a, b",
            "",
            Some("`paris`"),
        ),
        // Several repositories in one failure domain are one copy.
        ("  a: {url: ./a}\n", "a", "", None),
        // A cycle of copies terminates, and its first repository is stored in directly as well.
        ("  a: {url: ./a}\n  b: {url: s3://b}\n", "a", circle, None),
        // The last of a chain of copies counts.
        (
            "  a: {url: ./a}\n  b: {url: ./b}\n  c: {url: s3://c}\n",
            "a",
            chain,
            None,
        ),
        ("  a: {url: s3://a}\n  b: {url: s3://b}\n", "a, b", "", None),
        (
            "  a: {url: ./a}\n  b: {url: /mnt/other, failure_domain: the other host}\n",
            "a, b",
            "",
            None,
        ),
    ] {
        let mut found = with_repositories(repositories, stored, copies);
        found.retain(|shown| shown.contains("failure domain"));
        let line = 4 + repositories.lines().count();
        let expected = domain.map(|domain| {
            format!("{line}:3 all copies of `etc` share one failure domain ({domain})")
        });
        assert_eq!(found, Vec::from_iter(expected), "{repositories}{copies}");
    }
}

#[test]
fn certificates_that_nothing_is_compared_with_are_warned_about() {
    for (tls, expected) in [
        (
            "tls: off, ",
            Some("7:37 `tls_ca` has no effect with `tls: off`"),
        ),
        ("tls: required, ", None),
        ("tls: verify-identity, ", None),
        ("", None),
    ] {
        let text = format!(
            "version: 1\nrepositories:\n  main: {{url: x}}\nsources:\n  a:\n    mysql:\n      {{url: 'mysql://h/', {tls}tls_ca: ca.pem}}\n"
        );
        assert_eq!(
            warnings(&text),
            Vec::from_iter(expected.map(str::to_owned)),
            "{tls}"
        );
    }
}

#[test]
fn a_servers_key_that_no_password_is_encrypted_to_is_warned_about() {
    for (tls, is_used) in [
        ("off", true),
        ("preferred", true),
        ("required", false),
        ("verify-ca", false),
    ] {
        let text = format!(
            "version: 1\nrepositories:\n  main: {{url: x}}\nsources:\n  a:\n    mysql:\n      {{url: 'mysql://h/', tls: {tls}, server_public_key: k.pem}}\n"
        );
        let expected = format!("`server_public_key` has no effect with `tls: {tls}`");
        let warned = warnings(&text).iter().any(|said| said.ends_with(&expected));
        assert_ne!(warned, is_used, "{tls}");
    }
}

/// The warnings about the schedule of one source, of which the rest is as it should be.
fn with_schedule(source: &str, more: &str) -> Vec<String> {
    let text = format!(
        "version: 1\nrepositories: {{main: {{url: ./repo}}}}\nsources:\n  etc: {{volume: {{path: /etc}}, {source}}}\n{more}\n"
    );
    let set = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let warnings = set.warnings().iter().map(|warning| warning.details());
    warnings
        .map(|details| format!("{}: {}", details.line, details.message))
        .filter(|shown| !shown.contains("no retention") && !shown.contains("no drill"))
        .collect()
}

#[test]
fn promises_that_a_schedule_or_retention_cannot_keep_are_warned_about() {
    assert_eq!(
        with_schedule("schedule: \"@daily\", fresh_within: 26h", ""),
        [""; 0]
    );
    assert_eq!(
        with_schedule("schedule: \"@daily\", fresh_within: 23h", ""),
        ["4: the schedule cannot keep this promise: 1d pass between two of its slots"]
    );
    // A day of 25 hours is one of them.
    assert_eq!(
        with_schedule(
            "schedule: {cron: \"0 2 * * *\", time_zone: Europe/Paris}, fresh_within: 24h",
            ""
        ),
        ["4: the schedule cannot keep this promise: 25h pass between two of its slots"]
    );
    // Weekends are part of it.
    assert_eq!(
        with_schedule("schedule: \"0 2 * * 1-5\", fresh_within: 26h", ""),
        ["4: the schedule cannot keep this promise: 3d pass between two of its slots"]
    );
    assert_eq!(
        with_schedule(
            "schedule: \"@daily\", reaches_back: 30d, retention: {daily: 7}",
            ""
        ),
        ["4: the retention cannot keep this promise: it reaches back 1w at most"]
    );
    assert_eq!(
        with_schedule(
            "schedule: \"@daily\", reaches_back: 30d, retention: {daily: 7, monthly: 2}",
            ""
        ),
        [""; 0]
    );
}

#[test]
fn schedules_that_cannot_do_what_they_say_are_warned_about() {
    assert_eq!(
        with_schedule(
            "schedule: {cron: \"0 12 * * *\", window: \"22:00-06:00\"}",
            ""
        ),
        ["4: none of its slots is inside its `window`"]
    );
    assert_eq!(
        with_schedule(
            "schedule: {cron: \"0 2 * * *\", window: \"22:00-06:00\"}",
            "schedules: {nightly: {cron: \"@daily\"}}"
        ),
        ["5: nothing uses the schedule `nightly`"]
    );
    let hosts = format!(
        "hosts: {{a: {{signer: \"{}\", roles: [writer]}}, b: {{signer: \"{}\"}}}}\nmaintenance: {{main: {{hosts: [a, b], forget: \"@daily\"}}}}",
        "ab".repeat(32),
        "cd".repeat(32)
    );
    assert_eq!(
        with_schedule("hosts: [a, b]", &hosts),
        [
            "4: the source `etc` is stored by several hosts, each as a series of its own",
            "6: the host `a` is no keeper, and only keepers forget and prune",
        ]
    );
}
