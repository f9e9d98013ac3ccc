//! The schema and the decoder agree: every key of the table is in the schema and is read, and no other is accepted.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

use super::example::example;
use super::parse;
use crate::schema::policy_keys::POLICY;
use crate::schema::shape::{KeyShape, TableObject};
use crate::yaml::document::{self, YamlNode};

/// A valid policy in which every key of the table occurs (in several sources, since some exclude each other).
fn full() -> Value {
    let all_rules = json!({"last": 1, "hourly": 1, "daily": 1, "weekly": 1, "monthly": 1, "yearly": 1,
        "within": "1d", "point_in_time": "7d", "keep_at_least": 1});
    json!({
        "version": 1, "name": "full", "time_zone": "Europe/Paris",
        "hosts": {"web1": {"signer": "cd".repeat(32), "roles": ["writer", "keeper", "prover", "watcher"]}},
        "repositories": {"main": {
            "url": "s3://b/p", "recipients": ["age1x"], "signers": ["ab".repeat(32)], "identity": "file:k",
            "create": {"generate_identities": ["a"], "single_recipient": false, "keeper": "k", "escrow": "file:p"},
            "immutable_days": 30, "lock_mode": "governance", "storage_class": "STANDARD_IA", "path_style": true, "allow_http": true,
            "limit_upload": "10MiB/s", "limit_download": 1000, "retry_for": "15m", "failure_domain": "paris",
        }, "offsite": {"url": "azure://a/c/p"}},
        "sources": {
            "a": {"volume": {"path": "p", "exclude": ["x/"], "exclude_files": ["f"], "one_file_system": true},
                "hosts": ["web1"], "repositories": ["main"], "tags": {"k": "v"}, "retention": "r", "shrink_alarm": "50%",
                "schedule": "nightly", "fresh_within": "26h", "reaches_back": "30d"},
            "b": {"tfstate": {"path": "p"}, "repositories": ["main"], "retention": all_rules},
            "c": {"command": {"run": ["x"], "env": {"A": "b"}, "timeout": "1s"}, "repositories": ["main"]},
            "m": {"mysql": {"url": "mysql://h/", "password": "${env:P}", "defaults_file": "my.cnf", "databases": ["a*"],
                "exclude_databases": ["b"], "tables": ["a.*"], "exclude_tables": ["a.c?"], "threads": 32,
                "tls": "verify-ca", "tls_ca": "ca.pem", "server_public_key": "k.pem", "users": false, "hold_nontransactional": true,
                "log_archive": {"flush": "5s", "spool": "spool", "spool_max": "1GiB"}},
                "repositories": ["main"]},
        },
        "copies": {"c": {"from": "main", "to": "offsite", "schedule": "nightly", "hosts": ["web1"]}},
        "schedules": {
            "nightly": {"cron": "0 2 * * *", "time_zone": "Europe/Paris", "jitter": "20m", "start_within": "4h", "timeout": "6h",
                "overlap": "skip", "catch_up": "one", "retries": 3, "window": "22:00-06:00"},
            "often": {"every": "6h"},
        },
        "maintenance": {"main": {"hosts": ["web1"], "forget": "nightly", "prune": "@weekly", "verify": "0 5 * * *",
            "read_data": {"share": "5%", "schedule": "often"}, "locks": {"cron": "@daily"}}},
        "retention": {"r": all_rules},
        "drills": {"d": {
            "source": "a", "repository": "main", "snapshot_first": true, "identity": "file:k", "paths": ["a"],
            "schedule": "nightly", "hosts": ["web1"],
            "budget": {"recovery_time": "1m", "data_loss": "1h"},
            "checks": [
                {"path": "a", "exists": true, "kind": "file", "contains": "x", "matches": "x", "count_at_least": 1,
                    "mode": "0600", "size_at_least": 1, "sha256": "ab".repeat(32), "json_pointer": "/a", "equals": 1},
            ],
        }, "s": {
            "source": "m", "identity": "file:k",
            "server": {"url": "mysql://s/", "password": "${env:P}", "defaults_file": "my.cnf", "replay": "proof"},
            "queries": [{"query": "SELECT 1", "equals": 1}, {"query": "SELECT 2", "at_least": 1},
                {"newest": "SELECT 3", "within": "1h"}],
        }},
    })
}

/// Every key of the table with its JSON pointers in the full policy.
fn places(
    value: &Value,
    shape: &KeyShape,
    pointer: &str,
    found: &mut Vec<(&'static str, &'static str, String)>,
) {
    match shape {
        KeyShape::Object(object) => places_in(value, object, pointer, found),
        KeyShape::NameOr(object) | KeyShape::Schedule(object) if value.is_object() => {
            places_in(value, object, pointer, found);
        }
        KeyShape::Map(inner) => {
            for (name, value) in value.as_object().unwrap() {
                places(value, inner, &format!("{pointer}/{name}"), found);
            }
        }
        KeyShape::List(inner) => {
            for (index, value) in value.as_array().unwrap().iter().enumerate() {
                places(value, inner, &format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn places_in(
    value: &Value,
    object: &'static TableObject,
    pointer: &str,
    found: &mut Vec<(&'static str, &'static str, String)>,
) {
    for key in object.keys {
        if let Some(value) = value.get(key.name) {
            let pointer = format!("{pointer}/{}", key.name);
            found.push((object.title, key.name, pointer.clone()));
            places(value, &key.shape, &pointer, found);
        }
    }
}

#[test]
fn every_key_of_the_table_is_accepted_and_really_read() {
    let full = full();
    parse(&full.to_string()).unwrap_or_else(|errors| panic!("{errors}"));
    let mut found = Vec::new();
    places_in(&full, &POLICY, "", &mut found);
    let wanted: BTreeSet<_> = objects()
        .iter()
        .flat_map(|object| object.keys.iter().map(|key| (object.title, key.name)))
        .collect();
    let covered: BTreeSet<_> = found
        .iter()
        .map(|(object, key, _)| (*object, *key))
        .collect();
    assert_eq!(covered, wanted, "the full policy must have every key");

    for (_, key, pointer) in &found {
        let mut broken = full.clone();
        // No key accepts a list of lists, so a key that is read must fail.
        *broken.pointer_mut(pointer).unwrap() = json!([[{"junk": 1}]]);
        let mut path = pointer.trim_start_matches('/').to_owned();
        for index in 0..3 {
            path = path.replace(&format!("/{index}/"), &format!("[{index}]."));
        }
        let path = path.replace('/', ".");
        let errors = parse(&broken.to_string()).expect_err(pointer);
        assert!(
            errors.iter().any(|error| error.path.starts_with(&path)),
            "{key} at {pointer} is not read: {errors}"
        );
    }
}

#[test]
fn a_key_that_is_not_in_the_table_is_refused_everywhere() {
    let full = full();
    let mut found = Vec::new();
    places_in(&full, &POLICY, "", &mut found);
    for (object, _, pointer) in found {
        let parent = pointer.rsplit_once('/').unwrap().0;
        let mut broken = full.clone();
        broken.pointer_mut(parent).unwrap()["zzzzzz"] = json!(1);
        let errors = parse(&broken.to_string()).expect_err(parent);
        assert!(
            errors
                .iter()
                .any(|error| error.message == format!("unknown key `zzzzzz` in {object}")),
            "{errors}"
        );
        assert!(
            valid(&crate::json_schema(), &broken).is_err(),
            "the schema takes zzzzzz in {parent}"
        );
    }
}

#[test]
fn the_schema_accepts_the_full_policy_and_the_example() {
    valid(&crate::json_schema(), &full()).unwrap();
    let text = std::fs::read_to_string(example()).unwrap();
    let document = document::parse_yaml(&text).unwrap();
    valid(&crate::json_schema(), &to_json(&document.root)).unwrap();
}

#[test]
fn the_schema_and_the_decoder_take_the_same_values_of_a_repository() {
    for (key, value, good) in [
        ("immutable_days", json!(1), true),
        ("immutable_days", json!(36_500), true),
        ("immutable_days", json!(0), false),
        ("immutable_days", json!(36_501), false),
        ("immutable_days", json!(1.5), false),
        ("lock_mode", json!("compliance"), true),
        ("lock_mode", json!("Compliance"), false),
        ("path_style", json!("true"), false),
        ("allow_http", json!(1), false),
        ("limit_upload", json!("10 MiB/s"), true),
        ("limit_upload", json!("010kb"), true),
        ("limit_upload", json!(1), true),
        ("limit_upload", json!(0), false),
        ("limit_upload", json!("0MiB"), false),
        ("limit_upload", json!("10M"), false),
        ("limit_upload", json!("10IB"), false),
        ("limit_upload", json!("10MiB/h"), false),
        ("retry_for", json!("90"), false),
        ("failure_domain", json!(""), false),
    ] {
        let mut policy = full();
        policy["repositories"]["main"][key] = value.clone();
        let read = parse(&policy.to_string()).is_ok();
        let schema = valid(&crate::json_schema(), &policy).is_ok();
        assert_eq!((read, schema), (good, good), "{key}: {value}");
    }
}

#[test]
fn the_schema_and_the_decoder_take_the_same_values_of_a_database() {
    for (key, value, good) in [
        ("url", json!("mysql://backup@db.example:3306/app"), true),
        ("url", json!("mariadb://h/"), false),
        ("password", json!("file:secrets/db"), true),
        ("password", json!("hunter2"), false),
        ("password", json!("x${env:P}"), false),
        ("databases", json!(["*"]), true),
        ("databases", json!([2024]), true),
        ("databases", json!([""]), false),
        ("databases", json!("app"), false),
        (
            "tables",
            json!(["app.users", "*.*", "a.b.c", "a.b\n"]),
            true,
        ),
        ("tables", json!([1.5]), true),
        ("tables", json!(["users"]), false),
        ("tables", json!([".users"]), false),
        ("exclude_tables", json!(["users."]), false),
        ("threads", json!(1), true),
        ("threads", json!(0), false),
        ("threads", json!(33), false),
        ("tls", json!("off"), true),
        ("tls", json!("verify_ca"), false),
        ("users", json!("true"), false),
    ] {
        let mut policy = full();
        policy["sources"]["m"]["mysql"][key] = value.clone();
        let read = parse(&policy.to_string()).is_ok();
        let schema = valid(&crate::json_schema(), &policy).is_ok();
        assert_eq!((read, schema), (good, good), "{key}: {value}");
    }
}

#[test]
fn the_schema_and_the_decoder_take_the_same_values_of_a_schedule() {
    for (key, value, good) in [
        ("cron", json!("@daily"), true),
        ("cron", json!("*/5 * * * *"), true),
        ("cron", json!("@reboot"), false),
        ("cron", json!("0 2 * *"), false),
        ("cron", json!("0 0 2 * * *"), false),
        ("cron", json!(["0", "2"]), false),
        ("jitter", json!("20"), false),
        ("overlap", json!("cancel"), false),
        ("catch_up", json!("all"), false),
        ("retries", json!(20), true),
        ("retries", json!(21), false),
        ("window", json!("22:00 - 6:00"), true),
        ("window", json!("22-6"), false),
    ] {
        let mut policy = full();
        policy["schedules"]["nightly"][key] = value.clone();
        let read = parse(&policy.to_string()).is_ok();
        let schema = valid(&crate::json_schema(), &policy).is_ok();
        assert_eq!((read, schema), (good, good), "{key}: {value}");
    }
    for (value, good) in [
        (json!("often"), true),
        (json!("@weekly"), true),
        (json!("0 2 * * *"), true),
        (json!({"every": "1h"}), true),
        (json!({"every": "1h", "cron": "@daily"}), false),
        (json!({"window": "22:00-06:00"}), false),
        (json!("@sometimes"), false),
    ] {
        let mut policy = full();
        policy["sources"]["a"]["schedule"] = value.clone();
        let read = parse(&policy.to_string()).is_ok();
        let schema = valid(&crate::json_schema(), &policy).is_ok();
        assert_eq!((read, schema), (good, good), "{value}");
    }
    for (value, good) in [
        ("100%", true),
        ("1 %", true),
        ("0%", false),
        ("101%", false),
    ] {
        let mut policy = full();
        policy["maintenance"]["main"]["read_data"]["share"] = json!(value);
        let read = parse(&policy.to_string()).is_ok();
        let schema = valid(&crate::json_schema(), &policy).is_ok();
        assert_eq!((read, schema), (good, good), "{value}");
    }
}

#[test]
fn every_key_in_the_schema_is_described_and_every_example_is_valid() {
    fn visit(schema: &Value) {
        for (name, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            assert!(
                property["description"]
                    .as_str()
                    .is_some_and(|text| text.ends_with('.')),
                "{name}"
            );
            for example in property
                .get("examples")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                valid(property, example).unwrap();
            }
        }
        match schema {
            Value::Object(members) => members.values().for_each(visit),
            Value::Array(items) => items.iter().for_each(visit),
            _ => {}
        }
    }
    visit(&crate::json_schema());
}

#[test]
fn every_example_in_the_table_is_json() {
    let (mut found, mut examples) = (Vec::new(), 0);
    places_in(&full(), &POLICY, "", &mut found);
    for (object, key, _) in found {
        let key = objects()
            .into_iter()
            .find(|other| other.title == object)
            .and_then(|object| object.key(key))
            .unwrap();
        if let Some(text) = key.example {
            serde_json::from_str::<Value>(text).unwrap();
            examples += 1;
        }
    }
    assert!(examples > 10);
}

fn objects() -> Vec<&'static TableObject> {
    fn visit(object: &'static TableObject, found: &mut Vec<&'static TableObject>) {
        found.push(object);
        for key in object.keys {
            if let Some(inner) = inner(&key.shape) {
                visit(inner, found);
            }
        }
    }
    let mut found = Vec::new();
    visit(&POLICY, &mut found);
    found
}

fn inner(mut shape: &KeyShape) -> Option<&'static TableObject> {
    while let KeyShape::List(below) | KeyShape::Map(below) = shape {
        shape = below;
    }
    match shape {
        KeyShape::Object(object) | KeyShape::NameOr(object) | KeyShape::Schedule(object) => {
            Some(object)
        }
        _ => None,
    }
}

fn to_json(node: &YamlNode) -> Value {
    match &node.value {
        document::YamlValue::List(items) => items.iter().map(to_json).collect(),
        document::YamlValue::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| (key.text().unwrap().to_owned(), to_json(value)))
                .collect(),
        ),
        document::YamlValue::Scalar { text, plain: true } => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        document::YamlValue::Scalar { text, .. } => json!(text),
    }
}

/// The subset of JSON Schema that the schema uses.
fn valid(schema: &Value, value: &Value) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{why}: {value} against {schema}"));
    if schema
        .get("const")
        .is_some_and(|expected| expected != value)
    {
        return fail("const");
    }
    if schema
        .get("enum")
        .is_some_and(|words| !words.as_array().unwrap().contains(value))
    {
        return fail("enum");
    }
    if let Some(types) = schema.get("type") {
        let types: Vec<&str> = types
            .as_array()
            .map_or_else(|| vec![types], |list| list.iter().collect())
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        let own = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !(types.contains(&own) || own == "integer" && types.contains(&"number")) {
            return fail("type");
        }
    }
    if !within_bounds(schema, value) {
        return fail("bounds");
    }
    if let (Some(pattern), Some(text)) = (schema.get("pattern"), value.as_str())
        && !Regex::new(pattern.as_str().unwrap())
            .unwrap()
            .is_match(text)
    {
        return fail("pattern");
    }
    let matching = |branches: &Value| {
        branches
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| valid(one, value).is_ok())
            .count()
    };
    if schema
        .get("oneOf")
        .is_some_and(|branches| matching(branches) != 1)
    {
        return fail("oneOf");
    }
    if schema
        .get("anyOf")
        .is_some_and(|branches| matching(branches) == 0)
    {
        return fail("anyOf");
    }
    for item in value.as_array().into_iter().flatten() {
        valid(&schema["items"], item)?;
    }
    valid_members(schema, value)
}

fn within_bounds(schema: &Value, value: &Value) -> bool {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let length = value.as_str().map_or(0, |text| text.chars().count());
    let long_enough =
        !value.is_string() || bound("minLength").is_none_or(|min| length as f64 >= min);
    let in_range = value.as_f64().is_none_or(|number| {
        bound("minimum").is_none_or(|min| number >= min)
            && bound("maximum").is_none_or(|max| number <= max)
    });
    long_enough && in_range
}

fn valid_members(schema: &Value, value: &Value) -> Result<(), String> {
    let Some(members) = value.as_object() else {
        return Ok(());
    };
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if !members.contains_key(name.as_str().unwrap()) {
            return Err(format!("{name} is missing in {value}"));
        }
    }
    for (name, member) in members {
        match (
            schema.pointer(&format!("/properties/{name}")),
            schema.get("additionalProperties"),
        ) {
            (Some(property), _) => valid(property, member)?,
            (None, Some(Value::Bool(false))) => {
                return Err(format!("{name} is not allowed in {value}"));
            }
            (None, Some(other)) => valid(other, member)?,
            (None, None) => {}
        }
    }
    Ok(())
}
