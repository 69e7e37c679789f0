//! Values of which neighbours share sign, exponent and high digits: xor with the one before.

use crate::wire::Malformed;

/// Leading zeros are written in five bits; more count as this many.
const LEADING_MAX: u32 = 31;

pub(super) fn encode(values: &[f64]) -> Vec<u8> {
    let mut bits = BitWriter::default();
    let mut window = Window { leading: u32::MAX, length: 0 };
    for pair in values.windows(2) {
        let difference = pair[0].to_bits() ^ pair[1].to_bits();
        if difference == 0 {
            bits.put(0, 1);
            continue;
        }
        let own = Window::of(difference);
        if window.holds(own) {
            bits.put(0b10, 2);
        } else {
            bits.put(0b11, 2);
            bits.put(u64::from(own.leading), 5);
            bits.put(u64::from(own.length - 1), 6);
            window = own;
        }
        bits.put(difference >> window.trailing(), window.length);
    }
    bits.finish()
}

pub(super) fn decode(item: &[u8], first: f64, count: usize) -> Result<Vec<f64>, Malformed> {
    let mut bits = BitReader::new(item);
    let mut values = Vec::with_capacity(count);
    values.push(first);
    let mut last = first.to_bits();
    let mut window: Option<Window> = None;
    for _ in 1..count {
        if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                let leading = bits.take(5)? as u32;
                let length = bits.take(6)? as u32 + 1;
                if 64 < leading + length {
                    return Err(Malformed("a window is wider than a value"));
                }
                window = Some(Window { leading, length });
            }
            let window = window.ok_or(Malformed("there is no window yet"))?;
            last ^= bits.take(window.length)? << window.trailing();
        }
        values.push(f64::from_bits(last));
    }
    bits.finish()?;
    Ok(values)
}

/// The bits of a difference that are written.
#[derive(Clone, Copy, Debug)]
struct Window {
    leading: u32,
    length: u32,
}

impl Window {
    fn of(difference: u64) -> Self {
        let leading = difference.leading_zeros().min(LEADING_MAX);
        Self { leading, length: 64 - leading - difference.trailing_zeros() }
    }

    fn trailing(self) -> u32 {
        64 - self.leading - self.length
    }

    /// Whether `other` lies inside and is not so much narrower that a window of its own, which
    /// costs eleven bits, would pay.
    fn holds(self, other: Self) -> bool {
        self.length != 0
            && self.leading <= other.leading
            && self.trailing() <= other.trailing()
            && self.length <= other.length + 11
    }
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    pending: u128,
    pending_bits: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`, at most 64.
    fn put(&mut self, value: u64, count: u32) {
        self.pending = self.pending << count | u128::from(value);
        self.pending_bits += count;
        while 8 <= self.pending_bits {
            self.pending_bits -= 8;
            self.bytes.push((self.pending >> self.pending_bits) as u8);
        }
        self.pending &= (1 << self.pending_bits) - 1;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.pending_bits != 0 {
            self.put(0, 8 - self.pending_bits);
        }
        self.bytes
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    pending: u128,
    pending_bits: u32,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, pending: 0, pending_bits: 0 }
    }

    /// The next `count` bits, at most 64.
    fn take(&mut self, count: u32) -> Result<u64, Malformed> {
        while self.pending_bits < count {
            let byte = *self.bytes.get(self.at).ok_or(Malformed("bits are cut short"))?;
            self.at += 1;
            self.pending = self.pending << 8 | u128::from(byte);
            self.pending_bits += 8;
        }
        self.pending_bits -= count;
        let value = self.pending >> self.pending_bits;
        self.pending &= (1 << self.pending_bits) - 1;
        Ok(value as u64)
    }

    fn finish(self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() && self.pending == 0 {
            return Ok(());
        }
        Err(Malformed("bits follow its end"))
    }
}
