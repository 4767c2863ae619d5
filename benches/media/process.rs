//! What another process has used: processor time by the scheduler's own count, and memory.

use std::fs;
use std::time::Duration;

/// Processor time of all its threads so far, the kernel's work for them included.
pub fn processor(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let nanos = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Kilobytes in memory.
pub fn resident_kb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .unwrap_or(0.0)
}

/// How busy the whole machine has been so far, and how long it has run, both in seconds of one core.
pub fn machine() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let times: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .map(|ticks| ticks / 100.0)
        .collect();
    let all = times.iter().take(8).sum::<f64>();
    let idle = times.iter().skip(3).take(2).sum::<f64>();
    (all - idle, all)
}
