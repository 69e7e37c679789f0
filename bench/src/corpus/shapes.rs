//! The message shapes of `shapes.txt`, dressed the way each kind of program logs.
//!
//! One shape gives lines in three bodies: plain text in the style of its group, JSON, logfmt.

use fastrand::Rng;

use super::template::Template;

const SHAPES: &str = include_str!("shapes.txt");

/// How the body of a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Plain,
    Json,
    Logfmt,
}

/// Programs with one set of messages.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) style: &'static str,
    pub(crate) shapes: Vec<Shape>,
}

/// A message before it is dressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    level: Level,
    text: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Info,
    Warn,
    Error,
}

/// A shape, ready to be filled.
#[derive(Clone, Debug)]
pub(crate) struct Dressed {
    /// For a line of a request with a trace id, and for one without.
    pub(crate) traced: Template,
    pub(crate) untraced: Template,
    /// How often it is logged beside others of its group.
    pub(crate) weight: f64,
}

/// All groups, in the order of the file.
pub(crate) fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for line in SHAPES.lines() {
        if let Some(head) = line.strip_prefix("## ") {
            let (name, style) = head.split_once(' ').unwrap_or((head, "bare"));
            groups.push(Group { name, style, shapes: Vec::new() });
            continue;
        }
        let level = match line.get(..2) {
            Some("I ") => Level::Info,
            Some("W ") => Level::Warn,
            Some("E ") => Level::Error,
            _ => continue,
        };
        if let (Some(group), Some(text)) = (groups.last_mut(), line.get(2..)) {
            group.shapes.push(Shape { level, text });
        }
    }
    groups
}

impl Group {
    /// Whether its messages can be written in this body: JSON ones cannot hold quotes as they
    /// are, and some are JSON objects to begin with.
    pub(crate) fn fits(&self, body: Body) -> bool {
        let object = self.shapes.iter().all(|shape| shape.object().is_some());
        let quoted = self.shapes.iter().any(|shape| shape.text.contains(['"', '\\']));
        match body {
            Body::Plain => !object,
            Body::Json => object || !quoted,
            Body::Logfmt => !object && !quoted,
        }
    }

    /// Its shapes in a body. Which ones are frequent differs from call to call, as between
    /// deployments of one program.
    pub(crate) fn dress(&self, body: Body, loggers: &[String], rng: &mut Rng) -> Vec<Dressed> {
        let mut order: Vec<&Shape> = self.shapes.iter().collect();
        rng.shuffle(&mut order);
        let mut dressed = Vec::with_capacity(order.len());
        for (rank, shape) in order.into_iter().enumerate() {
            let logger = &loggers[rng.usize(..loggers.len())];
            let share = match shape.level {
                Level::Info => 1.0,
                Level::Warn => 0.2,
                Level::Error => 0.08,
            };
            let [traced, untraced] = [true, false].map(|traced| {
                let text = match body {
                    Body::Plain => shape.plain(self.style, traced),
                    Body::Json => shape.json(self.style, traced),
                    Body::Logfmt => shape.logfmt(traced),
                };
                // A message has one logger. Both templates get the same enumerations.
                let text = text.replacen("{logger}", logger, 1);
                Template::compile(&text, &mut Rng::with_seed(rng.get_seed()))
            });
            rng.u64(..);
            dressed.push(Dressed { traced, untraced, weight: share / (rank + 2) as f64 });
        }
        dressed
    }
}

impl Shape {
    /// What follows `{"` where the message is a JSON object to begin with.
    fn object(&self) -> Option<&'static str> {
        self.text.strip_prefix("{\"")
    }

    fn plain(&self, style: &str, traced: bool) -> String {
        let text = self.text;
        let letter = self.level.word().chars().next().unwrap_or('I');
        let level = self.level.word();
        match (style, traced) {
            ("klog", true) => {
                format!(
                    "{letter}{{ts:klog}}       1 controller.go:{{n}}] {text} traceID=\"{{trace}}\""
                )
            }
            ("klog", false) => format!("{letter}{{ts:klog}}       1 controller.go:{{n}}] {text}"),
            ("java", true) => format!(
                "{{ts}} {level:>5} [{{trace}},{{span}}] 1 --- [exec-{{i}}] {{logger}} : {text}"
            ),
            ("java", false) => {
                format!("{{ts}} {level:>5} [,] 1 --- [exec-{{i}}] {{logger}} : {text}")
            }
            ("go", true) => format!("{{ts:slash}} {level} {text} trace_id={{trace}}"),
            ("go", false) => format!("{{ts:slash}} {level} {text}"),
            ("python", true) => {
                format!("{{ts:comma}} {level} [worker-{{i}}] {text} [trace_id={{trace}}]")
            }
            ("python", false) => format!("{{ts:comma}} {level} [worker-{{i}}] {text}"),
            (_, true) => format!("{text} trace={{trace}}"),
            (_, false) => text.to_owned(),
        }
    }

    fn json(&self, style: &str, traced: bool) -> String {
        let level = self.level.word().to_lowercase();
        let trace = if traced { "\"trace_id\":\"{trace}\"," } else { "" };
        if let Some(fields) = self.object() {
            return format!("{{\"level\":\"{level}\",\"ts\":\"{{ts:micros}}\",{trace}\"{fields}");
        }
        if style == "go" {
            let (message, pairs) = message_and_pairs(self.text);
            let mut fields = String::new();
            for (name, value) in pairs {
                let number = ["{n}", "{i}", "{f}", "{code}", "{sz}", "{pct}"].contains(&value);
                let quote = if number { "" } else { "\"" };
                fields.push_str(&format!(",\"{name}\":{quote}{value}{quote}"));
            }
            return format!(
                "{{\"time\":\"{{ts:micros}}\",\"level\":\"{level}\",{trace}\"msg\":\"{message}\"{fields}}}"
            );
        }
        format!(
            "{{\"@timestamp\":\"{{ts}}\",\"level\":\"{}\",\"logger_name\":\"{{logger}}\",\"thread_name\":\"exec-{{i}}\",{trace}\"message\":\"{}\"}}",
            self.level.word(),
            self.text
        )
    }

    fn logfmt(&self, traced: bool) -> String {
        let level = self.level.word().to_lowercase();
        let (message, pairs) = message_and_pairs(self.text);
        let mut line = format!("ts={{ts:micros}} level={level} msg=\"{message}\"");
        for (name, value) in pairs {
            let quote = if value.contains(' ') { "\"" } else { "" };
            line.push_str(&format!(" {name}={quote}{value}{quote}"));
        }
        if traced {
            line.push_str(" trace_id={trace}");
        }
        line
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// `cart loaded key={k} took={ms}ms` as the words and the pairs; without pairs all is message.
fn message_and_pairs(text: &str) -> (String, Vec<(&str, &str)>) {
    let mut words = Vec::new();
    let mut pairs = Vec::new();
    for word in text.split(' ') {
        let pair = word.split_once('=').filter(|(name, _)| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
        });
        match pair {
            Some(pair) => pairs.push(pair),
            None => words.push(word),
        }
    }
    (words.join(" "), pairs)
}

#[cfg(test)]
mod tests {
    use super::super::template::{Filler, Request};
    use super::*;

    #[test]
    fn there_are_at_least_300_distinct_shapes() {
        let groups = groups();
        let mut shapes: Vec<&str> =
            groups.iter().flat_map(|g| g.shapes.iter().map(|s| s.text)).collect();
        shapes.sort_unstable();
        shapes.dedup();
        assert!(300 <= shapes.len(), "{}", shapes.len());
        assert!(groups.iter().all(|group| 10 <= group.shapes.len()));
    }

    #[test]
    fn json_bodies_are_json_and_every_body_has_groups() {
        let mut rng = Rng::with_seed(1);
        let filler = Filler::new(&mut rng);
        let request = Request { trace: "t".to_owned(), ..Request::default() };
        let fitting = |body| groups().into_iter().filter(move |group| group.fits(body));
        for group in fitting(Body::Json) {
            for shape in group.dress(Body::Json, filler.pool("cls"), &mut rng) {
                for template in [&shape.traced, &shape.untraced] {
                    let mut line = String::new();
                    filler.fill(template, &request, &mut rng, &mut line);
                    let parsed: Result<serde_json::Value, _> = serde_json::from_str(&line);
                    assert!(parsed.is_ok(), "{line}");
                }
            }
        }
        for body in [Body::Plain, Body::Json, Body::Logfmt] {
            assert!(5 <= fitting(body).count(), "{body:?}");
        }
    }
}
