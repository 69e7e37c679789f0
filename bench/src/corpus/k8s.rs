//! The *k8s* corpus: a cluster's container logs.
//!
//! 360 shapes of our own in 22 groups of programs, 20,000 words by Zipf's law, 200 streams.
//! Shares of rows: 20 % JSON, 20 % logfmt, 2 % lines of stack traces (each frame a line of its
//! own in plain logs, one escaped string in JSON and logfmt), 60 % with a trace id in the line.
//! Rows come in requests: a trace id on one to three streams, one to six lines on each.

use fastrand::Rng;
use record::Labels;

use super::shapes::{Body, Dressed, Group, groups};
use super::stacks::{FRAMES_MEAN, Stack, stacks};
use super::template::{Filler, Request, suffix};
use super::words::{Zipf, vocabulary};
use super::{Burst, Marks, Recipe};
use crate::digits::push_hex;

/// Streams of the corpus, by body: 60 % plain, 20 % JSON, 20 % logfmt.
const STREAMS: [(Body, usize); 3] = [(Body::Plain, 120), (Body::Json, 40), (Body::Logfmt, 40)];

const TRACED: f64 = 0.6;
const STACK_ROWS: f64 = 0.02;

/// Requests touch at most this many streams, with at most this many lines on each.
const HOPS_MAX: usize = 3;
const HOP_ROWS_MAX: usize = 6;

/// Routes of a program: combinations of verb, path, called service and its namespace.
const ROUTES: u32 = 40;

#[derive(Debug)]
pub(crate) struct K8s {
    filler: Filler,
    stacks: Vec<Stack>,
    bodies: Vec<BodyStreams>,
    streams: Vec<Labels>,
    request: Request,
}

/// The streams whose lines have one kind of body.
#[derive(Debug)]
struct BodyStreams {
    body: Body,
    /// Number of the first of them.
    first: usize,
    /// What each logs, and how much beside the others.
    programs: Vec<Program>,
    law: Zipf,
}

#[derive(Debug)]
struct Program {
    shapes: Vec<Dressed>,
    law: Zipf,
}

impl K8s {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let filler = Filler::new(rng);
        let stacks = stacks(&vocabulary(), rng);
        let groups = groups();
        let (mut bodies, mut streams) = (Vec::new(), Vec::new());
        for (body, count) in STREAMS {
            let first = streams.len();
            let fitting: Vec<&Group> = groups.iter().filter(|group| group.fits(body)).collect();
            let mut programs = Vec::with_capacity(count);
            for n in 0..count {
                let group = fitting[n % fitting.len()];
                programs.push(Program::new(group, body, &filler, rng));
                streams.push(labels(group, n, &filler, rng));
            }
            // Some streams say far more than others, but none nothing.
            let weights: Vec<f64> = (0..count).map(|n| 1.0 / (n + 4) as f64).collect();
            bodies.push(BodyStreams { body, first, programs, law: Zipf::weighted(&weights) });
        }
        Self { filler, stacks, bodies, streams, request: Request::default() }
    }

    /// Appends a line to stream number `n` of a kind of body, now and then with a stack trace.
    fn row(&mut self, body: usize, n: usize, rng: &mut Rng, out: &mut Burst) {
        let Self { filler, stacks, bodies, request, .. } = self;
        let streams = &bodies[body];
        let (stream, program) = (streams.first + n, &streams.programs[n]);
        filler.set_time(out.open(rng));
        request.program = stream as u32;
        let shape = &program.shapes[program.law.draw(rng)];
        let traced = !request.trace.is_empty();
        let template = if traced { &shape.traced } else { &shape.untraced };
        filler.fill(template, request, rng, out.text());
        let mut marks = Marks { traced, ..Marks::of(streams.body) };
        match streams.body {
            Body::Plain => {
                // An event has the row itself, the error and its frames: STACK_ROWS of all rows
                // are in one.
                let rows = 2.0 + FRAMES_MEAN;
                marks.stack = rng.f64() < STACK_ROWS / (rows - STACK_ROWS * (rows - 1.0));
                out.close(stream, marks);
                if marks.stack {
                    let stack = &stacks[rng.usize(..stacks.len())];
                    let lines = std::iter::once(&stack.error).chain(&stack.frames);
                    for line in lines {
                        out.open(rng);
                        out.text().push_str(line);
                        out.close(stream, Marks { stack: true, ..Marks::default() });
                    }
                }
            }
            Body::Json | Body::Logfmt => {
                marks.stack = rng.f64() < STACK_ROWS;
                if marks.stack {
                    let stack = &stacks[rng.usize(..stacks.len())].escaped;
                    let text = out.text();
                    if streams.body == Body::Json {
                        text.pop();
                        text.extend([",\"stack_trace\":\"", stack, "\"}"]);
                    } else {
                        text.extend([" stack=\"", stack, "\""]);
                    }
                }
                out.close(stream, marks);
            }
        }
    }
}

impl Program {
    fn new(group: &Group, body: Body, filler: &Filler, rng: &mut Rng) -> Self {
        let shapes = group.dress(body, filler.pool("cls"), rng);
        let weights: Vec<f64> = shapes.iter().map(|shape| shape.weight).collect();
        Self { shapes, law: Zipf::weighted(&weights) }
    }
}

impl Recipe for K8s {
    fn streams(&self) -> &[Labels] {
        &self.streams
    }

    /// One request.
    fn burst(&mut self, rng: &mut Rng, out: &mut Burst) {
        self.request.trace.clear();
        // Frames carry no trace id; the other rows make up for them.
        if rng.f64() < TRACED / (1.0 - 0.6 * STACK_ROWS) {
            push_hex(rng.u64(..), 16, &mut self.request.trace);
            push_hex(rng.u64(..), 16, &mut self.request.trace);
        }
        self.request.entity = [rng.u64(..), rng.u64(..)];
        for _ in 0..rng.usize(1..=HOPS_MAX) {
            self.request.route = rng.u32(..ROUTES).min(rng.u32(..ROUTES));
            self.request.span.clear();
            push_hex(rng.u64(..), 16, &mut self.request.span);
            let body = match rng.u8(..5) {
                0 => 1,
                1 => 2,
                _ => 0,
            };
            let stream = self.bodies[body].law.draw(rng);
            for _ in 0..rng.usize(1..=HOP_ROWS_MAX) {
                self.row(body, stream, rng, out);
            }
        }
    }
}

/// The labels a collector would give: those of a pod's container.
fn labels(group: &Group, n: usize, filler: &Filler, rng: &mut Rng) -> Labels {
    let infrastructure = ["klog", "bare"].contains(&group.style);
    let namespaces = filler.pool("ns");
    let namespace =
        if infrastructure { "kube-system" } else { namespaces[rng.usize(..7)].as_str() };
    let pod = format!("{}-{}-{}", group.name, suffix(9, rng), suffix(5, rng));
    let node = &filler.pool("node")[rng.usize(..12)];
    let output = if n % 4 == 3 { "stderr" } else { "stdout" };
    Labels::from_pairs([
        ("namespace", namespace),
        ("pod", &pod),
        ("container", group.name),
        ("service_name", group.name),
        ("node", node),
        ("stream", output),
    ])
}
