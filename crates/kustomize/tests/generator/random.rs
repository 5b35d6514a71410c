//! Numbers from a seed, and the words that trees are made of.

/// A small generator of numbers: the same seed gives the same tree on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

pub(super) const NAMES: [&str; 8] = ["web", "api", "db", "web-2", "cache", "queue", "a1", "job"];
pub(super) const KEYS: [&str; 5] = ["app", "tier", "a.b/c", "on", "x9"];
pub(super) const SCALARS: [&str; 26] = [
    "plain",
    "'on'",
    "\"1\"",
    "'null'",
    "\"a: b\"",
    "'- x'",
    "\"\"",
    "\"tab\\tx\"",
    "'it''s'",
    "\"1e3\"",
    "'0644'",
    "'12:30:45'",
    "\"2020-01-01\"",
    "' lead'",
    "\"trail \"",
    "\"two\\nlines\\n\"",
    "\"two\\nlines\"",
    "'<>&'",
    "\"é\"",
    "'#no'",
    "'a #b'",
    "'~'",
    "'true'",
    "'y'",
    "\"\\U0001F600\"",
    "'a rather long line of words that goes on and on until it is folded somewhere past column eighty'",
];
pub(super) const VALUES: [&str; 14] = [
    "1",
    "0755",
    "1.50",
    "true",
    "yes",
    "null",
    "~",
    "1_000",
    "0x1F",
    "1e3",
    "2020-01-01",
    ".5",
    "-3",
    "12345678901",
];
pub(super) const IMAGES: [&str; 5] = [
    "nginx",
    "nginx:1.2",
    "r.io:5000/team/app:v1",
    "app@sha256:abc",
    "busybox:latest",
];
