//! Fields of a JSON object: found by a dotted path, and made flat.

use serde_json::{Map, Value};

use super::Attributes;

/// Takes the text at `path`; `None`, and nothing taken, when there is none or it is no text.
///
/// A key may hold dots itself (`app.kubernetes.io/name`), so each is tried as part of a key too.
pub(super) fn take_text(object: &mut Map<String, Value>, path: &str) -> Option<String> {
    let text = match object.get(path) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
        _ => None,
    };
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        object.remove(path);
        return Some(text);
    }
    path.match_indices('.').find_map(|(at, _)| {
        let (key, rest) = path.split_at(at);
        let inner = object.get_mut(key)?.as_object_mut()?;
        take_text(inner, rest.strip_prefix('.')?)
    })
}

/// Adds every field, those of objects as `outer_inner`; arrays as JSON, null not at all.
pub(super) fn flatten(object: Map<String, Value>, attributes: &mut Attributes) {
    for (name, value) in object {
        add(&name, value, attributes);
    }
}

/// As deep as the parser went, which is 128.
fn add(name: &str, value: Value, attributes: &mut Attributes) {
    match value {
        Value::Null => {}
        Value::String(text) => attributes.add(name, text),
        Value::Object(object) => {
            for (inner, value) in object {
                add(&format!("{name}_{inner}"), value, attributes);
            }
        }
        value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            attributes.add(name, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn paths_go_through_objects_and_dotted_keys() {
        let text = r#"{"a":{"b.c":{"d":"x"},"n":7,"o":{},"e":""},"flat.key":"y"}"#;
        let mut object: Map<String, Value> = serde_json::from_str(text).unwrap();
        for (path, expected) in [
            ("a.b.c.d", Some("x")),
            ("a.b.c.d", None),
            ("flat.key", Some("y")),
            ("a.n", Some("7")),
            ("a.o", None),
            ("a.e", None),
            ("missing.a", None),
            (".", None),
        ] {
            assert_eq!(take_text(&mut object, path).as_deref(), expected, "{path}");
        }
    }
}
