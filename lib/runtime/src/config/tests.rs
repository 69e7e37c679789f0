#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use serde::Deserialize;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data_dir: String,
    http: Http,
    store: Store,
    rules: Vec<Rule>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    listen: String,
    body_bytes_max: u64,
    keep_alive: bool,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Store {
    #[default]
    Local,
    S3 {
        bucket: String,
        #[serde(default)]
        region: String,
    },
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rule {
    name: String,
    rate: u32,
}

#[track_caller]
fn check(text: &str, expect: &str) {
    let error = parse::<File>(text, "m.yaml").unwrap_err();
    assert_eq!(error.to_string(), expect);
}

#[test]
fn nothing_means_defaults() {
    for text in ["", "# only a comment\n\n", "{}"] {
        assert_eq!(parse::<File>(text, "m.yaml").unwrap(), File::default());
    }
}

#[test]
fn a_misspelt_key_is_named_with_its_place_and_its_likely_meaning() {
    check(
        "data_dir: x\nhttp:\n  lisen: here\n",
        "m.yaml:3:3: key `http.lisen`: unknown key, did you mean `listen`?",
    );
    check("htpp:\n  listen: here\n", "m.yaml:1:1: key `htpp`: unknown key, did you mean `http`?");
    check(
        "rules:\n  - name: a\n  - name: b\n    burst: 3\n",
        "m.yaml:4:5: key `rules.1.burst`: unknown key, remove it or use one of: name, rate",
    );
    check(
        "store:\n  type: s3\n  bucket: b\n  regoin: x\n",
        "m.yaml:4:3: key `store.regoin`: unknown key, did you mean `region`?",
    );
}

#[test]
fn a_wrong_value_is_named_with_its_place() {
    let error = parse::<File>("http:\n  body_bytes_max: many\n", "m.yaml").unwrap_err();
    assert_eq!(error.key.as_deref(), Some("http.body_bytes_max"));
    assert_eq!(error.position.map(|(line, _)| line), Some(2));
    let error = parse::<File>("http:\n  keep_alive: yes\n", "m.yaml").unwrap_err();
    assert_eq!(error.key.as_deref(), Some("http.keep_alive"));
    let error = parse::<File>("store:\n  type: tape\n", "m.yaml").unwrap_err();
    assert!(error.message.contains("tape"), "{error}");
}

#[test]
fn what_is_not_yaml_is_said_with_its_place() {
    for text in ["http: [1, 2", "http:\n\tlisten: x", "a: b: c", "http: \"open"] {
        let error = parse::<File>(text, "m.yaml").unwrap_err();
        assert!(error.position.is_some(), "{text:?}: {error}");
    }
    let error = parse::<File>("data_dir: a\ndata_dir: b\n", "m.yaml").unwrap_err();
    assert_eq!(error.position.map(|(line, _)| line), Some(2), "{error}");
}

#[test]
fn a_rollback_reads_a_newer_file_and_says_what_it_ignored() {
    let text = "data_dir: x\nnew: {a: 1}\nhttp:\n  listen: here\n  http3: true\n\
                rules:\n  - name: a\n    burst: 3\nstore: {type: s3, bucket: b, tier: cold}\n";
    let (file, mut ignored) = parse_ignoring_unknown::<File>(text, "m.yaml").unwrap();
    ignored.sort();
    assert_eq!(ignored, ["http.http3", "new", "rules.0.burst", "store.tier"]);
    assert_eq!(file.http.listen, "here");
    assert_eq!(file.rules.len(), 1);
    let wrong = "new: 1\nhttp:\n  body_bytes_max: many\n";
    let error = parse_ignoring_unknown::<File>(wrong, "m.yaml").unwrap_err();
    assert_eq!(error.key.as_deref(), Some("http.body_bytes_max"));
    assert_eq!(error.position, Some((3, 3)));
}

#[test]
fn problems_find_their_line() {
    let text = "http:\n  # where\n  listen: nowhere\n";
    let outline = Outline::of(text);
    let problem = Problem::new("http", "listen", "`nowhere` is no address");
    assert_eq!(
        problem.locate("m.yaml", &outline).to_string(),
        "m.yaml:3:3: key `http.listen`: `nowhere` is no address"
    );
    let problem = Problem::new("", "data_dir", "missing");
    assert_eq!(problem.locate("m.yaml", &outline).to_string(), "m.yaml: key `data_dir`: missing");
}

#[test]
fn outlines_follow_sequences_quotes_and_block_text() {
    let text =
        "a:\n- x: 1\n  y: 2\n- x: 3\n\"b c\":\n  text: |\n    not: a key\n  z: 1\nd: {e: 1}\n";
    let paths: Vec<String> = Outline::of(text).paths().map(str::to_owned).collect();
    assert_eq!(paths, ["a", "a.0.x", "a.0.y", "a.1.x", "b c", "b c.text", "b c.z", "d"]);
    assert_eq!(Outline::of(text).position_of("a[1].x"), Some((4, 3)));
}

#[test]
fn environment_variables_are_filled_in() {
    let lookup = |name: &str| (name == "KEY").then(|| "s3cret".to_owned());
    let text = "# ${NOT_READ}\na: ${KEY}\nb: ${OTHER:-d}e$f\n";
    assert_eq!(
        expand_environment(text, "m.yaml", lookup).unwrap(),
        "# ${NOT_READ}\na: s3cret\nb: de$f\n"
    );
    let missing = expand_environment("a: 1\nb: ${NONE}\n", "m.yaml", lookup).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "m.yaml:2:4: environment variable `NONE` is not set; set it or write `${NONE:-default}`"
    );
    let open = expand_environment("a: ${KEY", "m.yaml", lookup).unwrap_err();
    assert_eq!(open.to_string(), "m.yaml:1:4: `${` is not closed by `}`");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[ a-z:{}\\[\\]\"'|>#\\-\n&*!]{0,200}") {
        drop(parse::<File>(&text, "m.yaml"));
        drop(parse_ignoring_unknown::<File>(&text, "m.yaml"));
    }
}
