//! The addresses at which receivers are called.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use overlayd_core::names::NamespacedName;

/// The receivers by their addresses. The controller sets them, and the HTTP server finds the receiver of a call here.
#[derive(Debug, Default)]
pub(crate) struct ReceiverAddresses(Mutex<BTreeMap<String, NamespacedName>>);

impl ReceiverAddresses {
    /// Gives a receiver its one address, a path that begins with `/hook/`; `None` if it has no token.
    pub(crate) fn set(&self, receiver: &NamespacedName, path: Option<&str>) {
        let mut paths = self.0.lock();
        paths.retain(|_, other| other != receiver);
        if let Some(path) = path {
            paths.insert(path.to_owned(), receiver.clone());
        }
    }

    /// The receiver of an address.
    pub(crate) fn find(&self, path: &str) -> Option<NamespacedName> {
        self.0.lock().get(path).cloned()
    }
}
