//! The *access* corpus: web server logs in the combined format with a request time and id.

use fastrand::Rng;
use record::Labels;

use super::template::{Filler, Request, Template, suffix};
use super::words::Zipf;
use super::{Burst, Marks, Recipe};

const STREAMS: usize = 24;

/// Requests of one client after another.
const VISIT_ROWS_MAX: usize = 8;

/// Paths of the site, some far more often asked for.
const ROUTES: u32 = 3_000;

const SHAPES: [(&str, f64); 7] = [
    (r#"{cip} - - [{ts:clf}] "GET {path} HTTP/1.1" {code} {n} "-" "{ua}" {f} {h16}"#, 30.0),
    (
        r#"{cip} - - [{ts:clf}] "GET {path} HTTP/2.0" {code} {n} "https://www.example.com{path}" "{ua}" {f} {h16}"#,
        30.0,
    ),
    (
        r#"{cip} - - [{ts:clf}] "GET /search?q={w}+{w}&page={i} HTTP/2.0" {code} {n} "https://www.example.com/" "{ua}" {f} {h16}"#,
        10.0,
    ),
    (
        r#"{cip} - {w} [{ts:clf}] "POST {path} HTTP/2.0" {code} {n} "https://www.example.com{path}" "{ua}" {f} {h16}"#,
        10.0,
    ),
    (
        r#"{cip} - - [{ts:clf}] "GET /static/{w}.{h8}.js HTTP/2.0" {code} {n} "-" "{ua}" {f} {h16}"#,
        12.0,
    ),
    (r#"{cip} - - [{ts:clf}] "HEAD /healthz HTTP/1.1" 200 0 "-" "probe/{ver}" {f} {h16}"#, 5.0),
    (
        r#"{cip} - - [{ts:clf}] "GET /{w}/wp-login.php HTTP/1.1" 404 {n} "-" "curl/{ver}" {f} {h16}"#,
        3.0,
    ),
];

#[derive(Debug)]
pub(crate) struct Access {
    filler: Filler,
    shapes: Vec<Template>,
    law: Zipf,
    streams: Vec<Labels>,
    of_stream: Zipf,
}

impl Access {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let streams = (0..STREAMS).map(|_| {
            Labels::from_pairs([
                ("namespace", "edge"),
                ("pod", &format!("web-{}-{}", suffix(9, rng), suffix(5, rng))),
                ("container", "nginx"),
                ("service_name", "nginx"),
                ("stream", "stdout"),
            ])
        });
        let streams = streams.collect();
        let weights: Vec<f64> = SHAPES.iter().map(|(_, weight)| *weight).collect();
        Self {
            filler: Filler::new(rng),
            shapes: SHAPES.iter().map(|(text, _)| Template::compile(text, rng)).collect(),
            law: Zipf::weighted(&weights),
            streams,
            of_stream: Zipf::new(STREAMS),
        }
    }
}

impl Recipe for Access {
    fn streams(&self) -> &[Labels] {
        &self.streams
    }

    fn burst(&mut self, rng: &mut Rng, out: &mut Burst) {
        let stream = self.of_stream.draw(rng);
        for _ in 0..rng.usize(1..=VISIT_ROWS_MAX) {
            self.filler.set_time(out.open(rng));
            let shape = &self.shapes[self.law.draw(rng)];
            let route = rng.u32(..ROUTES).min(rng.u32(..ROUTES));
            let request = Request { route, ..Request::default() };
            self.filler.fill(shape, &request, rng, out.text());
            out.close(stream, Marks::default());
        }
    }
}
