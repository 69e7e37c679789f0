//! Reading a configuration that knows more than we do.
//!
//! For one case: a rollback, where the file was written for a newer release. Unknown keys are taken
//! out one at a time and named; everything else stays an error.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ConfigError, Outline, explain, options, parse, plain_message, unknown_field};

/// Unknown keys taken out of one file before giving up; a file with more is another kind of file.
const UNKNOWN_KEYS_MAX: usize = 256;

/// Reads `text` as [`parse`] does, but leaves unknown keys out. Returns the keys left out.
///
/// # Errors
/// As [`parse`], except for unknown keys.
pub fn parse_ignoring_unknown<T: DeserializeOwned>(
    text: &str,
    file: &str,
) -> Result<(T, Vec<String>), ConfigError> {
    let mut ignored = Vec::new();
    let first_error = match parse::<T>(text, file) {
        Ok(config) => return Ok((config, ignored)),
        Err(error) => error,
    };
    let mut tree: Value = parse(text, file)?;
    for _ in 0..UNKNOWN_KEYS_MAX {
        // Written anew, the text is all block mappings, whose keys an outline can find.
        let Ok(plain) = serde_saphyr::to_string(&tree) else {
            return Err(first_error);
        };
        let error = match serde_saphyr::from_str_with_options::<T>(&plain, options()) {
            Ok(config) => return Ok((config, ignored)),
            Err(error) => error,
        };
        let message = plain_message(&error);
        let Some(unknown) = unknown_field(&message) else {
            return Err(in_terms_of(text, explain(&error, &plain, file)));
        };
        let explained = explain(&error, &plain, file);
        let removed = explained
            .key
            .filter(|key| key.rsplit('.').next() == Some(unknown.name))
            .filter(|key| remove(&mut tree, key));
        match removed {
            Some(key) => ignored.push(key),
            None => return Err(first_error),
        }
    }
    Err(first_error)
}

/// Replaces a position in the rewritten text by the one in the user's.
fn in_terms_of(text: &str, error: ConfigError) -> ConfigError {
    let outline = Outline::of(text);
    let position = error.key.as_deref().and_then(|key| outline.position_of(key));
    ConfigError { position, ..error }
}

/// Takes the key at a dotted path out of `tree`; false when there is none.
fn remove(tree: &mut Value, path: &str) -> bool {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = tree;
    for segment in section.split('.').filter(|segment| !segment.is_empty()) {
        let next = match at {
            Value::Object(fields) => fields.get_mut(segment),
            Value::Array(items) => {
                segment.parse::<usize>().ok().and_then(|index| items.get_mut(index))
            }
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    match at {
        Value::Object(fields) => fields.remove(key).is_some(),
        _ => false,
    }
}
