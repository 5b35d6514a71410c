//! So many at once, the urgent ones first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::channel::oneshot;
use parking_lot::{Mutex, MutexGuard};

/// How much somebody waits for the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// There is no Secret yet.
    NeverSynced,
    /// Somebody changed something.
    Changed,
    /// It is time again.
    Periodic,
}

/// Lets so many in at once.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits, by urgency.
    waiting: [VecDeque<oneshot::Sender<Pass>>; 3],
}

/// The right to be in. Dropped, the next one comes in.
#[derive(Debug)]
pub(crate) struct Pass(Option<Arc<Mutex<State>>>);

/// A gate for each store, so that one that does not answer leaves places for the others.
#[derive(Debug)]
pub(crate) struct Gates {
    places: usize,
    gates: Mutex<BTreeMap<String, Gate>>,
}

impl Gates {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places,
            gates: Mutex::default(),
        }
    }

    /// The gate of a store.
    pub(crate) fn of(&self, id: &str) -> Gate {
        let mut gates = self.gates.lock();
        let gate = gates.entry(id.to_owned());
        gate.or_insert_with(|| Gate::new(self.places)).clone()
    }

    /// Forgets a store that is gone.
    pub(crate) fn forget(&self, id: &str) {
        self.gates.lock().remove(id);
    }
}

impl Gate {
    pub(crate) fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: places.max(1),
            waiting: Default::default(),
        })))
    }

    /// Waits for a place.
    pub(crate) async fn enter(&self, urgency: Urgency) -> Pass {
        loop {
            let turn = {
                let mut state = lock(&self.0);
                if state.free > 0 {
                    state.free -= 1;
                    return Pass(Some(self.0.clone()));
                }
                let (sender, turn) = oneshot::channel();
                state.waiting[urgency as usize].push_back(sender);
                turn
            };
            // The other end is dropped only with the gate itself.
            if let Ok(pass) = turn.await {
                return pass;
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock()
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(state) = self.0.take() else {
            return;
        };
        loop {
            let next = {
                let mut state = lock(&state);
                let next = state.waiting.iter_mut().find_map(VecDeque::pop_front);
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else {
                return;
            };
            match next.send(Self(Some(state.clone()))) {
                Ok(()) => return,
                // It gave up: the place goes to the next one here, not by dropping the pass.
                Err(mut pass) => pass.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt as _;

    use super::*;

    #[test]
    fn the_urgent_ones_come_in_first() {
        let gate = Gate::new(1);
        let first = gate.enter(Urgency::Periodic).now_or_never().expect("free");
        let mut periodic = Box::pin(gate.enter(Urgency::Periodic));
        let mut given_up = Box::pin(gate.enter(Urgency::NeverSynced));
        let mut changed = Box::pin(gate.enter(Urgency::Changed));
        let mut new = Box::pin(gate.enter(Urgency::NeverSynced));
        assert!(periodic.as_mut().now_or_never().is_none());
        assert!(given_up.as_mut().now_or_never().is_none());
        assert!(changed.as_mut().now_or_never().is_none());
        assert!(new.as_mut().now_or_never().is_none());
        drop(given_up);
        drop(first);
        assert!(changed.as_mut().now_or_never().is_none());
        let new = new.now_or_never().expect("its turn");
        drop(new);
        assert!(periodic.as_mut().now_or_never().is_none());
        drop(changed.now_or_never().expect("its turn"));
        drop(periodic.now_or_never().expect("its turn"));
        assert!(gate.enter(Urgency::Periodic).now_or_never().is_some());
    }
}
