//! Pure: which secrets are read from AWS, as which identity and in which calls; what policies must allow, and what the calls
//! cost.

pub mod arn;
pub mod batch_answers;
pub mod cloudtrail;
pub mod cost;
pub mod credentials;
pub mod error_code;
pub mod freshness;
pub mod iam;
pub mod identity;
pub mod queue;
pub mod read_scheduler;
pub mod reader_key;
pub mod rotation;
pub mod throttle;
pub mod usage;
