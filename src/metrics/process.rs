//! Reads `/proc`: the metrics of the process, under the names of Prometheus' client libraries.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Linux counts times of processes in hundredths of a second, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Collects the metrics of the process at each scrape. What cannot be read is left out.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in samples() {
            match name.strip_suffix("_total") {
                Some(name) => {
                    let metric =
                        encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                    ConstCounter::new(value).encode(metric)?;
                }
                None => {
                    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                    ConstGauge::new(value).encode(metric)?;
                }
            }
        }
        Ok(())
    }
}

/// The name, the help text and the value of a metric.
type Sample = (&'static str, &'static str, f64);

/// What the kernel says of this process now. A figure that cannot be read is left out.
fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    let read = |path: &str| fs::read_to_string(path).ok();
    let status = read("/proc/self/status").unwrap_or_default();
    let memory = [
        (
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM",
            bytes(&status, "VmRSS:"),
        ),
        (
            "process_virtual_memory_bytes",
            "Address space of the process",
            bytes(&status, "VmSize:"),
        ),
    ];
    let memory = memory.into_iter();
    samples.extend(memory.filter_map(|(name, help, bytes)| Some((name, help, bytes?))));
    if let Some(times) = read("/proc/self/stat")
        .as_deref()
        .and_then(ProcessTimes::parse)
    {
        samples.push((
            "process_cpu_seconds_total",
            "CPU time of the process",
            times.cpu,
        ));
        if let Some(boot) = read("/proc/stat").as_deref().and_then(boot_time) {
            samples.push((
                "process_start_time_seconds",
                "When the process began, in seconds since 1970",
                boot + times.started,
            ));
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The directory itself is open while it is counted.
        let open = u32::try_from(open.count().saturating_sub(1)).unwrap_or(u32::MAX);
        samples.push(("process_open_fds", "Open file descriptors", f64::from(open)));
    }
    if let Some(most) = read("/proc/self/limits").as_deref().and_then(most_files) {
        samples.push((
            "process_max_fds",
            "File descriptors that the process may open",
            most,
        ));
    }
    samples
}

/// The times of the process.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ProcessTimes {
    /// Seconds of CPU time.
    cpu: f64,
    /// Seconds between the boot of the machine and the start of the process.
    started: f64,
}

impl ProcessTimes {
    /// Reads `/proc/self/stat`.
    fn parse(text: &str) -> Option<Self> {
        // The second field is the name of the program, which may hold blanks and brackets.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first field of the rest is the third of the line.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            started: field(22)? / TICKS_PER_SECOND,
        })
    }
}

/// A field of `/proc/self/status` that is given in kB, in bytes.
fn bytes(status: &str, field: &str) -> Option<f64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field))?;
    let kilobytes: f64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// The boot time of the machine in `/proc/stat`, in seconds since 1970.
fn boot_time(text: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// The soft limit of open files in `/proc/self/limits`.
fn most_files(text: &str) -> Option<f64> {
    let mut lines = text.lines();
    let limits = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    match limits.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read() {
        let stat = "1234 (a ) b) S 1 1234 1234 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 4200 1048576 256 18446744073709551615 1 1";
        let times = ProcessTimes {
            cpu: 3.0,
            started: 42.0,
        };
        assert_eq!(ProcessTimes::parse(stat), Some(times));
        assert_eq!(ProcessTimes::parse("1234 (short) S 1"), None);
        let status = "Name:\toverlayd\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(1_048_576.0));
        assert_eq!(bytes(status, "VmSwap:"), None);
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1767225600\n"),
            Some(1_767_225_600.0)
        );
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
             Max open files            1024                 524288               files\n";
        assert_eq!(most_files(limits), Some(1024.0));
        assert_eq!(
            most_files("Max open files  unlimited unlimited files"),
            Some(f64::INFINITY)
        );
    }

    #[test]
    fn every_metric_of_a_process_is_there() {
        let samples = samples();
        let names: Vec<&str> = samples.iter().map(|(name, ..)| *name).collect();
        let expected = [
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_open_fds",
            "process_max_fds",
        ];
        assert_eq!(names, expected);
        assert!(
            samples.iter().all(|(_, _, value)| *value >= 0.0),
            "{samples:?}"
        );
    }
}
