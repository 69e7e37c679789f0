//! Whose data a batch is.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest tenant id in bytes; it is part of object names, which stores cap at 1,024.
const TENANT_BYTES_MAX: usize = 150;

/// A tenant id: 1 to 150 bytes of letters, digits and ``!-_.*'()``.
///
/// The character set is the one Loki and Mimir accept in `X-Scope-OrgID`, so that it is also
/// safe in an object name. `.` and `..` are refused for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

/// Why a tenant id was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Empty or over 150 bytes.
    #[error("tenant id must have 1 to {TENANT_BYTES_MAX} bytes, has {0}")]
    Length(usize),
    /// A character outside the allowed set, or the id `.` or `..`.
    #[error("tenant id `{0}` may hold only letters, digits and !-_.*'() and not be `.` or `..`")]
    Characters(String),
}

impl TenantId {
    /// Checks and keeps `id`.
    ///
    /// # Errors
    /// When the length or a character is outside what the type's documentation allows.
    pub fn new(id: &str) -> Result<Self, TenantError> {
        if id.is_empty() || TENANT_BYTES_MAX < id.len() {
            return Err(TenantError::Length(id.len()));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()".contains(&b);
        if !id.bytes().all(allowed) || id == "." || id == ".." {
            return Err(TenantError::Characters(id.to_owned()));
        }
        Ok(Self(Arc::from(id)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The tenant of requests without a tenant header, named as in Loki's single-tenant mode.
impl Default for TenantId {
    fn default() -> Self {
        Self(Arc::from("fake"))
    }
}

impl TryFrom<String> for TenantId {
    type Error = TenantError;

    fn try_from(id: String) -> Result<Self, TenantError> {
        Self::new(&id)
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_be_unsafe_in_an_object_name() {
        for id in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(151)] {
            assert!(TenantId::new(id).is_err(), "{id:?}");
        }
        for id in ["fake", "team-1", "a.b", "x_(y)'*!"] {
            assert_eq!(TenantId::new(id).map(String::from), Ok(id.to_owned()));
        }
    }
}
