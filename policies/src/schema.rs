//! The JSON Schema of a policy file (draft 2020-12), printed from the table of keys, for editors.

use serde_json::{Map, Value, json};

use crate::names::NAME_PATTERN;
use crate::table::{Key, Object, POLICY, Shape};

/// The schema that editors use to complete and check a policy file.
#[must_use]
pub fn schema() -> Value {
    let mut schema = object(&POLICY);
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

fn object(object: &Object) -> Value {
    let properties: Map<String, Value> = object
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
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

fn property(key: &Key) -> Value {
    let mut schema = shape(&key.shape);
    if let Value::Object(members) = &mut schema {
        members.insert("description".to_owned(), json!(key.about));
        let example = key
            .example
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(example) = example {
            members.insert("examples".to_owned(), json!([example]));
        }
    }
    schema
}

fn shape(shape_of: &Shape) -> Value {
    match shape_of {
        Shape::Text | Shape::Secret => {
            json!({"type": ["string", "number", "boolean"], "minLength": 1})
        }
        Shape::Path | Shape::Url => json!({"type": "string", "minLength": 1}),
        Shape::Name => json!({"type": ["string", "number"], "pattern": NAME_PATTERN}),
        Shape::Reference => {
            json!({"type": "string", "pattern": r"^(file:.+|\$\{env:[A-Za-z_][A-Za-z0-9_]*\})$"})
        }
        Shape::MysqlUrl => json!({"type": "string", "pattern": "^mysql://"}),
        Shape::TablePattern => {
            json!({"type": ["string", "number"], "pattern": r"^[^.]+\.[\s\S]+$"})
        }
        Shape::Flag => json!({"type": "boolean"}),
        Shape::Count => shape(&Shape::CountTo(u32::MAX)),
        Shape::CountTo(max) => json!({"type": "integer", "minimum": 1, "maximum": max}),
        Shape::Duration => json!({"type": "string", "pattern": "^[0-9]+ *[smhdw]$"}),
        Shape::Size => {
            json!({"type": ["string", "integer"], "pattern": "^[0-9]+ *([KkMmGgTt]?[Ii]?[Bb])?$", "minimum": 0})
        }
        Shape::Rate => {
            json!({"type": ["string", "integer"], "pattern": "^0*[1-9][0-9]* *(([KkMmGgTt][Ii]?)?[Bb])?( */s)?$", "minimum": 1})
        }
        Shape::Alarm => json!({"type": "string", "pattern": "^([1-9][0-9]? *%|off)$"}),
        Shape::Version => json!({"const": 1}),
        Shape::Hex64 => json!({"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"}),
        Shape::Mode => json!({"type": ["string", "integer"], "pattern": "^[0-7]{3,4}$"}),
        Shape::Word(words) => json!({"enum": words}),
        Shape::Scalar => json!({"type": ["string", "number", "boolean", "null"]}),
        Shape::List(item) => json!({"type": "array", "minItems": 1, "items": shape(item)}),
        Shape::Map(value) => map(value),
        Shape::Object(of) => object(of),
        Shape::NameOr(of) => json!({"anyOf": [shape(&Shape::Name), object(of)]}),
    }
}

fn map(value: &Shape) -> Value {
    // Environment variables have their own rule for names, which is stricter in one way and wider in another.
    let names = if matches!(value, Shape::Secret) {
        "^[A-Za-z_][A-Za-z0-9_]*$"
    } else {
        NAME_PATTERN
    };
    json!({"type": "object", "propertyNames": {"pattern": names}, "additionalProperties": shape(value)})
}
