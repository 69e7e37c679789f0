//! Stack traces: a program throws the same few again and again, from the same lines of code.

use fastrand::Rng;

/// Different stack traces in a corpus.
const STACKS: usize = 60;

/// The frames of one stack trace, without the error above them.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    pub(crate) error: String,
    pub(crate) frames: Vec<String>,
    /// All of it as the content of a JSON string.
    pub(crate) escaped: String,
}

/// Frames of a stack trace on average.
pub(crate) const FRAMES_MEAN: f64 = 16.0;

pub(crate) fn stacks(words: &[String], rng: &mut Rng) -> Vec<Stack> {
    (0..STACKS).map(|n| stack(n, words, rng)).collect()
}

fn stack(n: usize, words: &[String], rng: &mut Rng) -> Stack {
    let word = |rng: &mut Rng| words[rng.usize(..1_000)].as_str();
    let frames = rng.usize(8..=24);
    let (error, frames): (String, Vec<String>) = match n % 3 {
        0 => (
            format!("java.lang.IllegalStateException: {} is not {}", word(rng), word(rng)),
            (0..frames)
                .map(|_| {
                    let (package, class, method) = (word(rng), word(rng), word(rng));
                    let line = rng.u32(20..900);
                    format!("\tat com.example.{package}.{class}.{method}({class}.java:{line})")
                })
                .collect(),
        ),
        1 => (
            format!("Traceback (most recent call last): ValueError: bad {}", word(rng)),
            (0..frames)
                .map(|_| {
                    let (file, line) = (word(rng), rng.u32(20..900));
                    format!("  File '/app/{file}.py', line {line}, in {}", word(rng))
                })
                .collect(),
        ),
        _ => (
            format!("panic: runtime error: {} out of range", word(rng)),
            (0..frames)
                .map(|_| {
                    let (package, line) = (word(rng), rng.u32(20..900));
                    format!("\t/src/{package}/{}.go:{line} +0x{:x}", word(rng), rng.u16(16..))
                })
                .collect(),
        ),
    };
    let all = format!("{error}\n{}", frames.join("\n"));
    let escaped = all.replace('\n', "\\n").replace('\t', "\\t");
    Stack { error, frames, escaped }
}
