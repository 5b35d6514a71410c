//! Reads the memory limit of the process from its control group.

use overlayd_core::build_memory::memory_limit;

/// Where the limit stands: version 2 of control groups, then version 1. In a pod, its own group is at the root.
const FILES: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// The memory limit of the process in bytes, if it has one.
pub(super) fn limit() -> Option<u64> {
    let texts = FILES
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok());
    texts.filter_map(|text| memory_limit(&text)).min()
}
