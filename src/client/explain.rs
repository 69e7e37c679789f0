//! What a query did, as a table for people.

use serde_json::{Map, Value};

/// Lays out the figures that a server gives for `explain=1`, without a newline at the end.
pub(super) fn table(explain: &Value) -> String {
    let mut lines = Vec::new();
    for (title, part) in [
        ("segments", &explain["segments"]),
        ("granules", &explain["granules"]),
        ("rows", &explain["rows"]),
        ("bytes read", &explain["bytes"]),
        ("time, ms", &explain["steps_ms"]),
    ] {
        lines.push(title.to_owned());
        let Some(figures) = part.as_object() else { continue };
        add_figures(figures, "", &mut lines);
    }
    lines.push(figure_line("  total", &explain["total_ms"]));
    lines.join("\n")
}

fn add_figures(figures: &Map<String, Value>, under: &str, lines: &mut Vec<String>) {
    for (name, figure) in figures {
        let name = name.replace('_', " ");
        match figure.as_object() {
            Some(inner) => add_figures(inner, &format!("{name} "), lines),
            None => lines.push(figure_line(&format!("  {under}{name}"), figure)),
        }
    }
}

fn figure_line(name: &str, figure: &Value) -> String {
    let figure = match (figure.as_u64(), figure.as_f64()) {
        (Some(whole), _) => grouped(whole),
        (None, Some(number)) => format!("{number:.2}"),
        (None, None) => "?".to_owned(),
    };
    format!("{name:<28}{figure:>16}")
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at != 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_figure_has_a_line() {
        let text = table(&json!({
            "segments": {"considered": 3},
            "granules": {"considered": 1234, "pruned_by": {"time": 7}},
            "rows": {"matched": 0},
            "bytes": {"scanned": 1_234_567},
            "steps_ms": {"fetch": 0.5},
            "total_ms": 1.25,
        }));
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected: [&[&str]; 11] = [
            &["segments"],
            &["considered", "3"],
            &["granules"],
            &["considered", "1,234"],
            &["pruned", "by", "time", "7"],
            &["rows"],
            &["matched", "0"],
            &["bytes", "read"],
            &["scanned", "1,234,567"],
            &["time,", "ms"],
            &["fetch", "0.50"],
        ];
        assert_eq!(lines[..11], expected);
        assert_eq!(lines[11], ["total", "1.25"]);
    }
}
