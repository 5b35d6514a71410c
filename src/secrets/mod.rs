//! Where the values of Secrets come from. What is made of them is decided in `overlayd_core::secrets`.

pub(crate) mod provider;
