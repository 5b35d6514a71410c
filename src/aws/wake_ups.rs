//! Talks to nobody: the channels by which subscribers are woken, and by which the task that makes calls is woken.

use std::collections::BTreeSet;

use futures::channel::mpsc;
use parking_lot::Mutex;
use tokio::sync::Notify;

use overlayd_core::aws::reader_key::ReaderKey;
use overlayd_core::names::NamespacedName;

/// An action that a policy denies, though it would save calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The reader whose identity lacks the right.
    pub(crate) key: ReaderKey,
    /// The action, as policies name it.
    pub(crate) action: &'static str,
}

/// The receiving ends: the subscribers to wake, and the actions that are denied.
#[derive(Debug)]
pub(crate) struct WakeUps {
    /// A subscriber for each change that concerns it.
    pub(crate) wakes: mpsc::UnboundedReceiver<NamespacedName>,
    /// Each denial once for an hour, as the scheduler remembers it.
    pub(crate) hints: mpsc::UnboundedReceiver<Denied>,
}

/// The sending ends, and the subscribers that have not read yet what they were woken for.
#[derive(Debug)]
pub(super) struct Waker {
    /// Subscribers that were woken and have not read since.
    news: Mutex<BTreeSet<NamespacedName>>,
    /// Notified when there may be calls to make.
    work: Notify,
    wakes: mpsc::UnboundedSender<NamespacedName>,
    hints: mpsc::UnboundedSender<Denied>,
}

impl Waker {
    /// Both ends of the channels.
    pub(super) fn new() -> (Self, WakeUps) {
        let (wakes, wakes_receiver) = mpsc::unbounded();
        let (hints, hints_receiver) = mpsc::unbounded();
        let waker = Self {
            news: Mutex::default(),
            work: Notify::new(),
            wakes,
            hints,
        };
        let wake_ups = WakeUps {
            wakes: wakes_receiver,
            hints: hints_receiver,
        };
        (waker, wake_ups)
    }

    /// Wakes subscribers because something has changed for them.
    pub(super) fn wake(&self, subscribers: impl IntoIterator<Item = NamespacedName>) {
        for subscriber in subscribers {
            self.news.lock().insert(subscriber.clone());
            // The receiver is gone when the process ends.
            let _ = self.wakes.unbounded_send(subscriber);
        }
    }

    /// True if something has changed that a subscriber has not read yet.
    pub(super) fn has_news(&self, subscriber: &NamespacedName) -> bool {
        self.news.lock().contains(subscriber)
    }

    /// The subscriber reads everything now, or wants nothing any more.
    pub(super) fn forget_news(&self, subscriber: &NamespacedName) {
        self.news.lock().remove(subscriber);
    }

    /// Reports an action that a policy denies.
    pub(super) fn report_denied(&self, denied: Denied) {
        // The receiver is gone when the process ends.
        let _ = self.hints.unbounded_send(denied);
    }

    /// Lets the task that makes calls plan now.
    pub(super) fn plan_now(&self) {
        self.work.notify_one();
    }

    /// Waits until there may be calls to make.
    pub(super) async fn wait_for_work(&self) {
        self.work.notified().await;
    }
}
