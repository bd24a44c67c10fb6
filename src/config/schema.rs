//! The JSON schema of the file, made from the declared keys.

use serde_json::{Map, Value as Json, json};

use super::section::{Content, Declared};

/// The schema of a file with these keys.
pub(super) fn of(keys: &[Declared]) -> Json {
    let mut schema = section(keys, "The configuration of regseal.");
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        object.insert("title".to_owned(), json!("regseal.yaml"));
    }
    schema
}

fn section(keys: &[Declared], about: &str) -> Json {
    let properties: Map<_, _> = keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    json!({
        "description": about,
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(key: &Declared) -> Json {
    match &key.content {
        Content::Section(keys) => section(keys, key.about),
        Content::Later => {
            json!({"description": format!("Not yet supported. {}", key.about), "type": "null"})
        }
        Content::Value {
            schema, default, ..
        } => {
            let mut schema = schema.clone();
            if let Some(object) = schema.as_object_mut() {
                nullable(object);
                object.insert("description".to_owned(), json!(key.about));
                if let Some(default) = default {
                    object.insert("default".to_owned(), default.clone());
                }
            }
            schema
        }
    }
}

/// A key without a value is a key that is not there.
fn nullable(schema: &mut Map<String, Json>) {
    match schema.get_mut("type") {
        Some(Json::Array(types)) => types.push(json!("null")),
        Some(name) => *name = json!([name.take(), "null"]),
        None => {}
    }
    if let Some(Json::Array(words)) = schema.get_mut("enum") {
        words.push(Json::Null);
    }
}
