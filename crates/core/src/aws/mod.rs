//! Pure: who asks AWS for what, in which calls, and what it needs and costs.

pub mod arn;
pub mod cloudtrail;
pub mod cost;
pub mod iam;
pub mod identity;
pub mod queue;
pub mod read_scheduler;
pub mod reader_key;
pub mod throttle;
pub mod usage;
