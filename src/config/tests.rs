#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::*;
use serde_json::Value;

/// The example files, each with the sections its role reads.
const EXAMPLES: [(&str, &[&str]); 4] = [
    (
        "standalone.yaml",
        &["data_dir", "http", "log", "queue", "store", "collector", "indexer", "query"],
    ),
    ("collector.yaml", &["data_dir", "http", "log", "queue", "collector"]),
    ("indexer.yaml", &["data_dir", "http", "log", "queue", "store", "indexer"]),
    ("query.yaml", &["data_dir", "http", "log", "store", "query"]),
];

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    fs::read_to_string(path).unwrap()
}

fn parse(text: &str, name: &str) -> FileConfig {
    let lookup = |variable: &str| Some(format!("value-of-{variable}"));
    let text = config::expand_environment(text, name, lookup).unwrap();
    config::parse(&text, name).unwrap_or_else(|error| panic!("{error}"))
}

/// Turns `#key: value`, a key without a default, into `key: value`; prose has a space behind `#`.
fn with_optional_keys(text: &str) -> String {
    let optional = |line: &str| {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        match content.strip_prefix('#') {
            Some(key) if key.starts_with(|first: char| first.is_ascii_lowercase()) => {
                format!("{}{key}", " ".repeat(indent))
            }
            _ => line.to_owned(),
        }
    };
    text.lines().map(|line| optional(line) + "\n").collect()
}

/// Returns a section that the file offers as a comment, `# store:` and what follows.
fn alternative(text: &str, section: &str) -> Option<String> {
    let lines = text.lines().skip_while(|line| *line != format!("# {section}:"));
    let block: String = lines
        .map_while(|line| line.strip_prefix('#'))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    (!block.is_empty()).then_some(block)
}

/// Returns the dotted path of every key of a configuration.
fn keys(file: &FileConfig, sections: &[&str]) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
        let Value::Object(fields) = value else {
            return;
        };
        for (name, field) in fields {
            let path = config::join(path, name);
            walk(field, &path, keys);
            keys.insert(path);
        }
    }
    let mut found = BTreeSet::new();
    walk(&serde_json::to_value(file).unwrap(), "", &mut found);
    found.retain(|key| sections.contains(&key.split('.').next().unwrap_or("")));
    found
}

/// Names the keys that `text` does not have.
fn missing(text: &str, wanted: &BTreeSet<String>) -> Vec<String> {
    let outline = Outline::of(text);
    let there: BTreeSet<&str> = outline.paths().collect();
    wanted.iter().filter(|key| !there.contains(key.as_str())).cloned().collect()
}

#[test]
fn defaults_make_sense() {
    assert_eq!(FileConfig::default().problems(""), []);
}

#[test]
fn every_example_loads_and_makes_sense() {
    for (name, _) in EXAMPLES {
        let text = example(name);
        for text in [text.clone(), with_optional_keys(&text)] {
            assert_eq!(parse(&text, name).problems(""), [], "{name}");
        }
    }
}

#[test]
fn every_key_is_in_the_examples() {
    for (name, sections) in EXAMPLES {
        let text = with_optional_keys(&example(name));
        let file = parse(&text, name);
        let none: [String; 0] = [];
        assert_eq!(missing(&text, &keys(&file, sections)), none, "config/{name} lacks these keys");
        if let Some(other) = alternative(&text, "store") {
            let other = with_optional_keys(&other);
            let file = parse(&other, name);
            assert_eq!(file.problems(""), [], "{name}");
            assert_eq!(missing(&other, &keys(&file, &["store"])), none, "config/{name}, store");
        }
    }
}

#[test]
fn every_key_of_the_examples_is_explained() {
    for (name, _) in EXAMPLES {
        let text = with_optional_keys(&example(name));
        let mut previous = "";
        for line in text.lines() {
            let is_key = !line.trim_start().starts_with('#') && line.contains(':');
            let explained = previous.trim_start().starts_with("# ");
            assert!(!is_key || explained, "config/{name}: nothing explains `{line}`");
            previous = line;
        }
    }
}

#[test]
fn the_standalone_example_is_what_holds_without_a_file() {
    let example = parse(&example("standalone.yaml"), "standalone.yaml");
    let (example, default) = (
        serde_json::to_value(&example).unwrap(),
        serde_json::to_value(FileConfig::default()).unwrap(),
    );
    assert_eq!(example, default);
}

#[test]
fn the_command_line_comes_before_the_file() {
    let overrides = Overrides {
        data_dir: Some(PathBuf::from("elsewhere")),
        listen: Some("127.0.0.1:0".to_owned()),
    };
    let config = Config::without_file(&overrides).unwrap();
    assert_eq!(config.file.data_dir, Path::new("elsewhere"));
    assert_eq!(config.file.http.listen, "127.0.0.1:0");
    assert!(config.effective.contains("elsewhere"));
    let wrong = Overrides { listen: Some("nowhere".to_owned()), ..Overrides::default() };
    let error = Config::without_file(&wrong).unwrap_err();
    assert!(error.is::<Invalid>() && error.to_string().contains("http.listen"), "{error}");
}
