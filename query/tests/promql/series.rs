//! The notation of series in scripts: `name{label="value"} 1 2 _ 4+1x3 stale`.

use query::promql::{number, parse_selector};
use record::Labels;

/// One cell of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    Missing,
    Value(f64),
    Stale,
    /// A native histogram, which is not stored.
    Histogram,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub labels: Labels,
    pub cells: Vec<Cell>,
    /// The cells are start timestamps (`name@st`), which are not stored.
    pub start_times: bool,
}

/// Reads a line, or says what is wrong with it.
pub fn parse(line: &str) -> Result<Line, String> {
    let (series, rest) = split_series(line)?;
    let labels = labels(series)?;
    if let Some(rest) = rest.strip_prefix("@st") {
        let cells = vec![Cell::Missing; rest.split_whitespace().count()];
        return Ok(Line { labels, cells, start_times: true });
    }
    Ok(Line { labels, cells: cells(rest)?, start_times: false })
}

fn split_series(line: &str) -> Result<(&str, &str), String> {
    let mut quote = None;
    let mut braces = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => braces = true,
            (None, '}') => return Ok(line.split_at(at + 1)),
            (None, c) if !braces && (c.is_whitespace() || c == '@') => {
                // `name {a="b"}` is one series too.
                let rest = line[at..].trim_start();
                if rest.starts_with('{') && !rest.starts_with("{{") {
                    continue;
                }
                return Ok(line.split_at(at));
            }
            _ => {}
        }
    }
    if braces { Err(format!("braces are not closed: {line}")) } else { Ok((line, "")) }
}

fn labels(series: &str) -> Result<Labels, String> {
    let inner = series.trim().trim_end_matches('}').trim_end();
    if inner.ends_with('{') && inner.len() == 1 {
        return Ok(Labels::default());
    }
    let matchers = parse_selector(series).map_err(|error| format!("{series}: {error}"))?;
    Ok(Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value()))))
}

fn cells(text: &str) -> Result<Vec<Cell>, String> {
    let mut cells = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if rest.starts_with("{{") {
            rest = histograms(rest, &mut cells)?;
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (item, after) = rest.split_at(end);
            push_item(item, &mut cells)?;
            rest = after;
        }
        rest = rest.trim_start();
    }
    Ok(cells)
}

/// `{{…}}`, `{{…}}x3` or `{{…}}+{{…}}x3`.
fn histograms<'a>(text: &'a str, cells: &mut Vec<Cell>) -> Result<&'a str, String> {
    let (_, mut rest) = text.split_once("}}").ok_or("histogram is not closed")?;
    if rest.starts_with("+{{") || rest.starts_with("-{{") {
        (_, rest) = rest.split_once("}}").ok_or("histogram is not closed")?;
    }
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (times, rest) = rest.split_at(end);
    let count = match times.strip_prefix('x') {
        Some(times) => times.parse::<usize>().map_err(|e| e.to_string())? + 1,
        None => 1,
    };
    cells.extend(vec![Cell::Histogram; count]);
    Ok(rest)
}

fn push_item(item: &str, cells: &mut Vec<Cell>) -> Result<(), String> {
    let wrong = || format!("bad value {item:?}");
    if item == "stale" {
        cells.push(Cell::Stale);
        return Ok(());
    }
    if let Some(times) = item.strip_prefix('_') {
        let count = match times.strip_prefix('x') {
            Some(times) => times.parse().map_err(|_| wrong())?,
            None => 1,
        };
        cells.extend(vec![Cell::Missing; count]);
        return Ok(());
    }
    // `0x5` is six zeroes here, not a hexadecimal number.
    let Some((values, times)) = item.rsplit_once('x') else {
        cells.push(Cell::Value(number::float(item).ok_or_else(wrong)?));
        return Ok(());
    };
    let times: usize = times.parse().map_err(|_| wrong())?;
    let (first, step) = progression(values).ok_or_else(wrong)?;
    let mut value = first;
    for _ in 0..=times {
        cells.push(Cell::Value(value));
        value += step;
    }
    Ok(())
}

/// `a`, `a+b` or `a-b`: the sign that is not the number's own nor an exponent's.
fn progression(text: &str) -> Option<(f64, f64)> {
    if let Some(value) = number::float(text) {
        return Some((value, 0.0));
    }
    text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-')).find_map(|(at, _)| {
        let (first, step) = text.split_at(at);
        Some((number::float(first)?, number::float(step)?))
    })
}
