//! Pure: work on parts of a list on several threads, the results in the order of the list.

use std::thread;

/// More threads than this bring no more.
const MAX_THREADS: usize = 8;

/// Applies a function to consecutive parts of a list, none smaller than `least` but the last.
pub(crate) fn map_chunks<T: Sync, R: Send>(
    items: &[T],
    least: usize,
    map: impl Fn(&[T]) -> R + Sync,
) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MAX_THREADS).min(items.len() / least.max(1));
    if threads < 2 {
        return if items.is_empty() {
            Vec::new()
        } else {
            vec![map(items)]
        };
    }
    let (first, rest) = items.split_at(items.len().div_ceil(threads));
    let map = &map;
    thread::scope(|scope| {
        let parts = rest.chunks(first.len());
        let running: Vec<_> = parts.map(|part| scope.spawn(move || map(part))).collect();
        // This thread has its part, too.
        let mut results = vec![map(first)];
        for thread in running {
            match thread.join() {
                Ok(result) => results.push(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_in_order() {
        for length in [0, 1, 2, 9, 10, 11, 1000] {
            let items: Vec<usize> = (0..length).collect();
            let parts = map_chunks(&items, 5, <[usize]>::to_vec);
            assert_eq!(parts.concat(), items);
            assert!(parts.iter().all(|part| !part.is_empty()));
        }
    }
}
