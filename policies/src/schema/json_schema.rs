//! The JSON Schema of a policy file (draft 2020-12), generated from the key table, for editors.

use serde_json::{Map, Value, json};

use super::policy_keys::POLICY;
use super::shape::{KeyShape, TableKey, TableObject};
use crate::values::names::NAME_PATTERN;

/// Five fields, or a nickname.
const CRON_PATTERN: &str =
    r"^\s*(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|\S+(\s+\S+){4})\s*$";

/// The schema that editors use to complete and check a policy file.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = object_schema(&POLICY);
    if let Value::Object(members) = &mut schema {
        members.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        members.insert("title".to_owned(), json!("reprise policy"));
        members.insert(
            "description".to_owned(),
            json!("What to protect, where to, for how long, and how to prove it."),
        );
    }
    schema
}

fn object_schema(object: &TableObject) -> Value {
    let properties: Map<String, Value> = object
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property_schema(key)))
        .collect();
    let required: Vec<&str> = object
        .keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    let mut schema =
        json!({"type": "object", "additionalProperties": false, "properties": properties});
    let Value::Object(members) = &mut schema else {
        return schema;
    };
    if !required.is_empty() {
        members.insert("required".to_owned(), json!(required));
    }
    let each_required = |names: &[&str]| -> Vec<Value> {
        names
            .iter()
            .map(|name| json!({"required": [name]}))
            .collect()
    };
    if !object.exactly_one_of.is_empty() {
        members.insert(
            "oneOf".to_owned(),
            json!(each_required(object.exactly_one_of)),
        );
    }
    if !object.at_least_one_of.is_empty() {
        members.insert(
            "anyOf".to_owned(),
            json!(each_required(object.at_least_one_of)),
        );
    }
    schema
}

fn property_schema(key: &TableKey) -> Value {
    let mut schema = shape_schema(&key.shape);
    if let Value::Object(members) = &mut schema {
        members.insert("description".to_owned(), json!(key.description));
        let example = key
            .example
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(example) = example {
            members.insert("examples".to_owned(), json!([example]));
        }
    }
    schema
}

fn shape_schema(shape_of: &KeyShape) -> Value {
    match shape_of {
        KeyShape::Text | KeyShape::Secret => {
            json!({"type": ["string", "number", "boolean"], "minLength": 1})
        }
        KeyShape::Path | KeyShape::Url => json!({"type": "string", "minLength": 1}),
        KeyShape::Name => json!({"type": ["string", "number"], "pattern": NAME_PATTERN}),
        KeyShape::Reference => {
            json!({"type": "string", "pattern": r"^(file:.+|\$\{env:[A-Za-z_][A-Za-z0-9_]*\})$"})
        }
        KeyShape::MysqlUrl => json!({"type": "string", "pattern": "^mysql://"}),
        KeyShape::TablePattern => {
            json!({"type": ["string", "number"], "pattern": r"^[^.]+\.[\s\S]+$"})
        }
        KeyShape::Flag => json!({"type": "boolean"}),
        KeyShape::Count => shape_schema(&KeyShape::CountTo(u32::MAX)),
        KeyShape::CountTo(max) => json!({"type": "integer", "minimum": 1, "maximum": max}),
        KeyShape::Duration => json!({"type": "string", "pattern": "^[0-9]+ *[smhdw]$"}),
        KeyShape::Size => {
            json!({"type": ["string", "integer"], "pattern": "^[0-9]+ *([KkMmGgTt]?[Ii]?[Bb])?$", "minimum": 0})
        }
        KeyShape::Rate => {
            json!({"type": ["string", "integer"], "pattern": "^0*[1-9][0-9]* *(([KkMmGgTt][Ii]?)?[Bb])?( */s)?$", "minimum": 1})
        }
        KeyShape::Alarm => json!({"type": "string", "pattern": "^([1-9][0-9]? *%|off)$"}),
        KeyShape::Version => json!({"const": 1}),
        KeyShape::Hex64 => json!({"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"}),
        KeyShape::Mode => json!({"type": ["string", "integer"], "pattern": "^[0-7]{3,4}$"}),
        KeyShape::Cron => json!({"type": "string", "pattern": CRON_PATTERN}),
        KeyShape::Window => {
            json!({"type": "string", "pattern": r"^ *[0-9]{1,2}:[0-9]{1,2} *- *[0-9]{1,2}:[0-9]{1,2} *$"})
        }
        KeyShape::Share => json!({"type": "string", "pattern": "^([1-9][0-9]?|100) *%$"}),
        KeyShape::Word(words) => json!({"enum": words}),
        KeyShape::Scalar => json!({"type": ["string", "number", "boolean", "null"]}),
        KeyShape::List(item) => {
            json!({"type": "array", "minItems": 1, "items": shape_schema(item)})
        }
        KeyShape::Map(value) => map_schema(value),
        KeyShape::Object(of) => object_schema(of),
        KeyShape::Schedule(of) => {
            json!({"anyOf": [shape_schema(&KeyShape::Name), shape_schema(&KeyShape::Cron), object_schema(of)]})
        }
        KeyShape::NameOr(of) => {
            json!({"anyOf": [shape_schema(&KeyShape::Name), object_schema(of)]})
        }
    }
}

fn map_schema(value: &KeyShape) -> Value {
    // Environment variables have their own rule for names, which is stricter in one way and wider in another.
    let names = if matches!(value, KeyShape::Secret) {
        "^[A-Za-z_][A-Za-z0-9_]*$"
    } else {
        NAME_PATTERN
    };
    json!({"type": "object", "propertyNames": {"pattern": names}, "additionalProperties": shape_schema(value)})
}
