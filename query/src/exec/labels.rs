//! The labels of one row while it goes through a pipeline.
//!
//! A row has three categories of labels: those of its stream, structured metadata, and parsed ones.
//! Where a name stands in several, parsed beats metadata and metadata beats the stream.

use record::Labels;

pub(super) const ERROR: &str = "__error__";
pub(super) const ERROR_DETAILS: &str = "__error_details__";

/// Labels of a row. Reused from row to row, so that a row costs no allocation of its own.
#[derive(Debug, Default)]
pub(super) struct RowLabels<'a> {
    stream: Option<&'a Labels>,
    /// Names of stream labels that were dropped.
    hidden: Vec<&'a str>,
    metadata: Vec<(&'a str, &'a str)>,
    parsed: Vec<(String, String)>,
}

/// A row's labels sorted into their categories, each name in one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Categories {
    pub stream: Labels,
    pub metadata: Labels,
    pub parsed: Labels,
}

impl Categories {
    /// All labels together.
    pub fn merged(&self) -> Labels {
        if self.metadata.is_empty() && self.parsed.is_empty() {
            return self.stream.clone();
        }
        let all = self.stream.iter().chain(self.metadata.iter()).chain(self.parsed.iter());
        Labels::from_pairs(all)
    }
}

impl<'a> RowLabels<'a> {
    /// Starts over with another row.
    pub(super) fn reset(
        &mut self,
        stream: &'a Labels,
        metadata: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        self.stream = Some(stream);
        self.hidden.clear();
        self.parsed.clear();
        self.metadata.clear();
        for (name, value) in metadata {
            // Of a name that stands twice the first value counts, as in the scan's own matchers.
            if !value.is_empty() && !self.metadata.iter().any(|(known, _)| *known == name) {
                self.metadata.push((name, value));
            }
        }
    }

    /// The value of a label, or `None` where it is absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let parsed = self.parsed.iter().find(|(known, _)| known == name);
        if let Some((_, value)) = parsed {
            return Some(value);
        }
        let metadata = self.metadata.iter().find(|(known, _)| *known == name);
        if let Some((_, value)) = metadata {
            return Some(value);
        }
        if self.hidden.contains(&name) {
            return None;
        }
        self.stream.and_then(|stream| stream.get(name))
    }

    pub(super) fn has_error(&self) -> bool {
        self.parsed.iter().any(|(name, _)| name == ERROR)
    }

    /// Marks the row as failed, unless it already is.
    pub(super) fn set_error(&mut self, error: &str, details: String) {
        if self.has_error() {
            return;
        }
        self.set_parsed(ERROR, error.to_owned());
        self.set_parsed(ERROR_DETAILS, details);
    }

    /// Sets a parsed label, which beats whatever had the name before.
    pub(super) fn set_parsed(&mut self, name: &str, value: String) {
        match self.parsed.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.parsed.push((name.to_owned(), value)),
        }
    }

    /// Removes a label from every category.
    pub(super) fn remove(&mut self, name: &str) {
        self.parsed.retain(|(known, _)| known != name);
        self.metadata.retain(|(known, _)| *known != name);
        let of_stream =
            self.stream.and_then(|stream| stream.iter().find(|(known, _)| *known == name));
        if let Some((known, _)) = of_stream
            && !self.hidden.contains(&known)
        {
            self.hidden.push(known);
        }
    }

    /// Names of all labels, some perhaps more than once.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let parsed = self.parsed.iter().map(|(name, _)| name.as_str());
        let metadata = self.metadata.iter().map(|(name, _)| *name);
        let stream = self.stream.into_iter().flat_map(Labels::iter).map(|(name, _)| name);
        let stream = stream.filter(|name| !self.hidden.contains(name));
        parsed.chain(metadata).chain(stream)
    }

    /// Whether the row has exactly its stream's labels.
    pub(super) fn is_plain(&self) -> bool {
        self.hidden.is_empty() && self.metadata.is_empty() && self.parsed.is_empty()
    }

    /// All labels as pairs sorted by name, into `pairs`.
    pub(super) fn merged_into<'b>(&'b self, pairs: &mut Vec<(&'b str, &'b str)>) {
        pairs.clear();
        pairs.extend(self.parsed.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in &self.metadata {
            if !pairs.iter().any(|(known, _)| known == name) {
                pairs.push((name, value));
            }
        }
        let overriding = pairs.len();
        for (name, value) in self.stream.into_iter().flat_map(Labels::iter) {
            let known = pairs.iter().take(overriding).any(|(known, _)| *known == name);
            if !known && !self.hidden.contains(&name) {
                pairs.push((name, value));
            }
        }
        pairs.retain(|(_, value)| !value.is_empty());
        pairs.sort_unstable();
    }

    /// The labels in their categories.
    pub(super) fn categories(&self) -> Categories {
        let Some(stream) = self.stream else {
            return Categories::default();
        };
        if self.is_plain() {
            return Categories { stream: stream.clone(), ..Categories::default() };
        }
        let is_parsed = |name: &str| self.parsed.iter().any(|(known, _)| known == name);
        let is_metadata = |name: &str| self.metadata.iter().any(|(known, _)| *known == name);
        let stream_left =
            |name: &str| !is_parsed(name) && !is_metadata(name) && !self.hidden.contains(&name);
        let unchanged = stream.iter().all(|(name, _)| stream_left(name));
        let metadata = self.metadata.iter().filter(|(name, _)| !is_parsed(name));
        Categories {
            stream: if unchanged {
                stream.clone()
            } else {
                Labels::from_pairs(stream.iter().filter(|(name, _)| stream_left(name)))
            },
            metadata: Labels::from_pairs(metadata.map(|(name, value)| (*name, *value))),
            parsed: Labels::from_pairs(self.parsed.iter().map(|(n, v)| (n, v))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_beats_metadata_beats_stream() {
        let stream = Labels::from_pairs([("app", "a"), ("x", "stream")]);
        let mut row = RowLabels::default();
        row.reset(&stream, [("x", "meta"), ("k", "m"), ("k", "later")].into_iter());
        assert_eq!(row.get("x"), Some("meta"));
        assert_eq!(row.get("k"), Some("m"));
        row.set_parsed("x", "parsed".to_owned());
        row.set_parsed("app", "new".to_owned());
        let categories = row.categories();
        assert_eq!(categories.stream, Labels::default());
        assert_eq!(categories.metadata.to_string(), r#"{k="m"}"#);
        assert_eq!(categories.parsed.to_string(), r#"{app="new", x="parsed"}"#);
        let mut pairs = Vec::new();
        row.merged_into(&mut pairs);
        assert_eq!(Labels::from_pairs(pairs), categories.merged());
    }

    #[test]
    fn a_removed_label_is_gone_from_every_category() {
        let stream = Labels::from_pairs([("app", "a"), ("x", "stream")]);
        let mut row = RowLabels::default();
        row.reset(&stream, [("x", "meta")].into_iter());
        row.remove("x");
        assert_eq!(row.get("x"), None);
        assert_eq!(row.categories().merged().to_string(), r#"{app="a"}"#);
    }

    #[test]
    fn the_first_error_stays() {
        let stream = Labels::default();
        let mut row = RowLabels::default();
        row.reset(&stream, std::iter::empty());
        row.set_error("A", "first".to_owned());
        row.set_error("B", "second".to_owned());
        assert_eq!((row.get(ERROR), row.get(ERROR_DETAILS)), (Some("A"), Some("first")));
    }
}
