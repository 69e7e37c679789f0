//! Where each key of a YAML text stands.
//!
//! serde reports a position without a key, and [`super::Problem`] a key without a position; this
//! finds the one from the other. It reads block mappings and block sequences line by line, which is
//! how configuration files are written; keys inside `{...}` are not listed.

/// Keys of a YAML text in order of appearance.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: String,
    line: u64,
    column: u64,
}

/// An open mapping key or sequence item that deeper lines belong to.
struct Open {
    indent: usize,
    segment: String,
    /// Index of the current item, for a sequence.
    item: Option<usize>,
}

impl Outline {
    pub fn of(text: &str) -> Self {
        let mut outline = Self::default();
        let mut open: Vec<Open> = Vec::new();
        let mut block_scalar: Option<usize> = None;
        for (index, line) in text.lines().enumerate() {
            let content = line.trim_start_matches(' ');
            let indent = line.len() - content.len();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if let Some(parent) = block_scalar {
                if parent < indent {
                    continue;
                }
                block_scalar = None;
            }
            outline.read_line(index as u64 + 1, indent, content, &mut open);
            let value = content.split(" #").next().unwrap_or(content).trim_end();
            if value.ends_with(['|', '>']) || value.ends_with("|-") || value.ends_with(">-") {
                block_scalar = Some(indent);
            }
        }
        outline
    }

    /// Returns line and column of the key with this dotted path; items of a list are written
    /// `list.0` or `list[0]`.
    pub fn position_of(&self, path: &str) -> Option<(u64, u64)> {
        let dotted = path.replace('[', ".").replace(']', "");
        let found = self.entries.iter().find(|entry| entry.path == dotted)?;
        Some((found.line, found.column))
    }

    /// Returns the last key at or before a position.
    pub fn key_at(&self, line: u64, column: u64) -> Option<&str> {
        let found =
            self.entries.iter().rev().find(|entry| (entry.line, entry.column) <= (line, column))?;
        Some(&found.path)
    }

    /// Returns the path of the unknown key `name`, reported near the key `near`.
    ///
    /// The report may point at the key, at its section, or, inside a tagged enum, at a neighbour.
    pub(super) fn find_unknown(&self, name: &str, near: Option<&str>) -> String {
        let Some(near) = near else {
            return name.to_owned();
        };
        if near == name || near.ends_with(&format!(".{name}")) {
            return near.to_owned();
        }
        let mut section = near;
        loop {
            let candidate = super::join(section, name);
            if self.position_of(&candidate).is_some() {
                return candidate;
            }
            match section.rsplit_once('.') {
                Some((parent, _)) => section = parent,
                None => break,
            }
        }
        let mut named =
            self.entries.iter().filter(|entry| entry.path.rsplit('.').next() == Some(name));
        match (named.next(), named.next()) {
            (Some(only), None) => only.path.clone(),
            _ => super::join(near, name),
        }
    }

    /// Returns every path, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.path.as_str())
    }

    fn read_line(&mut self, line: u64, indent: usize, content: &str, open: &mut Vec<Open>) {
        if let Some(rest) = content.strip_prefix("- ") {
            let item = next_item(open, indent);
            open.push(Open { indent, segment: item.to_string(), item: Some(item) });
            let inner = rest.trim_start_matches(' ');
            let inner_indent = indent + content.len() - inner.len();
            self.read_line(line, inner_indent, inner, open);
            return;
        }
        let Some(key) = key_of(content) else {
            return;
        };
        while open.last().is_some_and(|parent| indent <= parent.indent) {
            open.pop();
        }
        open.push(Open { indent, segment: key.to_owned(), item: None });
        let segments: Vec<&str> = open.iter().map(|parent| parent.segment.as_str()).collect();
        self.entries.push(Entry { path: segments.join("."), line, column: indent as u64 + 1 });
    }
}

/// Closes what an item at `indent` does not belong to and returns the item's index.
fn next_item(open: &mut Vec<Open>, indent: usize) -> usize {
    while let Some(last) = open.last() {
        if indent < last.indent {
            open.pop();
            continue;
        }
        match last.item {
            Some(item) if last.indent == indent => {
                open.pop();
                return item + 1;
            }
            _ => return 0,
        }
    }
    0
}

/// Returns the key of `key: value` or `key:`.
fn key_of(content: &str) -> Option<&str> {
    if let Some(quoted) = content.strip_prefix('"') {
        let (key, rest) = quoted.split_once('"')?;
        return rest.trim_start().starts_with(':').then_some(key);
    }
    if content.starts_with(['{', '[', '\'', '|', '>', '&', '*', '!', '%', '@', '?']) {
        return None;
    }
    let end = content.find(": ").or_else(|| content.strip_suffix(':').map(str::len))?;
    content.get(..end).map(str::trim_end)
}
