//! Talks to AWS: one service, as one identity.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::aws::service::SecretService;
use crate::aws::sessions::AwsSession;
use overlayd_core::aws::read_scheduler::ReadScheduler;
use overlayd_core::aws::reader_key::ReaderKey;

/// A service and an identity: the scheduler that plans its calls, and the client that makes them.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) key: ReaderKey,
    pub(crate) session: Arc<AwsSession>,
    pub(crate) service: Box<dyn SecretService>,
    scheduler: Mutex<ReadScheduler>,
}

impl Reader {
    /// A reader that has read nothing. `digest_key` is the key of the digests of this process.
    pub(super) fn new(
        key: &ReaderKey,
        session: Arc<AwsSession>,
        service: Box<dyn SecretService>,
        digest_key: [u8; 32],
    ) -> Self {
        let scheduler = ReadScheduler::new(key.service.capabilities(), digest_key);
        Self {
            key: key.clone(),
            session,
            service,
            scheduler: Mutex::new(scheduler),
        }
    }

    /// The scheduler, locked. The lock is never held over an await.
    pub(super) fn scheduler(&self) -> MutexGuard<'_, ReadScheduler> {
        self.scheduler.lock()
    }
}
