//! Talks to the API server: watches of kinds that it may not serve, since their definitions are not installed.

use std::collections::VecDeque;

use futures::{Stream, StreamExt as _};
use kube::Resource;
use kube::runtime::watcher::{self, Event};

use crate::cluster::error::is_not_found;

/// Which of the watches of one kind tells that it is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announce {
    /// The log says so once.
    InLog,
    /// Another watch of the kind says so.
    Elsewhere,
}

/// The events of a watch, without its errors while the server does not serve the kind in this version. Until then the
/// kind has no objects, so that nothing waits for its first list.
///
/// `events` must back off after an error, since this stream hides it.
pub(crate) fn while_served<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    announce: Announce,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource<DynamicType = ()> + Send,
{
    let mut state = Served::new(announce);
    events.flat_map(move |event| futures::stream::iter(state.pass(event)))
}

/// Whether the kind of a watch is served, as its events tell.
struct Served {
    announce: Announce,
    /// The last list or watch was answered with 404.
    is_missing: bool,
    /// Something was listed, or an empty list was passed on in place of it.
    was_listed: bool,
}

impl Served {
    /// Before the first event.
    fn new(announce: Announce) -> Self {
        Self {
            announce,
            is_missing: false,
            was_listed: false,
        }
    }

    /// The events to pass on in place of one.
    fn pass<K>(&mut self, event: watcher::Result<Event<K>>) -> VecDeque<watcher::Result<Event<K>>>
    where
        K: Resource<DynamicType = ()>,
    {
        let (kind, version) = (K::kind(&()), K::api_version(&()));
        match event {
            Err(error) if is_missing(&error) => {
                if self.is_missing {
                    return VecDeque::new();
                }
                self.is_missing = true;
                if self.announce == Announce::InLog {
                    tracing::warn!(
                        %kind,
                        %version,
                        "the API server does not serve this kind in this version; objects of it are served once its definition is installed (--install-crds=true installs what is missing, and keeps what is there)"
                    );
                }
                if self.was_listed {
                    return VecDeque::new();
                }
                self.was_listed = true;
                [Ok(Event::Init), Ok(Event::InitDone)].into()
            }
            Ok(event) => {
                if self.is_missing && !matches!(event, Event::Init) {
                    self.is_missing = false;
                    tracing::info!(%kind, %version, "the API server serves this kind now");
                }
                self.was_listed |= matches!(event, Event::InitDone);
                [Ok(event)].into()
            }
            error => [error].into(),
        }
    }
}

/// True for a 404 on a list or watch: the kind is not served in this version.
fn is_missing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            is_not_found(error)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use overlayd_core::api::receiver::Receiver;

    use super::*;

    fn failed(code: u16) -> watcher::Result<Event<Receiver>> {
        let status = Status::failure("no", "no").with_code(code);
        Err(watcher::Error::InitialListFailed(kube::Error::Api(
            status.boxed(),
        )))
    }

    fn names(events: VecDeque<watcher::Result<Event<Receiver>>>) -> Vec<&'static str> {
        let name = |event| match event {
            Ok(Event::Init) => "init",
            Ok(Event::InitDone) => "done",
            Ok(_) => "object",
            Err(_) => "error",
        };
        events.into_iter().map(name).collect()
    }

    #[test]
    fn a_kind_that_is_not_served_has_no_objects_and_no_errors() {
        let mut state = Served::new(Announce::InLog);
        assert_eq!(names(state.pass(failed(404))), ["init", "done"]);
        for _ in 0..3 {
            assert!(state.pass(failed(404)).is_empty());
        }
        assert_eq!(names(state.pass(failed(500))), ["error"]);
        assert_eq!(names(state.pass::<Receiver>(Ok(Event::Init))), ["init"]);
        assert!(state.is_missing, "the watch begins anew after each error");
        assert_eq!(names(state.pass::<Receiver>(Ok(Event::InitDone))), ["done"]);
        assert!(!state.is_missing);
    }

    #[test]
    fn objects_stay_known_when_a_kind_is_not_served_for_a_moment() {
        let mut state = Served::new(Announce::InLog);
        state.pass::<Receiver>(Ok(Event::Init));
        state.pass::<Receiver>(Ok(Event::InitDone));
        assert!(state.pass(failed(404)).is_empty());
    }
}
