//! The *wide* corpus: JSON objects with 100 fields, as audit and business events have them.

use fastrand::Rng;
use record::Labels;

use super::template::{Filler, Request, Template, suffix};
use super::words::{Zipf, vocabulary};
use super::{Burst, Marks, Recipe};
use crate::digits::push_hex;

const STREAMS: usize = 20;

/// Fields of every event.
pub(crate) const FIELDS: usize = 100;

/// Kinds of events, each with field names of its own.
const KINDS: usize = 8;

#[derive(Debug)]
pub(crate) struct Wide {
    filler: Filler,
    kinds: Vec<Template>,
    of_kind: Zipf,
    streams: Vec<Labels>,
    of_stream: Zipf,
    request: Request,
}

impl Wide {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let words = vocabulary();
        let streams = (0..STREAMS).map(|_| {
            Labels::from_pairs([
                ("namespace", "data"),
                ("pod", &format!("events-{}-{}", suffix(9, rng), suffix(5, rng))),
                ("container", "events"),
                ("service_name", "events"),
                ("stream", "stdout"),
            ])
        });
        let streams = streams.collect();
        Self {
            filler: Filler::new(rng),
            kinds: (0..KINDS).map(|_| Template::compile(&event(&words, rng), rng)).collect(),
            of_kind: Zipf::new(KINDS),
            streams,
            of_stream: Zipf::new(STREAMS),
            request: Request::default(),
        }
    }
}

/// A template: five fields every kind has, the rest by chance. A third of them never change
/// within a kind, a third take a few values, the others are numbers and ids.
fn event(words: &[String], rng: &mut Rng) -> String {
    let mut fields = vec![
        r#""timestamp":"{ts:micros}""#.to_owned(),
        r#""level":"info""#.to_owned(),
        r#""event_id":"{uuid}""#.to_owned(),
        r#""trace_id":"{trace}""#.to_owned(),
        r#""message":"{w} {w} changed by {user}""#.to_owned(),
    ];
    let slots = ["{n}", "{f}", "{i}", "{ms}", "\"{h8}\"", "\"{ip}\"", "\"{user}\"", "\"{path}\""];
    while fields.len() < FIELDS {
        let (first, second) = (&words[rng.usize(..500)], &words[rng.usize(..500)]);
        let value = match rng.u8(..9) {
            0..3 => format!("\"{}\"", words[rng.usize(..3_000)]),
            3..6 => "\"{e}\"".to_owned(),
            6 => ["true", "false", "null"][rng.usize(..3)].to_owned(),
            _ => slots[rng.usize(..slots.len())].to_owned(),
        };
        fields.push(format!("\"{first}_{second}_{}\":{value}", fields.len()));
    }
    format!("{{{}}}", fields.join(","))
}

impl Recipe for Wide {
    fn streams(&self) -> &[Labels] {
        &self.streams
    }

    fn burst(&mut self, rng: &mut Rng, out: &mut Burst) {
        self.request.trace.clear();
        push_hex(rng.u64(..), 16, &mut self.request.trace);
        push_hex(rng.u64(..), 16, &mut self.request.trace);
        let stream = self.of_stream.draw(rng);
        for _ in 0..rng.usize(1..=3) {
            self.filler.set_time(out.open(rng));
            self.request.entity = [rng.u64(..), rng.u64(..)];
            self.request.route = rng.u32(..1_000);
            self.request.program = stream as u32;
            let kind = &self.kinds[self.of_kind.draw(rng)];
            self.filler.fill(kind, &self.request, rng, out.text());
            out.close(stream, Marks { json: true, traced: true, ..Marks::default() });
        }
    }
}
