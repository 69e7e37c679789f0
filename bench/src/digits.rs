//! Numbers as text, without the cost of formatting.

/// In decimal.
pub(crate) fn push_number(mut value: u64, out: &mut String) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    push_ascii(&digits[at..], out);
}

/// The lowest `width` decimal digits, at most 20.
pub(crate) fn push_padded(mut value: u64, width: usize, out: &mut String) {
    let mut digits = [b'0'; 20];
    let start = digits.len() - width;
    for digit in digits[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    push_ascii(&digits[start..], out);
}

/// The lowest `digits` hexadecimal digits, at most 16, the lowest first: for random ids.
pub(crate) fn push_hex(value: u64, digits: usize, out: &mut String) {
    let mut text = [0; 16];
    for (at, digit) in text[..digits].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(value >> (at * 4) & 15) as usize];
    }
    push_ascii(&text[..digits], out);
}

fn push_ascii(bytes: &[u8], out: &mut String) {
    out.push_str(std::str::from_utf8(bytes).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_right() {
        let mut out = String::new();
        for value in [0, 7, 10, u64::MAX] {
            push_number(value, &mut out);
            out.push(' ');
        }
        push_padded(42, 5, &mut out);
        out.push(' ');
        push_hex(0xab, 4, &mut out);
        assert_eq!(out, "0 7 10 18446744073709551615 00042 ba00");
    }
}
