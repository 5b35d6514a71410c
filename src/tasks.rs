//! Runs tasks that start while the daemon works, such as a watch for each kind, and joins all of them.
//!
//! A [`Spawner`] hands a task to the one [`Supervisor`], which spawns and joins it. A task that returns has done its work
//! and leaves nothing behind. A task that panics ends the supervisor, which gives the name of the task.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Hands tasks to the supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Spawner(mpsc::UnboundedSender<Task>);

/// Owns the tasks; they are aborted when it is dropped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    requests: mpsc::UnboundedReceiver<Task>,
    /// The result of a task is its name if it panicked.
    running: JoinSet<Option<String>>,
}

/// A task with the name by which its end is reported.
struct Task {
    name: String,
    work: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Task").field(&self.name).finish()
    }
}

/// A supervisor, and a spawner for it.
pub(crate) fn supervisor() -> (Spawner, Supervisor) {
    let (spawner, requests) = mpsc::unbounded_channel();
    let supervisor = Supervisor {
        requests,
        running: JoinSet::new(),
    };
    (Spawner(spawner), supervisor)
}

impl Spawner {
    /// Runs a task under a name, which completes the sentence "… ended unasked". Nothing runs once the supervisor is gone.
    pub(crate) fn spawn(&self, name: String, work: impl Future<Output = ()> + Send + 'static) {
        let work = work.boxed();
        // Without a supervisor the process is ending, and the task is not needed.
        let _ = self.0.send(Task { name, work });
    }
}

impl Supervisor {
    /// Runs tasks until one of them panics, and gives its name. Pends for ever if none does.
    pub(crate) async fn run(mut self) -> String {
        loop {
            if let Some(name) = self.step().await {
                return name;
            }
        }
    }

    /// Waits until a task begins or ends. Gives the name of a task that panicked.
    async fn step(&mut self) -> Option<String> {
        tokio::select! {
            Some(Task { name, work }) = self.requests.recv() => {
                // The panic is caught inside the task, since a join error would not tell the name.
                let work = AssertUnwindSafe(work).catch_unwind();
                self.running.spawn(async move { work.await.is_err().then_some(name) });
                None
            }
            Some(ended) = self.running.join_next() => ended.ok().flatten(),
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_supervisor_with_the_name_of_the_task() {
        let (spawner, supervisor) = supervisor();
        spawner.spawn("the watch of Node".to_owned(), std::future::pending());
        spawner.spawn("the watch of Secret".to_owned(), async {
            panic!("a defect");
        });
        let name = tokio::time::timeout(Duration::from_secs(30), supervisor.run()).await;
        assert_eq!(name.as_deref(), Ok("the watch of Secret"));
    }

    #[tokio::test]
    async fn ended_tasks_do_not_accumulate() {
        let (spawner, mut supervisor) = supervisor();
        let (keep, kept) = oneshot::channel::<()>();
        spawner.spawn("the last".to_owned(), async {
            let _ = kept.await;
        });
        for number in 0..100 {
            spawner.spawn(format!("task {number}"), async {});
        }
        // Each begins, and all but the last end.
        for _ in 0..201 {
            assert_eq!(supervisor.step().await, None);
        }
        assert_eq!(supervisor.running.len(), 1);
        drop(keep);
        assert_eq!(supervisor.step().await, None);
        assert!(supervisor.running.is_empty());
    }

    #[tokio::test]
    async fn tasks_end_with_the_supervisor() {
        let (spawner, mut supervisor) = supervisor();
        let (held, dropped) = oneshot::channel::<()>();
        spawner.spawn("a task".to_owned(), async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert_eq!(supervisor.step().await, None);
        drop(supervisor);
        assert!(dropped.await.is_err(), "what the task held is gone");
    }
}
