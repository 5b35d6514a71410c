//! overlayd
