//! Says where a panic happened, and never what it said: the text of a panic can quote a secret.

use std::panic::{Location, PanicHookInfo};

use super::output;

/// Lets every panic of the process be reported by its place, thread and task alone.
#[expect(clippy::disallowed_methods, reason = "this is the one hook")]
pub(super) fn install() {
    std::panic::set_hook(Box::new(report));
}

/// Logs where a panic happened, or prints it if logging has not begun.
fn report(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let origin = PanicOrigin {
        place: panic.location(),
        thread: thread.name(),
        task: tokio::task::try_id().map(|id| id.to_string()),
    };
    let text = origin.describe();
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{text}");
    } else {
        output::note(&text);
    }
}

/// What is known of a panic but its text.
struct PanicOrigin<'a> {
    place: Option<&'a Location<'a>>,
    thread: Option<&'a str>,
    task: Option<String>,
}

impl PanicOrigin<'_> {
    /// One line without the text of the panic.
    fn describe(&self) -> String {
        let place = self.place.map(ToString::to_string);
        let place = place.as_deref().unwrap_or("an unknown place");
        let thread = self.thread.unwrap_or("without a name");
        let task = self.task.as_deref().map(|task| format!(", task {task}"));
        format!(
            "panic at {place} (thread {thread}{}): this is a defect of overlayd; please report this line. \
             The text of the panic is not shown, for it can hold a secret",
            task.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_named_by_its_place() {
        let place = Location::caller();
        let known = PanicOrigin {
            place: Some(place),
            thread: Some("tokio-runtime-worker"),
            task: Some("17".to_owned()),
        };
        let begin = format!(
            "panic at {}:{}:{} (thread tokio-runtime-worker, task 17): ",
            file!(),
            place.line(),
            place.column()
        );
        assert!(known.describe().starts_with(&begin), "{}", known.describe());
        let unknown = PanicOrigin {
            place: None,
            thread: None,
            task: None,
        };
        let begin = "panic at an unknown place (thread without a name): ";
        assert!(unknown.describe().starts_with(begin));
    }
}
