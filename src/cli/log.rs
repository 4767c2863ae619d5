//! What the process says about itself on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Our own events at `XINQIAO_LOG` (error, warn, info, debug, trace; info without it), other crates' warnings.
///
/// The SIP stack logs whole messages, which hold citizens' numbers: it has no voice here at any level.
pub fn start() {
    let wanted = std::env::var("XINQIAO_LOG").ok();
    let level: Option<LevelFilter> = wanted.as_ref().and_then(|level| level.parse().ok());
    let own = level.unwrap_or(LevelFilter::INFO);
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
    if let (Some(wanted), None) = (wanted, level) {
        tracing::warn!(
            "XINQIAO_LOG={wanted} is no level; error, warn, info, debug and trace are, and info is taken"
        );
    }
}
