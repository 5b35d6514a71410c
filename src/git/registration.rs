//! Registers our transports with libgit2, which then carries every address of `http`, `https` and `ssh` over them.

use git2::transport::Transport;

use crate::git::ssh::Ssh;
use crate::git::transport::{Session, Smart};

/// Registers the transports. A second call changes nothing.
#[expect(
    unsafe_code,
    reason = "git2 marks the registration unsafe: it must not race with other uses of libgit2"
)]
pub(super) fn register() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        for scheme in ["http", "https", "ssh"] {
            // SAFETY: runs once, at the start of the program, before any repository is opened.
            let registered = unsafe {
                git2::transport::register(scheme, move |remote| {
                    let session = Session::current().ok_or_else(|| {
                        git2::Error::from_str("no session for this git operation")
                    })?;
                    if scheme == "ssh" {
                        return Transport::smart(remote, false, Ssh { session });
                    }
                    Transport::smart(remote, true, Smart::new(session))
                })
            };
            registered.expect("libgit2 accepts a transport of a new name");
        }
    });
}
