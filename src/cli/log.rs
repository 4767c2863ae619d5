//! What the process says about itself on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Our own events at `XINQIAO_LOG` (error, warn, info, debug, trace; info without it), other crates' warnings.
///
/// The SIP stack logs whole messages, which hold citizens' numbers: it has no voice here at any level.
pub fn start() {
    let own = std::env::var("XINQIAO_LOG")
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or(LevelFilter::INFO);
    let targets = Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("xinqiao", own)
        .with_target("rsipstack", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Tests in one process may have started it already.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .try_init();
}
