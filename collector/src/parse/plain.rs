//! Plain files: a line is a record, and its time is when it was read.

/// Gives the lines of one stream their times: the clock's, but strictly growing.
///
/// Lines of one read share a clock reading, and a query must still return them in file order.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadTimes {
    last: i64,
}

impl ReadTimes {
    /// Returns the time of the next line, read at `now` (nanoseconds since 1970).
    ///
    /// One nanosecond after the previous line when the clock stands still or goes back.
    pub fn next(&mut self, now: i64) -> i64 {
        self.last = now.max(self.last.saturating_add(1));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_grow_strictly_even_when_the_clock_goes_back() {
        let mut times = ReadTimes::default();
        let given: Vec<i64> = [100, 100, 101, 50, 200].map(|now| times.next(now)).into();
        assert_eq!(given, [100, 101, 102, 103, 200]);
    }
}
