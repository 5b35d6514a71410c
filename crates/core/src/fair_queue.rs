//! Pure: shares a number of permits between keys, such as namespaces, so that none of them keeps the others waiting.
//!
//! A key holds at most its share. Of the keys that wait below their share, the next permit goes to the one that holds the
//! fewest, and of those to the one that was served longest ago. Within a key, the most urgent waiter is served first, and
//! equally urgent ones in their order. A key that neither holds nor waits takes no memory.

use std::collections::{BTreeMap, VecDeque};

/// How many permits there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// For all keys together; one at least.
    pub total: usize,
    /// The most that one key holds; one at least.
    pub of_one: usize,
}

/// How many keys, waiters and permits there are at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueSizes {
    /// Keys that hold a permit or wait.
    pub keys: usize,
    /// Permits that are held.
    pub held: usize,
    /// Waiters.
    pub waiting: usize,
}

/// The permits, their holders, and the waiters. `L` is the urgency of a waiter, the most urgent being the least; `W` is the
/// waiter.
#[derive(Debug)]
pub struct FairQueue<L, W> {
    shares: Shares,
    held: usize,
    /// Grows with every key that comes and every permit that is given, so that it orders them.
    clock: u64,
    keys: BTreeMap<String, KeyQueue<L, W>>,
}

#[derive(Debug)]
struct KeyQueue<L, W> {
    held: usize,
    /// When this key came, was served last, or gave a permit back.
    served: u64,
    waiting: BTreeMap<L, VecDeque<W>>,
}

impl<L: Ord, W> FairQueue<L, W> {
    /// A queue whose permits are all free.
    pub fn new(shares: Shares) -> Self {
        let shares = Shares {
            total: shares.total.max(1),
            of_one: shares.of_one.max(1),
        };
        Self {
            shares,
            held: 0,
            clock: 0,
            keys: BTreeMap::new(),
        }
    }

    /// Takes a permit for a key, if one is free and the key is below its share. Then no waiter is passed over: one that
    /// waits while a permit is free belongs to a key that holds its share.
    pub fn take(&mut self, key: &str) -> bool {
        let held = self.keys.get(key).map_or(0, |queue| queue.held);
        if self.held >= self.shares.total || held >= self.shares.of_one {
            return false;
        }
        self.serve(key);
        true
    }

    /// Lets a waiter of a key wait.
    pub fn wait(&mut self, key: &str, urgency: L, waiter: W) {
        let queue = self.queue_of(key);
        queue.waiting.entry(urgency).or_default().push_back(waiter);
    }

    /// Gives a permit of a key back. Gives the waiter that has it now, and its key.
    pub fn give_back(&mut self, key: &str) -> Option<(String, W)> {
        self.held = self.held.saturating_sub(1);
        self.clock += 1;
        if let Some(queue) = self.keys.get_mut(key) {
            queue.held = queue.held.saturating_sub(1);
            // Keys that came meanwhile wait longer than this one.
            queue.served = self.clock;
        }
        self.drop_if_idle(key);
        let next = self.next_key()?;
        let waiter = self.keys.get_mut(&next).and_then(KeyQueue::pop)?;
        self.serve(&next);
        Some((next, waiter))
    }

    /// The sizes of this moment.
    pub fn sizes(&self) -> QueueSizes {
        QueueSizes {
            keys: self.keys.len(),
            held: self.held,
            waiting: self.keys.values().map(KeyQueue::waiters).sum(),
        }
    }

    /// The key that is served next: it waits, and is below its share.
    fn next_key(&self) -> Option<String> {
        let waiting = self
            .keys
            .iter()
            .filter(|(_, queue)| queue.held < self.shares.of_one && queue.waiters() > 0);
        let next = waiting.min_by_key(|(_, queue)| (queue.held, queue.served));
        next.map(|(key, _)| key.clone())
    }

    fn serve(&mut self, key: &str) {
        self.held += 1;
        self.clock += 1;
        let clock = self.clock;
        let queue = self.queue_of(key);
        queue.held += 1;
        queue.served = clock;
    }

    fn queue_of(&mut self, key: &str) -> &mut KeyQueue<L, W> {
        if !self.keys.contains_key(key) {
            self.clock += 1;
            let queue = KeyQueue {
                held: 0,
                served: self.clock,
                waiting: BTreeMap::new(),
            };
            self.keys.insert(key.to_owned(), queue);
        }
        self.keys.get_mut(key).expect("it was inserted just now")
    }

    fn drop_if_idle(&mut self, key: &str) {
        let is_idle = |queue: &KeyQueue<L, W>| queue.held == 0 && queue.waiters() == 0;
        if self.keys.get(key).is_some_and(is_idle) {
            self.keys.remove(key);
        }
    }
}

impl<L: Ord, W> KeyQueue<L, W> {
    fn waiters(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    fn pop(&mut self) -> Option<W> {
        let mut lane = self.waiting.first_entry()?;
        let waiter = lane.get_mut().pop_front();
        if lane.get().is_empty() {
            lane.remove();
        }
        waiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(total: usize, of_one: usize) -> FairQueue<u8, u32> {
        FairQueue::new(Shares { total, of_one })
    }

    #[test]
    fn a_key_holds_its_share_and_leaves_the_rest() {
        let mut queue = queue(4, 3);
        for _ in 0..3 {
            assert!(queue.take("hostile"));
        }
        assert!(!queue.take("hostile"), "its share is three");
        queue.wait("hostile", 0, 1);
        assert!(queue.take("neighbour"), "one is left for others");
        assert!(!queue.take("platform"), "all are held");
        queue.wait("platform", 9, 2);
        // The hostile key gives one back: the other one, which holds none, gets it.
        let next = queue.give_back("hostile").unwrap();
        assert_eq!(next, ("platform".to_owned(), 2));
        assert_eq!(
            queue.give_back("platform").unwrap(),
            ("hostile".to_owned(), 1)
        );
        let sizes = QueueSizes {
            keys: 2,
            held: 4,
            waiting: 0,
        };
        assert_eq!(queue.sizes(), sizes);
    }

    #[test]
    fn keys_take_turns_and_urgency_counts_within_a_key() {
        let mut queue = queue(1, 1);
        assert!(queue.take("a"));
        for (key, urgency, waiter) in [
            ("a", 2, 1),
            ("a", 0, 2),
            ("a", 0, 3),
            ("b", 2, 4),
            ("b", 1, 5),
            ("c", 0, 6),
        ] {
            assert!(!queue.take(key));
            queue.wait(key, urgency, waiter);
        }
        let mut holder = "a".to_owned();
        let mut served = Vec::new();
        while let Some((key, waiter)) = queue.give_back(&holder) {
            served.push(waiter);
            holder = key;
        }
        assert_eq!(served, [5, 6, 2, 4, 3, 1]);
        assert_eq!(queue.sizes(), QueueSizes::default(), "nothing is left");
    }

    #[test]
    fn a_key_that_comes_again_and_again_does_not_overtake() {
        let mut queue = queue(1, 1);
        assert!(queue.take("busy"));
        queue.wait("patient", 9, 1);
        queue.wait("busy", 0, 2);
        let (key, waiter) = queue.give_back("busy").unwrap();
        assert_eq!((key.as_str(), waiter), ("patient", 1));
    }

    /// The invariants over a long conversation of keys that come, wait and go.
    #[test]
    fn no_conversation_breaks_the_shares_or_loses_a_waiter() {
        let shares = Shares {
            total: 5,
            of_one: 2,
        };
        let mut queue: FairQueue<u8, String> = FairQueue::new(shares);
        let mut holders: Vec<String> = Vec::new();
        let (mut waited, mut served, mut seed) = (0, 0, 7_u64);
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..20_000 {
            if random(2) == 0 || holders.is_empty() {
                let key = format!("ns-{}", random(6));
                if queue.take(&key) {
                    holders.push(key);
                } else {
                    let urgency = u8::try_from(random(3)).unwrap();
                    queue.wait(&key, urgency, key.clone());
                    waited += 1;
                }
            } else {
                let index = usize::try_from(random(holders.len() as u64)).unwrap();
                let gone = holders.swap_remove(index);
                if let Some((key, waiter)) = queue.give_back(&gone) {
                    assert_eq!(key, waiter);
                    served += 1;
                    holders.push(key);
                }
            }
            assert!(holders.len() <= shares.total);
            assert_eq!(queue.sizes().held, holders.len());
            assert_eq!(queue.sizes().waiting, waited - served);
            for key in (0..6).map(|number| format!("ns-{number}")) {
                let held = holders.iter().filter(|holder| **holder == key).count();
                assert!(held <= shares.of_one);
                let waits = queue.keys.get(&key).map_or(0, KeyQueue::waiters);
                let is_free = holders.len() < shares.total && held < shares.of_one;
                assert!(!is_free || waits == 0, "a free permit is not held back");
            }
        }
        while let Some(gone) = holders.pop() {
            holders.extend(queue.give_back(&gone).map(|(key, _)| key));
        }
        assert_eq!(queue.sizes(), QueueSizes::default());
    }
}
