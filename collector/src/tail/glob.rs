//! Path patterns: `*` and `?` within one name, `**` as a whole name for any depth of folders.

use std::path::{Path, PathBuf};

/// A pattern for absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Any number of folders, none included.
    AnyDepth,
    Name(String),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    #[error("is not an absolute path, start it with `/`")]
    NotAbsolute,
    #[error("uses `**` beside other characters, write it alone between two `/`")]
    MixedAnyDepth,
    #[error("names no file")]
    Empty,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is not absolute, empty, or mixes `**` with other characters in a name.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        let inside = pattern.strip_prefix('/').ok_or(GlobError::NotAbsolute)?;
        let mut parts = Vec::new();
        for name in inside.split('/').filter(|name| !name.is_empty()) {
            parts.push(match name {
                "**" => Part::AnyDepth,
                name if name.contains("**") => return Err(GlobError::MixedAnyDepth),
                name => Part::Name(name.to_owned()),
            });
        }
        match parts.last() {
            None | Some(Part::AnyDepth) => Err(GlobError::Empty),
            Some(Part::Name(_)) => Ok(Self { parts }),
        }
    }

    /// Whether the pattern matches the whole path.
    pub fn matches(&self, path: &Path) -> bool {
        let Some(names) = names(path) else { return false };
        matches(&self.parts, &names)
    }

    /// Returns the folder below which all matches lie.
    pub fn base(&self) -> PathBuf {
        let literal = self.parts.iter().take(self.parts.len() - 1).map_while(|part| match part {
            Part::Name(name) if !name.contains(['*', '?']) => Some(name.as_str()),
            _ => None,
        });
        [std::path::Component::RootDir.as_os_str()]
            .into_iter()
            .chain(literal.map(std::ffi::OsStr::new))
            .collect()
    }

    /// Returns how many folders below [`Glob::base`] can hold matches; `None` for any number.
    pub fn depth(&self) -> Option<usize> {
        if self.parts.contains(&Part::AnyDepth) {
            return None;
        }
        Some(self.parts.len() - self.base().components().count())
    }
}

fn names(path: &Path) -> Option<Vec<&str>> {
    path.strip_prefix("/").ok()?.iter().map(|name| name.to_str()).collect()
}

fn matches(parts: &[Part], names: &[&str]) -> bool {
    let Some((part, later)) = parts.split_first() else {
        return names.is_empty();
    };
    match part {
        Part::AnyDepth => (0..=names.len())
            .any(|skipped| names.get(skipped..).is_some_and(|rest| matches(later, rest))),
        Part::Name(pattern) => names.split_first().is_some_and(|(name, rest)| {
            name_matches(pattern.as_bytes(), name.as_bytes()) && matches(later, rest)
        }),
    }
}

/// Matches one name; on a mismatch only the last `*` takes one byte more, so the cost is at most
/// pattern times name.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || name.get(n) == Some(wanted) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn check(pattern: &str, path: &str, expected: bool) {
        assert_eq!(
            Glob::new(pattern).unwrap().matches(Path::new(path)),
            expected,
            "{pattern} {path}"
        );
    }

    #[test]
    fn matches_names_and_depths() {
        check("/var/log/**/*.log", "/var/log/a.log", true);
        check("/var/log/**/*.log", "/var/log/x/y/a.log", true);
        check("/var/log/**/*.log", "/var/log/a.log.1", false);
        check("/var/log/**/*.log", "/var/a.log", false);
        check("/var/log/*.log", "/var/log/x/a.log", false);
        check("/a/b?c*", "/a/bXc", true);
        check("/a/b?c*", "/a/bc", false);
        check("/a/*b*c", "/a/xbybzc", true);
        check("/a/*b*c", "/a/xbyb", false);
        check("/a/**/b/**/c", "/a/b/c", true);
        check("/a/**/b/**/c", "/a/x/b/y/c", true);
    }

    #[test]
    fn knows_where_to_look() {
        let check = |pattern: &str, base: &str, depth| {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!((glob.base(), glob.depth()), (PathBuf::from(base), depth), "{pattern}");
        };
        check("/var/log/**/*.log", "/var/log", None);
        check("/var/log/*.log", "/var/log", Some(0));
        check("/var/*/x/*.log", "/var", Some(2));
        check("/one.log", "/", Some(0));
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        assert_eq!(Glob::new("log/*.log"), Err(GlobError::NotAbsolute));
        assert_eq!(Glob::new("/log/**.log"), Err(GlobError::MixedAnyDepth));
        assert_eq!(Glob::new("/log/**"), Err(GlobError::Empty));
        assert_eq!(Glob::new("/"), Err(GlobError::Empty));
    }
}
