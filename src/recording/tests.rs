//! Recordings as files: aligned, whole after a kill, sealed, and gone in time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use super::tape::Shelf;
use super::*;
use crate::audio::{Frame, Frequency, MediaTime};
use crate::small_disk::Disk;
use crate::speech::{CallId, Leg};

const MS: u64 = 8;

/// 20 ms at 8 kHz, all of one value.
fn frame(start_ms: u64, value: i16) -> Frame {
    Frame {
        samples: vec![value; 160],
        rate: RATE,
        start: MediaTime::from_millis(start_ms),
    }
}

fn recorded(folder: &Path, key: Option<Key>, fill: impl FnOnce(&mut Tape)) -> Vec<Notice> {
    let (notices, noticed) = mpsc::sync_channel(8);
    let recorder = Recorder::start(folder, key, 0, move |notice| {
        notices.try_send(notice).expect("room");
    });
    let recorder = recorder.expect("a thread");
    let mut tape = recorder.begin(CallId::new("c1"));
    fill(&mut tape);
    drop(tape);
    drop(recorder);
    noticed.iter().collect()
}

fn channels(wav: &Path) -> [Vec<i16>; 2] {
    let mut reader = hound::WavReader::open(wav).expect("a WAV file");
    assert_eq!(
        (reader.spec().channels, reader.spec().sample_rate),
        (2, 8_000)
    );
    let samples: Vec<i16> = reader
        .samples()
        .map(|sample| sample.expect("whole"))
        .collect();
    [0, 1].map(|channel| samples.iter().skip(channel).step_by(2).copied().collect())
}

#[test]
fn both_legs_lie_on_one_clock_through_holes_and_other_rates() {
    let folder = tempfile::tempdir().expect("a folder");
    let notices = recorded(folder.path(), None, |tape| {
        for at in (0..2_000).step_by(20) {
            // The caller is not heard for half a second; the operator begins late and speaks wide-band.
            if !(500..1_000).contains(&at) {
                tape.take(Leg::Caller, &frame(at, 1_000));
            }
            if at >= 300 {
                let wide = Frame {
                    samples: vec![2_000; 320],
                    rate: Frequency::HZ_16000,
                    start: MediaTime::from_millis(at),
                };
                tape.take(Leg::Operator, &wide);
            }
        }
    });
    let [first, last] = &notices[..] else {
        panic!("{notices:?}");
    };
    assert_eq!((first.state, last.state), (State::Running, State::Complete));
    let [caller, operator] = channels(&folder.path().join(&last.file));
    assert_eq!(caller.len(), operator.len());
    let at = |channel: &[i16], ms: u64| channel[(ms * MS) as usize];
    assert_eq!(
        [at(&caller, 499), at(&caller, 500), at(&caller, 999)],
        [1_000, 0, 0]
    );
    assert_eq!([at(&caller, 1_000), at(&caller, 1_999)], [1_000, 1_000]);
    assert_eq!(at(&operator, 290), 0);
    assert!(
        (at(&operator, 320) - 2_000).abs() < 200,
        "{}",
        at(&operator, 320)
    );
    assert_eq!(last.duration.as_millis() / 100, 20);
}

#[test]
fn what_is_erased_is_silent_whether_it_was_written_lies_on_the_shelf_or_is_still_to_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("key");
    Key::create(&key_file).expect("made");
    for key in [None, Some(Key::read(&key_file).expect("a key"))] {
        let recordings = folder
            .path()
            .join(if key.is_some() { "sealed" } else { "plain" });
        let notices = recorded(&recordings, key.clone(), |tape| {
            let speak = |tape: &mut Tape, span: std::ops::Range<u64>| {
                for at in span.step_by(20) {
                    tape.take(Leg::Caller, &frame(at, 1_000));
                    tape.take(Leg::Operator, &frame(at, 2_000));
                }
            };
            let at = MediaTime::from_millis;
            speak(tape, 0..2_000);
            std::thread::sleep(Duration::from_millis(700));
            // It is in the file by now, up to the last tenth of a second.
            tape.erase(at(500), at(1_000));
            speak(tape, 2_000..2_500);
            tape.erase(at(1_800), at(2_200));
            tape.erase(at(2_400), at(2_700));
            std::thread::sleep(Duration::from_millis(700));
            speak(tape, 2_500..3_000);
        });
        let target = folder.path().join("out.wav");
        let file = recordings.join(&notices.last().expect("recorded").file);
        export(&file, key.as_ref(), &target).expect("whole");
        for (channel, level) in channels(&target).iter().zip([1_000, 2_000]) {
            assert_eq!(channel.len() as u64, 3_000 * MS);
            for (at, sample) in channel.iter().enumerate() {
                let erased = [500..1_000, 1_800..2_200, 2_400..2_700];
                let millis = at as u64 / MS;
                let is_erased = erased.iter().any(|span| span.contains(&millis));
                // A range ends up to 2 ms later, never sooner.
                let just_behind = erased
                    .iter()
                    .any(|span| (span.end..=span.end + 2).contains(&millis));
                let is_as_it_should = if is_erased {
                    *sample == 0
                } else {
                    *sample == level || just_behind
                };
                assert!(is_as_it_should, "{sample} at {millis} ms");
            }
        }
    }
}

#[test]
fn what_the_disk_cannot_take_in_time_is_counted_silence_and_an_alarm() {
    let shelf = std::sync::Arc::new(Shelf::new(CallId::new("c1")));
    let mut tape = Tape::new(shelf.clone());
    for at in (0..7_000).step_by(20) {
        tape.take(Leg::Caller, &frame(at, 1));
    }
    assert_eq!(tape.trouble(), Some(Trouble::Gap));
    assert_eq!(tape.trouble(), None);
    let sound = shelf.lock();
    assert_eq!(sound.channels[0].len() as u64, 5_000 * MS);
    assert_eq!(sound.lost, [2_000 * MS, 0]);
}

#[test]
fn a_file_that_cannot_be_made_is_told_to_the_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("no-folder");
    std::fs::write(&file, "").expect("written");
    let notices = recorded(&file, None, |tape| {
        tape.take(Leg::Caller, &frame(0, 1));
        tape.take(Leg::Caller, &frame(5_000, 1));
        tape.take(Leg::Operator, &frame(5_000, 1));
        let began = Instant::now();
        while tape.trouble() != Some(Trouble::Failed) {
            assert!(began.elapsed() < Duration::from_secs(5), "the call is told");
            std::thread::sleep(Duration::from_millis(10));
            for at in 0..5 {
                tape.take(Leg::Caller, &frame(5_020 + 20 * at, 1));
            }
        }
    });
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].state, State::Failed);
}

#[test]
fn a_sealed_recording_opens_with_its_key_alone_and_a_changed_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("key");
    Key::create(&key_file).expect("made");
    assert!(
        Key::create(&key_file).is_err(),
        "a key is never overwritten"
    );
    let key = Key::read(&key_file).expect("a key");
    let recordings = folder.path().join("recordings");
    let notices = recorded(&recordings, Some(key.clone()), |tape| {
        for at in (0..1_000).step_by(20) {
            tape.take(Leg::Caller, &frame(at, 777));
            tape.take(Leg::Operator, &frame(at, -5));
        }
    });
    let file = recordings.join(&notices.last().expect("recorded").file);
    let target = folder.path().join("out.wav");
    let duration = export(&file, Some(&key), &target).expect("exported");
    assert_eq!(duration, Duration::from_secs(1));
    let [caller, operator] = channels(&target);
    assert!(caller.iter().all(|sample| *sample == 777));
    assert!(operator.iter().all(|sample| *sample == -5));

    assert!(matches!(
        export(&file, None, &target),
        Err(RecordingError::Sealed { .. })
    ));
    let other_file = folder.path().join("other");
    Key::create(&other_file).expect("made");
    let other = Key::read(&other_file).expect("a key");
    for (wrong, octets) in [
        (&other, std::fs::read(&file).expect("read")),
        (&key, {
            let mut changed = std::fs::read(&file).expect("read");
            changed[200] ^= 1;
            changed
        }),
        (&key, {
            let mut cut = std::fs::read(&file).expect("read");
            cut.truncate(cut.len() - 20);
            cut
        }),
    ] {
        std::fs::write(&file, octets).expect("written");
        let refused = export(&file, Some(wrong), &target).expect_err("refused");
        assert!(
            matches!(refused, RecordingError::Damaged { .. }),
            "{refused}"
        );
        assert!(!target.exists());
    }
}

#[test]
fn while_too_little_is_free_nothing_is_recorded_and_then_it_goes_on_behind_as_much_silence() {
    let Some(disk) = Disk::mount(8) else {
        return;
    };
    let key_file = disk.path().join("key");
    Key::create(&key_file).expect("made");
    let recordings = disk.path().join("recordings");
    make_private_folder(&recordings).expect("made");
    for (call, key) in [
        ("plain", None),
        ("sealed", Some(Key::read(&key_file).expect("a key"))),
    ] {
        let (notices, noticed) = mpsc::sync_channel(8);
        let recorder = Recorder::start(&recordings, key.clone(), 4 << 20, move |notice| {
            notices.try_send(notice).expect("room");
        });
        let recorder = recorder.expect("a thread");
        let until = |what: &str, fact: &mut dyn FnMut() -> bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while !fact() {
                assert!(Instant::now() < end, "{what}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let mut tape = recorder.begin(CallId::new(call));
        let speak = |tape: &mut Tape, span: std::ops::Range<u64>| {
            for at in span.step_by(20) {
                tape.take(Leg::Caller, &frame(at, 1_000));
                tape.take(Leg::Operator, &frame(at, 2_000));
            }
        };
        speak(&mut tape, 0..1_000);
        let first = noticed.recv_timeout(Duration::from_secs(20));
        assert_eq!(first.expect("it runs").state, State::Running);
        assert_eq!((recorder.fault(), tape.trouble()), (None, None));

        disk.fill();
        until("it stops", &mut || recorder.fault().is_some());
        let why = recorder.fault().unwrap_or_default();
        assert!(
            why.contains("less than 4 MB") && why.contains("min_free_mb"),
            "{why}"
        );
        speak(&mut tape, 1_000..2_000);
        until("the call is told", &mut || {
            tape.trouble() == Some(Trouble::Gap)
        });
        tape.erase(MediaTime::from_millis(1_500), MediaTime::from_millis(2_500));
        // A call that begins and ends meanwhile has no recording, and takes nothing of what is left.
        let mut short = recorder.begin(CallId::new("short"));
        speak(&mut short, 0..1_000);
        drop(short);

        disk.relieve();
        until("it goes on", &mut || recorder.fault().is_none());
        speak(&mut tape, 2_000..3_000);
        drop(tape);
        drop(recorder);
        let last = noticed.iter().last().expect("it ended");
        assert_eq!((last.state, last.call.as_str()), (State::Complete, call));
        assert_eq!(last.duration, Duration::from_secs(3));
        let lost = last.lost.as_millis();
        assert!((900..=1_100).contains(&lost), "{lost} ms");
        let target = disk.path().join("out.wav");
        export(&recordings.join(&last.file), key.as_ref(), &target).expect("whole");
        for (channel, level) in channels(&target).iter().zip([1_000, 2_000]) {
            assert_eq!(channel.len() as u64, 3_000 * MS);
            let at = |ms: u64| channel[(ms * MS) as usize];
            let heard = [
                at(0),
                at(890),
                at(1_100),
                at(1_990),
                at(2_490),
                at(2_510),
                at(2_999),
            ];
            assert_eq!(heard, [level, level, 0, 0, 0, level, level], "{call}");
        }
        std::fs::remove_file(target).expect("removed");
    }
}

/// Records in real time and says how far it is; the test below starts it as a process and kills it.
#[test]
#[ignore = "runs only as the process that the next test kills"]
fn records_until_it_is_killed() {
    let Ok(folder) = std::env::var("XINQIAO_RECORD_INTO") else {
        return;
    };
    let key = std::env::var("XINQIAO_RECORD_KEY")
        .ok()
        .map(|key| Key::read(Path::new(&key)).expect("a key"));
    let recorder = Recorder::start(Path::new(&folder), key, 0, drop).expect("a thread");
    let mut tape = recorder.begin(CallId::new("c1"));
    let began = Instant::now();
    for at in (0..20_000).step_by(20) {
        std::thread::sleep(Duration::from_millis(at).saturating_sub(began.elapsed()));
        tape.take(Leg::Caller, &frame(at, at as i16));
        tape.take(Leg::Operator, &frame(at, -(at as i16)));
        println!("recorded {at}");
    }
}

#[test]
fn a_process_that_is_killed_loses_less_than_the_last_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("key");
    Key::create(&key_file).expect("made");
    let key = Key::read(&key_file).expect("a key");
    for (name, key) in [("plain", None), ("sealed", Some(&key))] {
        let recordings = folder.path().join(name);
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command
            .args([
                "--exact",
                "recording::tests::records_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("XINQIAO_RECORD_INTO", &recordings)
            .stdout(Stdio::piped());
        if key.is_some() {
            command.env("XINQIAO_RECORD_KEY", &key_file);
        }
        let mut child = command.spawn().expect("this test again");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut reached = 0;
        for line in output.lines() {
            let line = line.expect("text");
            if let Some(at) = line.split("recorded ").nth(1) {
                reached = at.parse().expect("a number");
            }
            if reached >= 2_500 {
                break;
            }
        }
        // SIGKILL: nothing is written any more, no destructor runs.
        child.kill().expect("it runs");
        child.wait().expect("it has ended");
        assert_eq!(reached, 2_500);

        let (recovered, failed) = recover(&recordings, key);
        assert!(failed.is_empty(), "{failed:?}");
        let [whole] = &recovered[..] else {
            panic!("{recovered:?}");
        };
        assert_eq!(whole.call, "c1");
        let kept = whole.duration.as_millis() as u64;
        assert!(
            kept + 1_000 > reached,
            "{name}: {kept} ms of {reached} ms are left"
        );
        let target = folder.path().join("out.wav");
        export(&whole.path, key, &target).expect("whole");
        let [caller, operator] = channels(&target);
        assert_eq!(caller.len() as u64, kept * MS);
        for (at, (left, right)) in caller.iter().zip(&operator).enumerate() {
            let begins = (at as u64 / 160 * 20) as i16;
            assert_eq!((*left, *right), (begins, -begins), "{name}, sample {at}");
        }
        assert!(
            recover(&recordings, key).0.is_empty(),
            "there is nothing left to mend"
        );
    }
}

#[test]
fn old_recordings_go_and_with_a_full_disk_the_oldest_before_today() {
    let folder = tempfile::tempdir().expect("a folder");
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 20_000);
    for (day, call) in [
        ("2024-09-01", "a"),
        ("2024-10-03", "b"),
        ("2024-10-04", "c"),
    ] {
        let day = folder.path().join(day);
        std::fs::create_dir_all(&day).expect("made");
        std::fs::write(day.join(format!("{call}.wav")), "").expect("written");
    }
    let keeping = |days, free| Keeping { days, free };
    assert_eq!(sweep(folder.path(), keeping(0, 0), now), [""; 0]);
    assert_eq!(sweep(folder.path(), keeping(30, 0), now), ["a"]);
    assert!(!folder.path().join("2024-09-01").exists());
    assert_eq!(sweep(folder.path(), keeping(30, u64::MAX), now), ["b"]);
    assert!(
        folder.path().join("2024-10-04/c.wav").exists(),
        "today's stay"
    );
}

#[test]
fn a_recording_is_read_from_anywhere_as_the_wav_file_that_its_export_would_be() {
    for sealed in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        Key::create(&path).expect("made");
        let key = sealed.then(|| Key::read(&path).expect("a key"));
        let notices = recorded(folder.path(), key.clone(), |tape| {
            for at in (0..3_000).step_by(20) {
                tape.take(Leg::Caller, &frame(at, at as i16));
                tape.take(Leg::Operator, &frame(at, -(at as i16)));
                // Several records: the recorder writes four times a second.
                std::thread::sleep(Duration::from_millis(u64::from(at % 500 == 0) * 300));
            }
        });
        let file = folder.path().join(&notices.last().expect("a notice").file);
        let exported = folder.path().join("export.wav");
        export(&file, key.as_ref(), &exported).expect("exported");
        let exported = std::fs::read(exported).expect("read");
        let sound = Sound::open(&file, key.as_ref()).expect("opened");
        assert_eq!(sound.length(), exported.len() as u64);
        assert_eq!(sound.whole().expect("read"), exported);
        for from in (0..exported.len()).step_by(777) {
            let piece = sound.read(from as u64, 1_000).expect("read");
            assert!(
                !piece.is_empty() && exported[from..].starts_with(&piece),
                "{sealed} {from}"
            );
        }
        assert!(sound.read(sound.length(), 9).expect("the end").is_empty());
    }
}

#[test]
fn a_sealed_recording_that_was_cut_changed_or_is_anothers_is_not_played() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = |name: &str| {
        let path = folder.path().join(name);
        Key::create(&path).expect("made");
        Key::read(&path).expect("a key")
    };
    let (ours, other) = (key("ours"), key("other"));
    let notices = recorded(folder.path(), Some(ours.clone()), |tape| {
        for at in (0..1_000).step_by(20) {
            tape.take(Leg::Caller, &frame(at, 100));
            tape.take(Leg::Operator, &frame(at, 100));
        }
    });
    let file = folder.path().join(&notices.last().expect("a notice").file);
    let whole = std::fs::read(&file).expect("read");
    let refused = |key: Option<&Key>| match Sound::open(&file, key) {
        Ok(sound) => sound.whole().is_err(),
        Err(_) => true,
    };
    assert!(!refused(Some(&ours)));
    assert!(refused(Some(&other)) && refused(None));
    for length in [0, 20, 30, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).expect("written");
        assert!(refused(Some(&ours)), "cut to {length}");
    }
    let mut changed = whole;
    changed[40] ^= 1;
    std::fs::write(&file, changed).expect("written");
    assert!(refused(Some(&ours)), "changed");
    assert!(
        Sound::open(&folder.path().join("absent.wav"), None).is_err_and(|error| error.is_absent())
    );
}
