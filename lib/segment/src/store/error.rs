//! What is wrong with a store, said so that whoever reads it knows where to look.

use std::path::PathBuf;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a store cannot be used. `target` names bucket and endpoint, or the folder.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use folder `{}` as store: {source}; check that it can be created and written", path.display())]
    LocalFolder { path: PathBuf, source: Source },

    #[error("{target} is not configured completely: {source}; see the keys below `store`")]
    Invalid { target: String, source: Source },

    #[error("{target} does not exist; create it or correct `store.bucket` (`store.container`)")]
    Missing { target: String, source: Source },

    #[error(
        "{target} refuses our credentials: {source}; check `store.access_key_id` and \
         `store.secret_access_key` or the role of this machine, and that it may read, write, \
         list and delete"
    )]
    Denied { target: String, source: Source },

    #[error(
        "{target} cannot be reached: {source}; check `store.endpoint`, `store.region` and the \
         network between"
    )]
    Unreachable { target: String, source: Source },
}

/// Error codes by which S3-like servers refuse credentials; the client reports them unsorted.
const DENIALS: [&str; 4] =
    ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403 Forbidden"];

impl StoreError {
    /// Sorts a failed request by what the reader should look at.
    pub(crate) fn of_request(target: String, error: object_store::Error) -> Self {
        use object_store::Error;
        match error {
            Error::NotFound { source, .. } => Self::Missing { target, source },
            Error::PermissionDenied { source, .. } | Error::Unauthenticated { source, .. } => {
                Self::Denied { target, source }
            }
            other => {
                let text = deepest(&other);
                if text.contains("NoSuchBucket") {
                    return Self::Missing { target, source: text.into() };
                }
                if DENIALS.iter().any(|code| text.contains(code)) {
                    return Self::Denied { target, source: text.into() };
                }
                Self::Unreachable { target, source: text.into() }
            }
        }
    }
}

/// The whole chain of an error on one line: the cause is at its end.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
