//! Showing a configuration without its secrets.

use serde::Serialize;
use serde_json::Value;

/// What is shown in place of a secret.
pub const REDACTED: &str = "***";

/// A key with one of these in its name holds a secret.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private_key",
    "access_key",
    "account_key",
    "sas_key",
];

/// Renders `config` as YAML with every secret replaced by [`REDACTED`].
///
/// A secret is a non-empty text under a key that is named like one, however deep, and the password
/// inside a URL.
///
/// # Errors
/// When `config` cannot be written as YAML, such as a map with keys that are no strings.
pub fn render_redacted<T: Serialize>(config: &T) -> Result<String, String> {
    let mut value = serde_json::to_value(config).map_err(|error| error.to_string())?;
    redact(&mut value, false);
    serde_saphyr::to_string(&value).map_err(|error| error.to_string())
}

fn redact(value: &mut Value, secret: bool) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                redact(field, secret || names_secret(key));
            }
        }
        Value::Array(items) => {
            for item in items {
                redact(item, secret);
            }
        }
        Value::String(text) if secret && !text.is_empty() => REDACTED.clone_into(text),
        Value::String(text) => {
            if let Some(safe) = without_password(text) {
                *text = safe;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // A path or an identifier is not itself the secret, and helps when something is wrong.
    if key.ends_with("_file") || key.ends_with("_path") || key.ends_with("_id") {
        return false;
    }
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Returns `scheme://user:password@host` with its password replaced, if it has one.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    let (user, _) = user_info.split_once(':')?;
    let behind = rest.strip_prefix(user_info)?;
    Some(format!("{scheme}://{user}:{REDACTED}{behind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_do_not_show() {
        let config = json!({
            "store": {
                "type": "s3",
                "endpoint": "http://minio:pa55@host:9000/x",
                "access_key_id": "AKIA",
                "secret_access_key": "hunter2",
                "session_token": "",
            },
            "queue": {"sasl": {"username": "u", "password": "hunter2"}},
            "targets": [{"bearer_token": "hunter2", "bearer_token_file": "/run/token"}],
            "token_filter_bytes_max": 5,
        });
        let shown = render_redacted(&config).expect("plain values");
        assert!(!shown.contains("hunter2") && !shown.contains("pa55"), "{shown}");
        for kept in ["AKIA", "/run/token", "http://minio:***@host:9000/x", "username: u"] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
    }
}
