//! Message templates: text with slots, and what fills them.
//!
//! A slot is a name in braces; braces around anything else are text. Filling costs tens of
//! nanoseconds, so that generating a corpus is cheap beside indexing it.

use fastrand::Rng;

use super::words::{WORDS, Zipf, vocabulary};
use crate::digits::{push_hex, push_number, push_padded};
use crate::stamp::{Form, Stamps};

/// Values of one `{e}` at most.
const ENUMERATION_MAX: usize = 12;

/// Enumerations take their values from this many of the most frequent words.
const ENUMERATION_WORDS: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// `{n}`: 0 to 524,287, small ones more often.
    Number,
    /// `{i}`: 0 to 31.
    Small,
    /// `{ms}`: 0 to 1,023, small ones more often.
    Millis,
    /// `{f}`: a decimal of three places.
    Decimal,
    /// `{pct}`: 0 to 99.
    Percent,
    /// `{sz}`: bytes up to 32 MiB.
    Size,
    /// `{off}`: a queue offset, growing with time.
    Offset,
    /// `{port}`: 32,768 to 65,535.
    Port,
    /// `{ip}`: address of one of 4,096 pods.
    PodAddress,
    /// `{cip}`: address of one of 50,000 clients.
    ClientAddress,
    /// `{h8}`, `{h12}`, `{h16}`: random hexadecimal digits.
    Hex(u8),
    /// `{uuid}`
    Uuid,
    /// `{user}`: one of 50,000 numbers, some far more often.
    User,
    /// `{code}`: HTTP status.
    Status,
    /// `{ver}`: `v1.2.3`
    Version,
    /// `{w}`: a word of the whole vocabulary.
    Word,
    /// `{e}`: one of a few words, other ones in each place of each template.
    Enumeration {
        first: u16,
        count: u8,
    },
    /// `{trace}`, `{span}`: ids of the request.
    Trace,
    Span,
    /// `{ts}`, `{ts:micros}`, ...
    Time(Form),
    /// One of a pool: `{pod}`, `{node}`, `{ns}`, `{dep}`, `{path}`, `{verb}`, `{tbl}`, `{topic}`,
    /// `{key}`, `{cls}`, `{ua}`.
    Pool(u8),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<str>),
    Slot(Slot),
}

/// A compiled template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

const POOLS: [&str; 11] =
    ["pod", "node", "ns", "dep", "path", "verb", "tbl", "topic", "key", "cls", "ua"];

impl Template {
    /// Compiles `text`. `rng` chooses the values of enumerations.
    pub(crate) fn compile(text: &str, rng: &mut Rng) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            let named =
                after.split_once('}').and_then(|(name, after)| Some((slot(name, rng)?, after)));
            let Some((slot, after)) = named else {
                plain.push('{');
                rest = after;
                continue;
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(Piece::Slot(slot));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Self { pieces }
    }
}

fn slot(name: &str, rng: &mut Rng) -> Option<Slot> {
    if let Some(pool) = POOLS.iter().position(|pool| *pool == name) {
        return Some(Slot::Pool(pool as u8));
    }
    Some(match name {
        "n" => Slot::Number,
        "i" => Slot::Small,
        "ms" => Slot::Millis,
        "f" => Slot::Decimal,
        "pct" => Slot::Percent,
        "sz" => Slot::Size,
        "off" => Slot::Offset,
        "port" => Slot::Port,
        "ip" => Slot::PodAddress,
        "cip" => Slot::ClientAddress,
        "h8" => Slot::Hex(8),
        "h12" => Slot::Hex(12),
        "h16" => Slot::Hex(16),
        "uuid" => Slot::Uuid,
        "user" => Slot::User,
        "code" => Slot::Status,
        "ver" => Slot::Version,
        "w" => Slot::Word,
        "e" => Slot::Enumeration {
            first: rng.u16(..ENUMERATION_WORDS as u16),
            count: rng.u8(3..=ENUMERATION_MAX as u8),
        },
        "trace" => Slot::Trace,
        "span" => Slot::Span,
        "ts" => Slot::Time(Form::MillisZ),
        "ts:micros" => Slot::Time(Form::MicrosZ),
        "ts:comma" => Slot::Time(Form::Comma),
        "ts:slash" => Slot::Time(Form::Slash),
        "ts:klog" => Slot::Time(Form::Klog),
        "ts:clf" => Slot::Time(Form::Clf),
        _ => return None,
    })
}

/// A pool of values.
#[derive(Debug)]
struct Pool {
    values: Vec<String>,
    known: Known,
}

/// Which values of a pool a program knows.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// The one that belongs to the route.
    OfRoute,
    /// This many, the first ones more often.
    Some(u64),
}

impl Pool {
    fn draw(&self, random: u64, request: &Request) -> &str {
        let program = u64::from(request.program) * 31;
        let at = match self.known {
            Known::OfRoute => u64::from(request.route) * 7,
            Known::Some(count) => ((random >> 8) % count).min((random >> 32) % count),
        };
        &self.values[((program + at) % self.values.len() as u64) as usize]
    }
}

fn known(pool: &str) -> Known {
    match pool {
        "pod" | "ns" | "dep" | "path" | "verb" => Known::OfRoute,
        "key" => Known::Some(200),
        "node" | "ua" => Known::Some(12),
        _ => Known::Some(5),
    }
}

/// What belongs to the request a line is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// 32 hexadecimal digits; empty when it is not traced.
    pub(crate) trace: String,
    /// 16 hexadecimal digits.
    pub(crate) span: String,
    /// Which program logs it: each knows a part of every pool.
    pub(crate) program: u32,
    /// Which of the program's routes it takes, which decides verb, path, service, namespace, pod
    /// and most enumerations.
    pub(crate) route: u32,
    /// The order, payment or pod it is about: most ids of its lines.
    pub(crate) entity: [u64; 2],
}

/// Fills templates.
#[derive(Debug)]
pub(crate) struct Filler {
    words: Vec<String>,
    law: Zipf,
    pools: Vec<Pool>,
    stamps: Stamps,
    time_ns: i64,
}

impl Filler {
    /// Pools are chosen by `rng`.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let words = vocabulary();
        let pool =
            |name: &&str| Pool { values: pool_values(name, &words, rng), known: known(name) };
        let pools = POOLS.iter().map(pool).collect();
        Self { words, law: Zipf::new(WORDS), pools, stamps: Stamps::new(), time_ns: 0 }
    }

    /// Values of a pool.
    pub(crate) fn pool(&self, name: &str) -> &[String] {
        let at = POOLS.iter().position(|pool| *pool == name).unwrap_or_default();
        &self.pools[at].values
    }

    /// Sets the time that templates show.
    pub(crate) fn set_time(&mut self, time_ns: i64) {
        self.time_ns = time_ns;
        self.stamps.set(time_ns);
    }

    /// Appends the filled template to `out`.
    pub(crate) fn fill(
        &self,
        template: &Template,
        request: &Request,
        rng: &mut Rng,
        out: &mut String,
    ) {
        for piece in &template.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Slot(slot) => self.fill_slot(*slot, request, rng, out),
            }
        }
    }

    fn fill_slot(&self, slot: Slot, request: &Request, rng: &mut Rng, out: &mut String) {
        let random = rng.u64(..);
        let up_to = |bits: u64| (random >> 8) & ((1 << bits) - 1);
        match slot {
            Slot::Number => push_number(up_to(4 + (random & 15)), out),
            Slot::Small => push_number(up_to(5), out),
            Slot::Millis => push_number(up_to(3 + (random & 7)), out),
            Slot::Decimal => {
                push_number(up_to(1 + (random & 7)), out);
                out.push('.');
                push_padded((random >> 40) % 1_000, 3, out);
            }
            Slot::Percent => push_number((random >> 8) % 100, out),
            Slot::Size => push_number(up_to(10 + (random & 15)), out),
            Slot::Offset => {
                let hours = self.time_ns.unsigned_abs() >> 22;
                push_number(hours % 1_000_000_000 + up_to(10), out);
            }
            Slot::Port => push_number(32_768 + up_to(15), out),
            Slot::PodAddress => {
                let low = up_to(12) & (random >> 32);
                out.push_str("10.128.");
                push_number(low >> 8, out);
                out.push('.');
                push_number(low & 255, out);
            }
            Slot::ClientAddress => push_address(skewed(random, 50_000), out),
            Slot::Hex(digits) => push_hex(random, usize::from(digits), out),
            Slot::Uuid => {
                let [a, b] = request.entity;
                // Three of four ids are the one that the request is about.
                if random & 3 == 0 {
                    push_uuid(random, rng.u64(..), out)
                } else {
                    push_uuid(a, b, out)
                }
            }
            Slot::User => push_number(100_000 + skewed(random, 50_000), out),
            Slot::Status => out.push_str(STATUS[(random & 31) as usize]),
            Slot::Version => {
                out.push_str("v1.");
                push_number(up_to(4), out);
                out.push('.');
                push_number((random >> 32) & 7, out);
            }
            Slot::Word => out.push_str(&self.words[self.law.draw(rng)]),
            Slot::Enumeration { first, count } => {
                let count = u64::from(count);
                // What a route is about mostly goes with it.
                let of_route = (u64::from(request.route) * 5 + u64::from(first)) % count;
                let at = if random & 3 == 0 { (random >> 8) % count } else { of_route };
                out.push_str(&self.words[usize::from(first) + at as usize]);
            }
            Slot::Trace => out.push_str(&request.trace),
            Slot::Span => out.push_str(&request.span),
            Slot::Time(form) => self.stamps.push(form, out),
            Slot::Pool(pool) => out.push_str(self.pools[usize::from(pool)].draw(random, request)),
        }
    }
}

/// HTTP statuses, most of them good.
const STATUS: [&str; 32] = [
    "200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "200", "200",
    "200", "200", "200", "200", "200", "200", "201", "201", "204", "204", "301", "304", "304",
    "400", "401", "404", "404", "500", "503",
];

/// Below `n`, small ones far more often: the product of two even draws.
fn skewed(random: u64, n: u64) -> u64 {
    let product = ((random >> 32) * (random & 0xffff_ffff)) >> 32;
    (product * n) >> 32
}

fn push_uuid(a: u64, b: u64, out: &mut String) {
    push_hex(a, 8, out);
    out.push('-');
    push_hex(a >> 32, 4, out);
    out.push_str("-4");
    push_hex(a >> 48, 3, out);
    out.push_str(["-8", "-9", "-a", "-b"][(b & 3) as usize]);
    push_hex(b >> 2, 3, out);
    out.push('-');
    push_hex(b >> 14, 12, out);
}

/// The address of client number `n`: always the same one.
fn push_address(n: u64, out: &mut String) {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for (shift, dot) in [(16, true), (24, true), (40, true), (48, false)] {
        push_number(mixed >> shift & 255, out);
        if dot {
            out.push('.');
        }
    }
}

/// Letters of Kubernetes' name suffixes.
const SUFFIX: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A suffix as Kubernetes makes them; one in five has no digit.
pub(crate) fn suffix(length: usize, rng: &mut Rng) -> String {
    (0..length).map(|_| char::from(SUFFIX[rng.usize(..SUFFIX.len())])).collect()
}

fn pool_values(name: &str, words: &[String], rng: &mut Rng) -> Vec<String> {
    let word = |rng: &mut Rng| words[rng.usize(..2_000)].as_str();
    let listed = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let kinds = ["api", "worker", "web", "store"];
    let mut made: Box<dyn FnMut(usize) -> String> = match name {
        "pod" => Box::new(|_| {
            let dep = format!("{}-{}", word(rng), kinds[rng.usize(..4)]);
            format!("{dep}-{}-{}", suffix(9, rng), suffix(5, rng))
        }),
        "node" => Box::new(|n| format!("node-{n:02}.compute.internal")),
        "dep" => Box::new(|_| format!("{}-{}", word(rng), kinds[rng.usize(..4)])),
        "path" => Box::new(|n| match n % 3 {
            0 => format!("/api/v1/{}/{}", word(rng), rng.u32(1..100_000)),
            1 => format!("/{}/{}", word(rng), word(rng)),
            _ => format!("/api/v2/{}/{}/{}", word(rng), rng.u32(1..100_000), word(rng)),
        }),
        "tbl" => Box::new(|_| format!("{}_{}", word(rng), word(rng))),
        "topic" => Box::new(|_| format!("{}.{}.v1", word(rng), word(rng))),
        "key" => Box::new(|_| format!("{}:{}", word(rng), rng.u32(1..1_000_000))),
        "cls" => Box::new(|_| {
            let mut name = word(rng).to_owned();
            name.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
            format!("com.example.shop.{}.{name}Service", word(rng))
        }),
        "ua" => Box::new(|n| {
            let (major, minor) = (60 + n, rng.u32(..9));
            format!("Mozilla/5.0 (X11; Linux x86_64) {}/{major}.{minor} Safari/537.36", word(rng))
        }),
        "ns" => {
            return listed(&[
                "shop",
                "payments",
                "search",
                "edge",
                "data",
                "identity",
                "batch",
                "monitoring",
                "kube-system",
                "team-blue",
                "team-green",
                "staging",
            ]);
        }
        _ => return listed(&["GET", "POST", "PUT", "DELETE", "PATCH"]),
    };
    let count = match name {
        "pod" | "topic" => 400,
        "path" => 3_000,
        "key" => 20_000,
        "tbl" | "node" | "dep" => 40,
        _ => 60,
    };
    (0..count).map(&mut made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, seed: u64) -> String {
        let mut rng = Rng::with_seed(seed);
        let mut filler = Filler::new(&mut rng);
        filler.set_time(1_700_000_000_123_456_789);
        let template = Template::compile(text, &mut rng);
        let (trace, span) = ("abc".to_owned(), "de".to_owned());
        let request = Request { trace, span, ..Request::default() };
        let mut out = String::new();
        filler.fill(&template, &request, &mut rng, &mut out);
        out
    }

    #[test]
    fn only_known_names_in_braces_are_slots() {
        assert_eq!(filled(r#"{"a":{x}} {trace}/{span}{"#, 1), r#"{"a":{x}} abc/de{"#);
        assert_eq!(filled("{ts:comma}", 1), "2023-11-14 22:13:20,123");
    }

    #[test]
    fn every_slot_has_the_form_it_promises() {
        let form = regex::Regex::new(
            r"^\d+ \d+ \d+\.\d{3} 10\.128\.\d+\.\d+ \d+\.\d+\.\d+\.\d+ [0-9a-f]{8} [0-9a-f-]{36} 1\d{5} [a-z]+ [a-z]+ [a-z]+-[a-z]+-\w{9}-\w{5} v1\.\d+\.\d$",
        );
        let form = form.unwrap();
        for seed in 0..50 {
            let line =
                filled("{n} {i} {f} {ip} {cip} {h8} {uuid} {user} {w} {e} {pod} {ver}", seed);
            assert!(form.is_match(&line), "{line}");
        }
    }
}
