//! The effective configuration, in a form that loads again, with what is secret taken out.

use std::fmt::Write;

use serde_json::{Map, Value as Json};

use super::kind::names_secret;
use super::section::{Content, Declared};
use super::written::Origin;
use crate::secret::HIDDEN;
use crate::yaml::Value;

/// YAML with the origin of each value in a comment.
pub(super) fn yaml(keys: &[Declared]) -> String {
    let mut out = String::new();
    write_section(&mut out, keys, 0);
    out
}

/// JSON, without the keys that have no value.
pub(super) fn json(keys: &[Declared]) -> Json {
    let mut object = Map::new();
    for key in in_force(keys) {
        match &key.content {
            Content::Section(keys) => {
                object.insert(key.name.to_owned(), json(keys));
            }
            Content::Value {
                effective: Some(_), ..
            } => {
                object.insert(key.name.to_owned(), redacted(key));
            }
            Content::Value {
                effective: None, ..
            }
            | Content::Later => {}
        }
    }
    Json::Object(object)
}

/// Without what was not chosen, which would be a choice when it is read again.
fn in_force(keys: &[Declared]) -> impl Iterator<Item = &Declared> {
    keys.iter().filter(|key| key.in_force)
}

fn write_section(out: &mut String, keys: &[Declared], depth: usize) {
    let indent = "  ".repeat(depth);
    for key in in_force(keys) {
        let name = key.name;
        let lines = match &key.content {
            Content::Later => continue,
            Content::Section(keys) if keys.is_empty() => format!("{indent}{name}: {{}}\n"),
            Content::Section(keys) => {
                let mut lines = format!("{indent}{name}:\n");
                write_section(&mut lines, keys, depth + 1);
                lines
            }
            Content::Value { origin, .. } => value(&indent, name, &redacted(key), origin),
        };
        out.push_str(&lines);
    }
}

fn value(indent: &str, name: &str, value: &Json, origin: &Origin) -> String {
    // A path may contain anything, a comment no line break.
    let origin = origin.to_string().replace(char::is_control, "?");
    let mut lines = String::new();
    let written = match value {
        Json::Array(elements) if !elements.is_empty() => {
            lines = format!("{indent}{name}:  # {origin}\n");
            elements
                .iter()
                .try_for_each(|element| writeln!(lines, "{indent}  - {}", scalar(element)))
        }
        Json::Array(_)
        | Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::String(_)
        | Json::Object(_) => {
            writeln!(lines, "{indent}{name}: {}  # {origin}", scalar(value))
        }
    };
    written.map(|()| lines).unwrap_or_default()
}

/// What YAML 1.1 takes for booleans, so that other programs may.
const OLD_BOOLEANS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];

/// JSON is YAML; quotes are left out where the text means itself without them.
fn scalar(value: &Json) -> String {
    let is_plain = |text: &str| {
        text.chars().all(|c| c.is_ascii_graphic())
            && !OLD_BOOLEANS.contains(&text.to_lowercase().as_str())
    };
    match value.as_str() {
        Some(text) if is_plain(text) => match Value::from_yaml(text) {
            Ok(Value::Text(plain)) if plain == text => plain,
            Ok(_) | Err(_) => value.to_string(),
        },
        Some(_) | None => value.to_string(),
    }
}

/// The value of a key without its secrets: passwords in URLs, and all of a text whose name says that it is secret.
fn redacted(key: &Declared) -> Json {
    let Content::Value {
        schema, effective, ..
    } = &key.content
    else {
        return Json::Null;
    };
    let Some(value) = effective else {
        return Json::Null;
    };
    // A word from a fixed list tells nothing.
    if names_secret(key.name) && schema.get("enum").is_none() {
        return Json::from(HIDDEN);
    }
    without_password(value)
}

/// No kind of URL shows a password; should one ever, it ends here.
fn without_password(value: &Json) -> Json {
    match value {
        Json::String(text) => {
            let Some((scheme, rest)) = text.split_once("://") else {
                return value.clone();
            };
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let userinfo = authority.rsplit_once('@').map(|(userinfo, _)| userinfo);
            let Some((user, password)) = userinfo.and_then(|userinfo| userinfo.split_once(':'))
            else {
                return value.clone();
            };
            let tail = rest
                .get(user.len() + 1 + password.len()..)
                .unwrap_or_default();
            Json::String(format!("{scheme}://{user}:{HIDDEN}{tail}"))
        }
        Json::Array(elements) => elements.iter().map(without_password).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_left_out() {
        let text = json!({"type": "string"});
        let word = json!({"type": "string", "enum": ["auto", "off"]});
        for (name, schema, value, shown, why) in [
            (
                "password",
                &text,
                json!("hidden"),
                json!("***"),
                "a password",
            ),
            (
                "secret_access_key",
                &text,
                json!("hidden"),
                json!("***"),
                "named secret",
            ),
            ("token", &text, json!("hidden"), json!("***"), "a token"),
            (
                "password_file",
                &text,
                json!("pw"),
                json!("pw"),
                "the name of a file",
            ),
            (
                "token_relay",
                &word,
                json!("off"),
                json!("off"),
                "one of a few words",
            ),
            (
                "url",
                &text,
                json!("http://a:b@h:1/p"),
                json!("http://a:***@h:1/p"),
                "a password",
            ),
            (
                "url",
                &text,
                json!("redis://h/?a=b@c"),
                json!("redis://h/?a=b@c"),
                "no userinfo",
            ),
            (
                "urls",
                &text,
                json!(["http://a@h", "http://:b@h"]),
                json!(["http://a@h", "http://:***@h"]),
                "in a list",
            ),
            (
                "path",
                &text,
                json!("/srv/a@b"),
                json!("/srv/a@b"),
                "no URL",
            ),
        ] {
            let key = Declared {
                name,
                about: "",
                content: Content::Value {
                    schema: schema.clone(),
                    default: None,
                    effective: Some(value),
                    origin: Origin::Default,
                },
                in_force: true,
            };
            assert_eq!(redacted(&key), shown, "{why}");
        }
    }

    #[test]
    fn text_is_quoted_where_it_would_mean_something_else() {
        for (text, shown) in [
            ("0.0.0.0:8080", "0.0.0.0:8080"),
            ("[::]:8080", "\"[::]:8080\""),
            ("/srv/data", "/srv/data"),
            ("/srv/my data", "\"/srv/my data\""),
            ("true", "\"true\""),
            ("17", "\"17\""),
            ("null", "\"null\""),
            ("off", "\"off\""),
            ("#x", "\"#x\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(&json!(text)), shown);
        }
    }
}
