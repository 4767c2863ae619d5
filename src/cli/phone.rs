//! `xinqiao call` and `xinqiao answer`: the test phone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::serve::asked_to_stop;
use super::{Failure, log};
use crate::audio::codec::Codec;
use crate::gateway::phone::{self, AnswerPlan, Answering, CallPlan, CallReport};

#[derive(clap::Args)]
pub struct CallArguments {
    /// Whom to call, e.g. sip:12345@127.0.0.1:5060
    #[arg(long, value_name = "SIP-URI")]
    to: String,
    /// What to say; the left channel of a stereo file
    #[arg(long, value_name = "FILE")]
    wav: PathBuf,
    /// The caller's number
    #[arg(long, default_value = "13800138000")]
    from: String,
    /// What to speak: PCMA, PCMU, G722, opus or L16
    #[arg(long, value_name = "NAME", default_value = "PCMA", value_parser = codec)]
    codec: Codec,
    /// How long to listen after the last word, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    tail: u64,
    /// Write what is heard to this WAV file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct AnswerArguments {
    /// Where to take calls, UDP and TCP, e.g. 127.0.0.1:5080
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// What to say in each call; the right channel of a stereo file
    #[arg(long, value_name = "FILE")]
    wav: PathBuf,
    /// How long to ring, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    ring: u64,
    /// Write what is heard to this WAV file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Take nothing but this: PCMA, PCMU, G722, opus or L16
    #[arg(long, value_name = "NAME", value_parser = codec)]
    codec: Option<Codec>,
}

fn codec(name: &str) -> Result<Codec, String> {
    Codec::from_name(name).ok_or_else(|| "not one of PCMA, PCMU, G722, opus and L16".to_owned())
}

/// Calls, says the file, hangs up.
pub fn call(arguments: CallArguments) -> Result<(), Failure> {
    log::start();
    let mut plan = CallPlan::new(&arguments.to, arguments.wav);
    plan.from = arguments.from.into();
    plan.codec = arguments.codec;
    plan.tail = Duration::from_millis(arguments.tail);
    plan.record = arguments.record;
    super::runtime()?.block_on(async {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            asked_to_stop().await;
            stopped.cancel();
        });
        let report = phone::call(plan, &stop)
            .await
            .map_err(Failure::must_be_mended)?;
        if !report.answered {
            return Err(Failure::failed(format!(
                "{} did not answer: {} {}",
                arguments.to, report.status, report.cause
            )));
        }
        print(&report);
        Ok(())
    })
}

/// Answers every call until Ctrl-C.
pub fn answer(arguments: AnswerArguments) -> Result<(), Failure> {
    log::start();
    let mut plan = AnswerPlan::new(arguments.listen, arguments.wav);
    plan.ring = Duration::from_millis(arguments.ring);
    if let Some(codec) = arguments.codec {
        plan.codecs = vec![codec];
    }
    plan.record = arguments.record;
    super::runtime()?.block_on(async {
        let phone = Answering::bind(plan)
            .await
            .map_err(Failure::must_be_mended)?;
        let asked = asked_to_stop();
        println!("answering at {} until Ctrl-C", phone.local_addr());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            asked.await;
            stopped.cancel();
        });
        let report = phone.run(stop).await.map_err(Failure::failed)?;
        println!("{} calls, {} answered", report.calls, report.answered);
        report.last.iter().for_each(print);
        Ok(())
    })
}

fn print(report: &CallReport) {
    println!(
        "{:.1} s, {} packets sent, {} received, {} lost: {}",
        report.duration.as_secs_f64(),
        report.sent,
        report.received,
        report.lost,
        report.cause
    );
}
