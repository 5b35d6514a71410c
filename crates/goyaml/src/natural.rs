//! Pure: the order in which Go's YAML packages print the keys of a map.

use std::cmp::Ordering;

/// Compares two keys: letters by code point, digit runs by number, anything else before letters.
///
/// This is the order of go-yaml's `keyList` (sorter.go), which is almost, but not quite, that of bytes.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    if same == a.len() || same == b.len() {
        return a.len().cmp(&b.len());
    }
    // The usual case needs no decoding: both differ in an ASCII letter.
    let (x, y) = (a.as_bytes()[same], b.as_bytes()[same]);
    if x.is_ascii_alphabetic() && y.is_ascii_alphabetic() {
        return x.cmp(&y);
    }
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else {
        return a.len().cmp(&b.len());
    };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let mut start_number = 0_u64;
    if a[at] == '0' || b[at] == '0' {
        let run = a[..at].iter().rev().take_while(|c| c.is_numeric());
        if run.clone().any(|&c| c != '0') {
            start_number = 1;
        }
    }
    let (number_a, length_a) = digit_run(&a[at..], start_number);
    let (number_b, length_b) = digit_run(&b[at..], start_number);
    number_a
        .cmp(&number_b)
        .then(length_a.cmp(&length_b))
        .then(a[at].cmp(&b[at]))
}

/// Sorts by [`natural_order`], which is no total order (`1a` < `9` < `10` < `1a`): the library's own
/// sorts may panic on such, a plain merge sort does not.
pub(crate) fn sort_natural<T: Copy>(items: &mut [T], key: &impl Fn(&T) -> &str) {
    if items
        .windows(2)
        .all(|pair| natural_order(key(&pair[0]), key(&pair[1])).is_le())
    {
        return;
    }
    let middle = items.len() / 2;
    sort_natural(&mut items[..middle], key);
    sort_natural(&mut items[middle..], key);
    let (left, right) = (items[..middle].to_vec(), items[middle..].to_vec());
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    for slot in items {
        let take_left = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => natural_order(key(a), key(b)).is_le(),
            (left, _) => left.is_some(),
        };
        if let Some(&next) = if take_left { left.next() } else { right.next() } {
            *slot = next;
        }
    }
}

fn digit_run(chars: &[char], start: u64) -> (u64, usize) {
    let run = chars.iter().take_while(|c| c.is_numeric());
    let length = run.clone().count();
    let number = run.fold(start, |number, &c| {
        number
            .wrapping_mul(10)
            .wrapping_add(u64::from(u32::from(c)).wrapping_sub(u64::from(u32::from('0'))))
    });
    (number, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_that_go_prints() {
        let expected = [
            "", "_a", "9", "10", "A", "B", "Z", "a-b", "a.b", "a/b", "a_b", "a2", "a02", "a10",
            "aB", "ab", "b", "z", "é",
        ];
        let mut sorted = expected;
        sorted.reverse();
        sort_natural(&mut sorted, &|key: &&'static str| key);
        assert_eq!(sorted, expected);
    }

    #[test]
    fn a_cycle_of_keys_ends() {
        let mut keys = ["10", "1a", "9"].repeat(20);
        sort_natural(&mut keys, &|key: &&'static str| key);
        assert_eq!(keys.len(), 60);
    }
}
