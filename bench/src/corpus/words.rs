//! A vocabulary of made-up words, and drawing by Zipf's law: the n-th word is n times rarer than
//! the first, as in every language.

use std::collections::HashSet;

use fastrand::Rng;

/// Words of the vocabulary.
pub(crate) const WORDS: usize = 20_000;

/// The vocabulary is the same for every seed, so that corpora of two seeds can be searched alike.
const VOCABULARY_SEED: u64 = 0x6d69_6c6c;

const ONSETS: [&str; 24] = [
    "b", "br", "c", "ch", "d", "dr", "f", "g", "gl", "h", "k", "l", "m", "n", "p", "pr", "r", "s",
    "st", "t", "tr", "v", "w", "z",
];
const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "ai", "ea", "ou"];
const CODAS: [&str; 10] = ["", "", "", "n", "r", "s", "l", "nd", "rt", "ck"];

/// The words, most frequent first: lower-case letters only, each once.
pub(crate) fn vocabulary() -> Vec<String> {
    let mut rng = Rng::with_seed(VOCABULARY_SEED);
    let mut seen = HashSet::new();
    let mut words = Vec::with_capacity(WORDS);
    while words.len() < WORDS {
        // Frequent words are short.
        let syllables = rng.usize(1..3) + usize::from(300 < words.len());
        let mut word = String::new();
        for _ in 0..syllables {
            word.push_str(ONSETS[rng.usize(..ONSETS.len())]);
            word.push_str(VOWELS[rng.usize(..VOWELS.len())]);
        }
        word.push_str(CODAS[rng.usize(..CODAS.len())]);
        if 2 < word.len() && seen.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

/// Draws 0 to n - 1 with weights 1/1, 1/2, .. 1/n in constant time (Walker's alias method).
#[derive(Debug)]
pub(crate) struct Zipf {
    /// Share of a column that is its own, out of 2^32.
    own: Vec<u32>,
    other: Vec<u32>,
}

impl Zipf {
    pub(crate) fn new(n: usize) -> Self {
        let weights: Vec<f64> = (1..=n).map(|rank| 1.0 / rank as f64).collect();
        Self::weighted(&weights)
    }

    /// Draws by any weights; at least one, all positive.
    pub(crate) fn weighted(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut scaled: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut own = vec![u32::MAX; weights.len()];
        let mut other: Vec<u32> = (0..weights.len() as u32).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|column| scaled[*column] < 1.0);
        while let (Some(low), Some(high)) = (small.pop(), large.pop()) {
            own[low] = (scaled[low] * f64::from(u32::MAX)) as u32;
            other[low] = high as u32;
            scaled[high] -= 1.0 - scaled[low];
            if scaled[high] < 1.0 { small.push(high) } else { large.push(high) }
        }
        Self { own, other }
    }

    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> usize {
        let random = rng.u64(..);
        let column = (((random >> 32) * self.own.len() as u64) >> 32) as usize;
        if (random as u32) < self.own[column] { column } else { self.other[column] as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_letters_and_frequent_by_rank() {
        let words = vocabulary();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), WORDS);
        assert!(words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase())));
        let (zipf, mut rng) = (Zipf::new(WORDS), Rng::with_seed(1));
        let mut drawn = vec![0_u32; WORDS];
        for _ in 0..1_000_000 {
            drawn[zipf.draw(&mut rng)] += 1;
        }
        // 1/H(20,000) = 9.55 % of a million, and a tenth of that for the tenth word.
        assert!((93_000..98_000).contains(&drawn[0]), "{}", drawn[0]);
        assert!((9_000..10_200).contains(&drawn[9]), "{}", drawn[9]);
        assert!((20..90).contains(&drawn[1_999]), "{}", drawn[1_999]);
    }
}
