//! Shows long work: a bar on a terminal, plain lines otherwise.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::recognition::models::Progress;

/// Without a terminal, a line each time this many hundredths are done.
const PLAIN_STEP: u64 = 25;

/// Progress on standard error.
#[derive(Default)]
pub struct Shown {
    phase: String,
    bar: Option<ProgressBar>,
    told: u64,
}

impl Progress for Shown {
    fn update(&mut self, phase: &str, done: u64, total: u64) {
        if phase != self.phase {
            if let Some(bar) = self.bar.take() {
                bar.finish();
            }
            phase.clone_into(&mut self.phase);
            self.told = 0;
            self.bar = std::io::stderr().is_terminal().then(|| {
                let style = ProgressStyle::with_template("{msg:12} {bar:40} {bytes}/{total_bytes}")
                    .expect("the template is constant");
                ProgressBar::new(total)
                    .with_style(style)
                    .with_message(phase.to_owned())
            });
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else {
            let percent = (done * 100).checked_div(total).unwrap_or(0);
            if percent >= self.told + PLAIN_STEP {
                self.told = percent - percent % PLAIN_STEP;
                eprintln!("{phase}: {percent} %");
            }
        }
    }

    fn note(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }
}
