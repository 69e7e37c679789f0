//! Which log files there are, by name alone (section 1 of the specification).
//!
//! A *log* is a live path (`0.log`, `app.log`) with its rotated siblings (`0.log.<time>`,
//! `app.log.1`). Pod logs lie at `<namespace>_<pod>_<uid>/<container>/<N>.log` below the pod
//! root; plain logs match the configured patterns. Nothing here opens a log file.
//!
//! What always holds: a name that does not fit is skipped and counted, a folder that vanishes
//! while it is read is empty, and neither stops the rest. Depth and number of folders are bounded.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::glob::{Glob, GlobError};
use crate::config::TailSection;

/// Folders below a pattern's base that are looked into, at most this deep: deeper trees are not
/// log folders, and links may form rings.
const DEPTH_MAX: usize = 16;

/// Folders of one scan. Each costs a `readdir` and a watch.
const FOLDERS_MAX: usize = 50_000;

/// Where a log comes from, as far as its path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Pod(PodLog),
    Plain,
    /// This process's own log file.
    Own,
}

/// What the path of a pod's log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLog {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
}

/// One log and the files it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    /// The live path, also when no file has it at the moment. A link is not followed.
    pub path: PathBuf,
    pub origin: Origin,
    /// Rotated siblings, oldest first, then the live file, if it is there.
    pub files: Vec<PathBuf>,
}

/// What one look at folders found.
#[derive(Debug, Default)]
pub struct Found {
    /// Pods first: a plain pattern may match links to their files.
    pub logs: Vec<FoundLog>,
    /// Folders that were looked into, with how much deeper the look went.
    pub folders: HashMap<PathBuf, usize>,
    /// Names below the pod root that do not fit the grammar.
    pub misnamed: u64,
    /// Compressed siblings, which this version does not read.
    pub compressed: u64,
    /// Folders that could not be read.
    pub errors: u64,
}

/// Where to look, checked.
#[derive(Clone, Debug)]
pub struct Roots {
    globs: Vec<Glob>,
    exclude: Vec<Glob>,
    pods: Option<PathBuf>,
    own_log: Option<PathBuf>,
}

/// Called with each folder before it is read, so that nothing appears unseen in between.
pub type OnFolder<'a> = dyn FnMut(&Path) + 'a;

impl Roots {
    /// # Errors
    /// When a pattern is none.
    pub fn new(section: &TailSection) -> Result<Self, GlobError> {
        let globs = |patterns: &[String]| -> Result<Vec<Glob>, GlobError> {
            patterns.iter().map(|pattern| Glob::new(pattern)).collect()
        };
        let given = |path: &Path| (!path.as_os_str().is_empty()).then(|| path.to_owned());
        Ok(Self {
            globs: globs(&section.files)?,
            exclude: globs(&section.exclude)?,
            pods: given(&section.pods),
            own_log: given(&section.own_log),
        })
    }

    /// Looks at everything.
    pub fn scan(&self, on_folder: &mut OnFolder<'_>) -> Found {
        let mut found = Found::default();
        for (folder, depth) in self.starts() {
            self.walk(&folder, depth, &mut found, on_folder);
        }
        found.logs.sort_by_key(|log| log.origin == Origin::Plain);
        found
    }

    /// Looks at one folder and not below it.
    pub fn scan_folder(&self, folder: &Path, on_folder: &mut OnFolder<'_>) -> Found {
        let mut found = Found::default();
        if self.depth_below(folder).is_some() {
            self.walk(folder, 0, &mut found, on_folder);
        }
        found
    }

    /// Looks at a folder that has just appeared and at what is already below it.
    pub fn scan_tree(&self, folder: &Path, on_folder: &mut OnFolder<'_>) -> Found {
        let mut found = Found::default();
        if let Some(depth) = self.depth_below(folder) {
            self.walk(folder, depth, &mut found, on_folder);
        }
        found
    }

    /// Returns the origin of the log with this live path; `None` when it is not for us.
    pub fn origin(&self, path: &Path) -> Option<Origin> {
        if self.own_log.as_deref() == Some(path) {
            return Some(Origin::Own);
        }
        if self.exclude.iter().any(|glob| glob.matches(path)) {
            return None;
        }
        if let Some(pods) = &self.pods
            && let Ok(inside) = path.strip_prefix(pods)
        {
            return pod_log(inside).map(Origin::Pod);
        }
        self.globs.iter().any(|glob| glob.matches(path)).then_some(Origin::Plain)
    }

    /// Returns the live path that a file of this path belongs to, when it is for us.
    pub fn log_of(&self, path: &Path) -> Option<PathBuf> {
        if self.origin(path).is_some() {
            return Some(path.to_owned());
        }
        let (base, _) = rotated(path.file_name()?.to_str()?)?;
        let live = path.with_file_name(base);
        self.origin(&live).is_some().then_some(live)
    }

    /// Folders to start from, with how deep to go.
    fn starts(&self) -> Vec<(PathBuf, usize)> {
        let mut starts = Vec::new();
        if let Some(pods) = &self.pods {
            starts.push((pods.clone(), 2));
        }
        if let Some(folder) = self.own_log.as_deref().and_then(Path::parent) {
            starts.push((folder.to_owned(), 0));
        }
        for glob in &self.globs {
            starts.push((glob.base(), glob.depth().unwrap_or(DEPTH_MAX).min(DEPTH_MAX)));
        }
        starts
    }

    /// How deep to go below a folder; `None` when no root wants it.
    fn depth_below(&self, folder: &Path) -> Option<usize> {
        let depth = |(start, depth): (PathBuf, usize)| {
            let below = folder.strip_prefix(&start).ok()?.components().count();
            depth.checked_sub(below)
        };
        self.starts().into_iter().filter_map(depth).max()
    }

    fn walk(&self, start: &Path, depth: usize, found: &mut Found, on_folder: &mut OnFolder<'_>) {
        let mut open = vec![(start.to_owned(), depth)];
        while let Some((folder, depth)) = open.pop() {
            let before = found.folders.get(&folder).copied();
            let seen_as_deep = before.is_some_and(|before| depth <= before);
            if FOLDERS_MAX <= found.folders.len() || seen_as_deep {
                continue;
            }
            on_folder(&folder);
            let names = match read_folder(&folder) {
                Ok(names) => names,
                Err(error) => {
                    // The pod root is absent on most machines, and folders vanish with their pods.
                    found.errors += u64::from(error.kind() != io::ErrorKind::NotFound);
                    continue;
                }
            };
            if before.is_none() {
                self.group(&folder, &names.files, found);
            }
            found.folders.insert(folder.clone(), depth);
            if 0 < depth {
                let below = names.folders.into_iter().map(|name| folder.join(name));
                let ours = below.filter(|below| !self.is_other_walk(start, below));
                open.extend(ours.map(|below| (below, depth - 1)));
            }
        }
    }

    /// Whether a walk of plain patterns has reached the pod root, which has its own walk.
    fn is_other_walk(&self, start: &Path, folder: &Path) -> bool {
        self.pods.as_ref().is_some_and(|pods| !start.starts_with(pods) && folder == pods)
    }

    /// Groups the files of one folder into logs.
    fn group(&self, folder: &Path, names: &[String], found: &mut Found) {
        /// Where a log comes from, whether its live file is there, suffix and name of the others.
        type Log<'a> = (Option<Origin>, bool, Vec<(&'a str, &'a str)>);
        let mut logs: BTreeMap<&str, Log<'_>> = BTreeMap::new();
        let origin_of = |name: &str| self.origin(&folder.join(name));
        for name in names {
            if let Some(origin) = origin_of(name) {
                let log = logs.entry(name).or_default();
                (log.0, log.1) = (Some(origin), true);
                continue;
            }
            let Some((base, suffix)) = rotated(name) else {
                found.misnamed += u64::from(self.is_container_folder(folder));
                continue;
            };
            let Some(origin) = origin_of(base) else { continue };
            if is_compressed(name) {
                found.compressed += 1;
                continue;
            }
            let log = logs.entry(base).or_default();
            log.0 = Some(origin);
            log.2.push((suffix, name));
        }
        for (base, (origin, live, mut siblings)) in logs {
            let Some(origin) = origin else { continue };
            siblings.sort_by(|left, right| age_order(left.0, right.0));
            let mut files: Vec<PathBuf> =
                siblings.into_iter().map(|(_, name)| folder.join(name)).collect();
            let path = folder.join(base);
            if live {
                files.push(path.clone());
            }
            found.logs.push(FoundLog { path, origin, files });
        }
    }

    fn is_container_folder(&self, folder: &Path) -> bool {
        let inside = self.pods.as_ref().and_then(|pods| folder.strip_prefix(pods).ok());
        inside.is_some_and(|inside| inside.components().count() == 2)
    }
}

/// Reads `<namespace>_<pod>_<uid>/<container>/<N>.log` (C-101).
fn pod_log(inside: &Path) -> Option<PodLog> {
    let mut names = inside.iter().map(|name| name.to_str());
    let (pod, container, file) = (names.next()??, names.next()??, names.next()??);
    if names.next().is_some() || container.is_empty() {
        return None;
    }
    let restart = file.strip_suffix(".log")?;
    if restart.is_empty() || !restart.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // From the right: neither namespaces nor pod names hold an underscore.
    let (rest, uid) = pod.rsplit_once('_')?;
    let (namespace, pod) = rest.rsplit_once('_')?;
    let legal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    if namespace.is_empty() || pod.is_empty() || uid.is_empty() || !uid.bytes().all(legal) {
        return None;
    }
    Some(PodLog {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        uid: uid.to_owned(),
        container: container.to_owned(),
    })
}

/// Splits `app.log.1`, `app.log-20240101` and `0.log.20240101-120000` into live name and suffix.
fn rotated(name: &str) -> Option<(&str, &str)> {
    let name_only = compressed_stem(name).unwrap_or(name);
    let end = name_only.trim_end_matches(|c: char| c.is_ascii_digit() || "-_:T.".contains(c));
    // The suffix starts at the first `.` or `-` that a digit follows.
    let rest = name_only.get(end.len()..)?;
    let at = rest.find(['.', '-'])?;
    let suffix = rest.get(at + 1..)?;
    if !suffix.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let base = name_only.get(..end.len() + at)?;
    (!base.is_empty()).then_some((base, suffix))
}

fn compressed_stem(name: &str) -> Option<&str> {
    [".gz", ".zst", ".xz", ".bz2"].iter().find_map(|suffix| name.strip_suffix(suffix))
}

fn is_compressed(name: &str) -> bool {
    compressed_stem(name).is_some()
}

/// Orders rotated siblings, oldest first: counters count up with age, times grow.
fn age_order(left: &str, right: &str) -> std::cmp::Ordering {
    let counter =
        |suffix: &str| -> Option<u64> { (suffix.len() < 6).then(|| suffix.parse().ok()).flatten() };
    match (counter(left), counter(right)) {
        (Some(left), Some(right)) => right.cmp(&left),
        // A name with both kinds: what has a date was rotated by another rule, and earlier.
        (None, Some(_)) => std::cmp::Ordering::Less,
        (Some(_), None) => std::cmp::Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

struct Names {
    files: Vec<String>,
    folders: Vec<OsString>,
}

/// Reads the names in a folder. Links count as files: what they lead to is seen when opened.
fn read_folder(folder: &Path) -> io::Result<Names> {
    let mut names = Names { files: Vec::new(), folders: Vec::new() };
    for entry in fs::read_dir(folder)? {
        // An entry that vanishes while it is read is as good as never seen.
        let Ok(entry) = entry else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            names.folders.push(entry.file_name());
        } else if (kind.is_file() || kind.is_symlink())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.files.push(name);
        }
    }
    names.files.sort_unstable();
    names.folders.sort_unstable();
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn roots(base: &Path) -> Roots {
        let section = TailSection {
            files: vec![format!("{}/**/*.log", base.display())],
            exclude: vec![format!("{}/secret/*", base.display())],
            pods: base.join("pods"),
            own_log: base.join("own/self.txt"),
            ..TailSection::default()
        };
        Roots::new(&section).unwrap()
    }

    fn touch(base: &Path, names: &[&str]) {
        for name in names {
            let path = base.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    fn summary(base: &Path, found: &Found) -> Vec<(String, Vec<String>)> {
        let text = |path: &Path| path.strip_prefix(base).unwrap().display().to_string();
        let mut logs: Vec<_> = found
            .logs
            .iter()
            .map(|log| (text(&log.path), log.files.iter().map(|file| text(file)).collect()))
            .collect();
        logs.sort();
        logs
    }

    #[test]
    fn c_101_splits_pod_folders_from_the_right() {
        let check = |path: &str, expected: Option<(&str, &str, &str, &str)>| {
            let found = pod_log(Path::new(path));
            let found = found.as_ref().map(|log| {
                (log.namespace.as_str(), log.pod.as_str(), log.uid.as_str(), log.container.as_str())
            });
            assert_eq!(found, expected, "{path}");
        };
        let uid = "0a1b2c3d-0000-1111-2222-333344445555";
        check(&format!("ns_web-1_{uid}/app/0.log"), Some(("ns", "web-1", uid, "app")));
        let hash = "0123456789abcdef0123456789abcdef";
        check(
            &format!("kube-system_etcd_{hash}/etcd/12.log"),
            Some(("kube-system", "etcd", hash, "etcd")),
        );
        check(&format!("ns_web_{uid}/app/x.log"), None);
        check(&format!("ns_web_{uid}/app/0.log.gz"), None);
        check(&format!("web_{uid}/app/0.log"), None);
        check("ns_web_XYZ/app/0.log", None);
        check(&format!("ns_web_{uid}/app/deep/0.log"), None);
    }

    #[test]
    fn c_106_siblings_come_oldest_first_before_the_live_file() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let pod = "pods/ns_p_0-1/c";
        touch(
            base,
            &[
                "a.log",
                "a.log.1",
                "a.log.2",
                "a.log.10",
                "a.log.3.gz",
                "b.log-20240102",
                "b.log-20240101",
                "plain.txt",
                "x/y/z/deep.log",
                "secret/s.log",
                "own/self.txt",
                &format!("{pod}/0.log"),
                &format!("{pod}/0.log.20240102-000001"),
                &format!("{pod}/0.log.20240101-235959"),
                &format!("{pod}/0.log.20240101-000000.gz"),
                &format!("{pod}/0.log.20240103-000000.tmp"),
                &format!("{pod}/1.log"),
                "pods/broken/c/0.log",
            ],
        );
        let found = roots(base).scan(&mut |_| {});
        let log = |path: &str, files: &[&str]| {
            (path.to_owned(), files.iter().map(|file| (*file).to_owned()).collect())
        };
        let expected: Vec<(String, Vec<String>)> = vec![
            log("a.log", &["a.log.10", "a.log.2", "a.log.1", "a.log"]),
            log("b.log", &["b.log-20240101", "b.log-20240102"]),
            log("own/self.txt", &["own/self.txt"]),
            log(
                &format!("{pod}/0.log"),
                &[
                    &format!("{pod}/0.log.20240101-235959"),
                    &format!("{pod}/0.log.20240102-000001"),
                    &format!("{pod}/0.log"),
                ],
            ),
            log(&format!("{pod}/1.log"), &[&format!("{pod}/1.log")]),
            log("x/y/z/deep.log", &["x/y/z/deep.log"]),
        ];
        assert_eq!(summary(base, &found), expected);
        assert_eq!((found.compressed, found.errors), (2, 0));
        assert!(0 < found.misnamed);
        let own = found.logs.iter().find(|log| log.path.ends_with("self.txt")).unwrap();
        assert_eq!(own.origin, Origin::Own);
    }

    #[test]
    fn one_folder_can_be_looked_at_alone() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        touch(base, &["a.log", "x/b.log", "pods/ns_p_0-1/c/0.log"]);
        let roots = roots(base);
        let found = roots.scan_folder(&base.join("pods/ns_p_0-1/c"), &mut |_| {});
        assert_eq!(found.logs.len(), 1);
        let found = roots.scan_folder(&base.join("x"), &mut |_| {});
        assert_eq!(summary(base, &found)[0].0, "x/b.log");
        assert!(roots.scan_folder(Path::new("/elsewhere"), &mut |_| {}).logs.is_empty());
        let live = roots.log_of(&base.join("a.log.1")).unwrap();
        assert_eq!(live, base.join("a.log"));
        assert_eq!(roots.log_of(&base.join("notes.txt")), None);
    }

    #[test]
    fn folders_are_announced_before_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().to_owned();
        fs::create_dir(base.join("x")).unwrap();
        let mut announced = Vec::new();
        let found = roots(&base).scan(&mut |folder| {
            announced.push(folder.to_owned());
            if folder.ends_with("x") {
                touch(&base, &["x/late.log"]);
            }
        });
        assert!(announced.contains(&base.join("x")));
        assert!(found.logs.iter().any(|log| log.path.ends_with("late.log")));
    }
}
