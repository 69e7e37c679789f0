//! What a person at a terminal sees: the real binary, started as they would.

mod catalog;
mod export;
mod support;

use std::fs;
use std::path::Path;

use queue::{Message, Partition, Queue, QueueSection, Topic};
use runtime::clock::SystemClock;
use support::{Server, Site, eventually, files_below, millrace, run, text};

fn check_config(content: &str) -> (bool, String, String) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("m.yaml");
    fs::write(&file, content).expect("temporary folder");
    let file = file.display().to_string();
    let checked = run(&["check-config", &file]);
    let clean = |bytes: &[u8]| text(bytes).replace(&file, "m.yaml");
    (checked.status.success(), clean(&checked.stdout), clean(&checked.stderr))
}

#[test]
fn check_config_is_content_with_defaults_and_examples() {
    let (good, out, _) = check_config("# all defaults\n");
    assert!(good);
    assert_eq!(out, "m.yaml: ok\n");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["standalone", "collector", "indexer", "query"] {
        let file = examples.join(format!("{name}.yaml")).display().to_string();
        let checked = millrace(&["check-config", &file])
            .env("KAFKA_PASSWORD", "x")
            .output()
            .expect("the binary starts");
        assert!(checked.status.success(), "{}", text(&checked.stderr));
    }
}

#[test]
fn check_config_names_file_line_and_key_and_says_what_to_do() {
    for (content, expected) in [
        (
            "http:\n  lisen: 127.0.0.1:1\n",
            "error: m.yaml:2:3: key `http.lisen`: unknown key, did you mean `listen`?\n",
        ),
        (
            "http:\n  listen: nowhere\nlog:\n  level: loud=\n",
            "m.yaml:2:3: key `http.listen`: `nowhere` is no address, write host:port\n",
        ),
        (
            "data_dir: ${MILLRACE_TEST_NOT_SET}\n",
            "error: m.yaml:1:11: environment variable `MILLRACE_TEST_NOT_SET` is not set",
        ),
        ("http: [\n", "error: m.yaml:"),
    ] {
        let (good, out, err) = check_config(content);
        assert!(!good && out.is_empty(), "{content}: {out}");
        assert!(err.contains(expected), "{content}: {err}");
    }
}

#[test]
fn check_config_reports_every_value_that_makes_no_sense() {
    let (good, _, err) = check_config("http:\n  listen: nowhere\n  connections_max: 0\n");
    assert!(!good);
    assert!(err.contains("m.yaml:2:3: key `http.listen`"), "{err}");
    assert!(err.contains("m.yaml:3:3: key `http.connections_max`"), "{err}");
}

#[test]
fn the_effective_configuration_hides_secrets() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("m.yaml");
    let content = "queue:\n  type: kafka\n  security:\n    protocol: sasl_ssl\n    \
                   sasl_username: me\n    sasl_password: ${MILLRACE_TEST_PASSWORD}\n";
    fs::write(&file, content).expect("temporary folder");
    let shown = millrace(&["check-config", "--show", &file.display().to_string()])
        .env("MILLRACE_TEST_PASSWORD", "hunter2")
        .output()
        .expect("the binary starts");
    let shown_text = text(&shown.stdout);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert!(shown_text.contains("sasl_username: me"), "{shown_text}");
    assert!(!shown_text.contains("hunter2"), "{shown_text}");
    assert!(shown_text.contains("connections_max: "), "{shown_text}");
}

#[test]
fn a_rollback_may_ignore_unknown_keys() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("m.yaml");
    fs::write(&file, "new_section:\n  a: 1\nhttp:\n  http3: true\n").expect("temporary folder");
    let file = file.display().to_string();
    assert!(!run(&["check-config", &file]).status.success());
    let checked = run(&["check-config", "--ignore-unknown-config", &file]);
    let out = text(&checked.stdout);
    assert!(checked.status.success());
    assert!(out.contains("key `http.http3`: unknown, ignored"), "{out}");
    assert!(out.contains("key `new_section`: unknown, ignored"), "{out}");
}

#[test]
fn a_role_without_a_file_says_what_it_needs() {
    for role in ["collector", "indexer", "query"] {
        let started = run(&[role]);
        let err = text(&started.stderr);
        assert!(!started.status.success());
        assert!(err.contains("--config FILE"), "{role}: {err}");
    }
}

#[test]
fn asking_where_nobody_listens_says_what_to_start() {
    // Port 1 is never ours.
    for command in [&["query", "{job=\"x\"}"][..], &["tail", "{job=\"x\"}"], &["labels"]] {
        let asked = millrace(command)
            .env("MILLRACE_ADDR", "http://127.0.0.1:1")
            .output()
            .expect("the binary starts");
        let err = text(&asked.stderr);
        assert!(!asked.status.success());
        assert!(err.contains("nothing answers at http://127.0.0.1:1"), "{err}");
        assert!(err.contains("start a server with `millrace`"), "{err}");
    }
}

#[test]
fn standalone_answers_for_logs_and_metrics() {
    let site = Site::new();
    site.log("shop.log", (0..200).map(|number| format!("order {number:03} level=info placed")));
    let server = site.start();
    let banner = server.banner.join("\n");
    assert!(banner.contains("logs"), "says what it reads: {banner}");

    let lines = eventually(
        "every line is searchable",
        || server.query("{filename=~\".+shop.log\"}"),
        |lines| lines.len() == 200,
    );
    assert_eq!(lines[0], "order 000 level=info placed");
    assert_eq!(lines[199], "order 199 level=info placed");
    assert_eq!(server.query("{filename=~\".+shop.log\"} |= \"order 04\"").len(), 10);

    let names = text(&server.ask(&["labels"]).stdout);
    assert!(names.lines().any(|name| name == "filename"), "{names}");
    let values = text(&server.ask(&["labels", "filename"]).stdout);
    assert!(values.contains("shop.log"), "{values}");

    let json = server.ask(&["query", "{filename=~\".+shop.log\"}", "--limit", "1", "-o", "json"]);
    let object: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
    assert_eq!(object["line"], "order 199 level=info placed");

    let count = server.ask(&[
        "query",
        "sum(count_over_time({filename=~\".+shop.log\"}[5m]))",
        "--since",
        "1m",
        "-o",
        "raw",
    ]);
    let newest = text(&count.stdout).lines().last().map(str::to_owned);
    assert_eq!(newest.as_deref(), Some("200"), "{}", text(&count.stderr));

    let wrong = server.ask(&["query", "{filename="]);
    let err = text(&wrong.stderr);
    assert!(!wrong.status.success() && err.contains("parse error"), "{err}");

    for metric in ["node_load1", "millrace_build_info"] {
        eventually(
            "a sample can be asked for",
            || server.get(&format!("/api/v1/query?query={metric}")),
            |(status, body)| *status == 200 && body.contains("\"__name__\""),
        );
    }
    server.stop("INT");
}

#[test]
fn operators_find_their_way() {
    let site = Site::new();
    let server = site.start();
    eventually("it gets ready", || server.get("/ready"), |(status, _)| *status == 200);
    assert_eq!(server.get("/health").0, 200);
    let (_, config) = server.get("/config");
    assert!(config.contains("data_dir:") && config.contains("collector:"), "{config}");
    let (_, metrics) = server.get("/metrics");
    for name in ["millrace_build_info", "process_cpu_seconds_total", "millrace_http_connections"] {
        assert!(metrics.contains(&format!("\n{name}")), "{name}");
    }
    let second = run(&[
        "--listen",
        server.url.trim_start_matches("http://"),
        "--data-dir",
        &site.path("other").display().to_string(),
    ]);
    let err = text(&second.stderr);
    assert!(!second.status.success() && err.contains("--listen"), "{err}");
    assert!(files_below(&site.path("other").join("store")).is_empty(), "nothing is touched");
    server.stop("TERM");
}

#[test]
fn stopping_publishes_everything_and_a_restart_shows_each_row_once() {
    let site = Site::new();
    site.log("a.log", (0..500).map(|number| format!("first {number:03}")));
    let server = site.start();
    let selector = "{filename=~\".+/a.log\"}";
    eventually("lines are there", || server.query(selector).len(), |count| *count == 500);
    // Written just before the stop: whatever was read must be published, whatever was not must
    // be read by the next start.
    site.log("a.log", (0..50).map(|number| format!("last {number:03}")));
    server.stop("INT");
    assert!(!files_below(&site.path("data").join("store")).is_empty());
    let config = site.path("millrace.yaml").display().to_string();
    let segments = |command: &[&str]| {
        let asked = run(&[&["segments", "--config", &config], command].concat());
        assert!(asked.status.success(), "{command:?}: {}", text(&asked.stderr));
        text(&asked.stdout)
    };
    let listed = segments(&["ls", "--kind", "logs", "-o", "json"]);
    let listed: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let rows: u64 = listed.iter().filter_map(|meta| meta["rows"].as_u64()).sum();
    assert!(500 <= rows && listed.iter().all(|meta| meta["ratio"].is_number()), "{listed:?}");
    assert!(segments(&["ls"]).starts_with("ID "));
    let id = listed[0]["id"].as_str().expect("an id");
    let inspected = segments(&["inspect", id]);
    assert!(inspected.contains("granules ") && inspected.contains("patterns"), "{inspected}");
    assert!(segments(&["verify"]).contains("segments are sound"));
    assert_eq!(segments(&["sweep"]), "", "nothing is old enough");

    let server = site.start();
    let lines = eventually(
        "every line is there once",
        || server.query(selector),
        |lines| lines.len() == 550,
    );
    let expected: Vec<String> = (0..500)
        .map(|number| format!("first {number:03}"))
        .chain((0..50).map(|number| format!("last {number:03}")))
        .collect();
    let mut sorted = lines.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    server.stop("TERM");

    // The query role alone, over the store alone: what shows was published. No indexer answers for
    // recent rows, and the answer says so.
    fs::remove_dir_all(site.path("data").join("queue")).expect("the queue was there");
    let config = site.path("millrace.yaml").display().to_string();
    let query = Server::start_role(&["query", "--config", &config]);
    let answer = query.ask(&["query", selector, "--limit", "5000", "-o", "raw"]);
    let mut published: Vec<String> = text(&answer.stdout).lines().map(str::to_owned).collect();
    published.sort();
    assert_eq!(published, expected, "{}", text(&answer.stderr));
    query.stop("TERM");
}

#[test]
fn tail_shows_lines_as_they_arrive() {
    let site = Site::new();
    site.log("t.log", (0..3).map(|number| format!("before {number}")));
    let server = site.start();
    let selector = "{filename=~\".+/t.log\"}";
    eventually("lines are there", || server.query(selector).len(), |count| *count == 3);
    let follower = Server::follow(&server.url, &["tail", selector, "--lines", "2", "-o", "raw"]);
    assert_eq!(follower.next_lines(2), ["before 1", "before 2"]);
    site.log("t.log", (0..5).map(|number| format!("after {number}")));
    let after: Vec<String> = (0..5).map(|number| format!("after {number}")).collect();
    assert_eq!(follower.next_lines(5), after);
    server.stop("TERM");
}

/// An alert that watches a counter for an increase would miss the first one, were the counter not
/// there before it.
#[test]
fn what_alerts_watch_for_an_increase_is_there_before_it() {
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/alerts.yaml");
    let alerts = fs::read_to_string(alerts).expect("the alerts");
    let named = alerts.split("increase(").skip(1).filter_map(|rest| rest.split_once('['));
    let watched: Vec<&str> = named.map(|(name, _)| name).collect();
    assert!(watched.contains(&"millrace_collector_lost_bytes_total"), "{watched:?}");
    let site = Site::new();
    site.log("a.log", ["line".to_owned()]);
    let server = site.start();
    for name in watched {
        eventually(
            name,
            || server.get("/metrics").1,
            |metrics| metrics.contains(&format!("\n{name}{{")),
        );
    }
    server.stop("TERM");
}

#[test]
fn what_was_set_aside_is_listed_and_sent_again() {
    let site = Site::new();
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    tokio.block_on(async {
        let clock = SystemClock::shared();
        let queue = Queue::open(&QueueSection::default(), &site.path("data"), clock).expect("open");
        queue.ensure_topic(&Topic::logs(), 1).await.expect("a topic");
        let strange = Message { payload: "who?".into(), ..Message::default() };
        let producer = queue.producer().expect("a producer");
        producer.append(&Topic::logs(), Partition(0), strange).await.expect("append");
    });
    let server = site.start();
    let counted = "millrace_indexer_dead_letters_total{kind=\"logs\",reason=\"headers\"} 1";
    let metrics = || server.get("/metrics").1;
    eventually("it is set aside", metrics, |metrics| metrics.contains(counted));

    let config = site.path("millrace.yaml").display().to_string();
    let dlq = |arguments: &[&str]| {
        let all: Vec<&str> = arguments.iter().copied().chain(["--config", &config]).collect();
        let done = run(&["dlq"].into_iter().chain(all).collect::<Vec<_>>());
        (done.status.success(), text(&done.stdout), text(&done.stderr))
    };
    let (good, _, err) = dlq(&["ls"]);
    assert!(!good && err.contains("in use by") && err.contains("stop it first"), "{err}");
    server.stop("TERM");

    let line = "0/0  millrace.logs/0@0  4 bytes  headers: header `millrace-version` is missing";
    let (_, out, err) = dlq(&["ls"]);
    assert_eq!((out.as_str(), err.as_str()), (&*format!("{line}\n"), "1 dead letters\n"));
    let replay = ["replay", "--topic", "millrace.logs"];
    let (_, out, err) = dlq(&[&replay[..], &["--dry-run"]].concat());
    assert_eq!(out, format!("{line}\n"));
    assert!(err.contains("1 dead letters would be sent; nothing was"), "{err}");
    let (good, out, err) = dlq(&replay);
    assert!(good, "{err}");
    assert_eq!(out, format!("{line}  [sent]\n"));
    assert_eq!(err, "1 sent, 0 repeated, 0 incomplete; later letters begin at 0/1\n");
    let (_, out, _) = dlq(&[&replay[..], &["--from", "1"]].concat());
    assert_eq!(out, "");

    // Nothing was mended, so it is set aside again, from where it was sent to: behind whatever the
    // process has logged of itself meanwhile.
    let server = site.start();
    let metrics = || server.get("/metrics").1;
    eventually("it is set aside again", metrics, |metrics| metrics.contains(counted));
    server.stop("TERM");
    let (_, out, _) = dlq(&["ls", "--topic", "millrace.logs", "--from", "1"]);
    let again = out.strip_prefix("0/1  millrace.logs/0@").and_then(|rest| rest.split_once(' '));
    let (offset, rest) = again.unwrap_or_else(|| panic!("{out}"));
    assert_ne!(offset, "0");
    assert!(rest.starts_with(" 4 bytes  headers"), "{out}");
}
