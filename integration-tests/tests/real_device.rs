//! Real device paths without a sound card: PulseAudio, PipeWire and JACK. Workers are killed; devices come,
//! go and stall; servers die. What the device received is compared with the replay, sample by sample.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use common::{
    message::{Request, Target},
    recording::Wish,
};
use integration_tests::{
    ear,
    sound_server::{Kind, Place, Recorder, Server},
    stack::{Remains, Stack, count_of, number, text},
};
use serde_json::Value;

/// Samples of a fade-in: two channels of 7 ms. After a gap, the output differs from the replay by a fade-in.
const FADE: usize = 2 * 336;

/// A recording of what the device receives.
struct Handed {
    from: usize,
}

impl Handed {
    fn begin(stack: &Stack) -> Result<Self> {
        let begun = stack.ask(&Request::Record(Wish::Start(Some("handed.wav".into()))))?;
        let from = number(&begun, "/from_frame")? as usize;
        Ok(Self { from })
    }

    /// How many samples were compared with the replay, how many differ, and how many breaks the tone has.
    fn compare(&self, remains: &Remains) -> Result<(usize, usize, usize)> {
        let handed = ear::read_wav(&remains.recordings().join("handed.wav"))?;
        let mut replayed = Vec::new();
        remains.replay(|block| replayed.extend_from_slice(block))?;
        let expected = replayed
            .get(2 * self.from..)
            .context("so much was played")?;
        ensure!(
            expected.len() >= handed.len(),
            "{} samples were handed over, the log renders {}",
            handed.len(),
            expected.len()
        );
        let differing = ear::differing(&handed, expected);
        let left: Vec<f32> = handed.iter().step_by(2).copied().collect();
        ensure!(
            left.len() > 24_000 && ear::peak(&left) > 0.3,
            "no tone was handed over"
        );
        let breaks = ear::breaks(&left, 440.0, 48_000.0);
        Ok((handed.len(), differing, breaks.len()))
    }
}

/// How often a device was opened again.
fn reopened(log: &str) -> usize {
    log.matches("is open again").count()
}

fn sink(status: &Value) -> &str {
    status["audio"]["sink"].as_str().unwrap_or_default()
}

/// Starts a stack that finds its device by itself, with a tone.
fn playing(place: &Place, kind: Kind) -> Result<Stack> {
    let stack = place.stack(&["--sink", "auto"])?;
    let status = stack.status()?;
    let through = format!("through {}", kind.name());
    ensure!(
        sink(&status).ends_with(&through),
        "it plays to {}, not {through}\n{}",
        sink(&status),
        stack.log()
    );
    stack.osc_send("/test", None)?;
    stack.wait_protected()?;
    sleep(Duration::from_millis(500));
    Ok(stack)
}

/// The breaks in what the device received, and how often the device was opened again; both must be 0.
fn twenty_kills(kind: Kind) -> Result<(usize, usize)> {
    let place = Place::new(kind)?;
    let server = place.serve(48_000)?;
    let stack = playing(&place, kind)?;
    let recorder = match kind {
        Kind::Jack => None,
        _ => Some(Recorder::start(&server, "vout")?),
    };
    let handed = Handed::begin(&stack)?;
    for kill in 0..20 {
        stack.wait_protected()?;
        sleep(Duration::from_millis(53));
        stack.kill(if kill % 2 == 0 {
            Target::Leader
        } else {
            Target::Follower
        })?;
    }
    stack.wait_protected()?;
    sleep(Duration::from_millis(500));
    let status = stack.status()?;
    let heard = recorder.map(Recorder::heard).transpose()?;
    stack.ask(&Request::Record(Wish::Stop))?;
    let log = stack.log();
    let remains = stack.down()?;
    let (samples, differing, breaks) = handed.compare(&remains)?;
    // The server has no real-time priority and may lose samples on a busy machine: its output is printed, not
    // asserted.
    let at_its_end = heard.map_or("not listened to".into(), |heard| {
        let breaks = ear::breaks(&heard, 440.0, 48_000.0).len();
        format!("{breaks} in {} samples", heard.len())
    });
    println!(
        "FIGURE kills 20 through {}: breaks in what was handed over {breaks}, samples that differ from the replay {differing} of {samples}, opened again {}, device gaps {}, underruns {}, concealed {}, clipped {}, device burst {} blocks; breaks at the server's end {at_its_end}",
        sink(&status),
        reopened(&log),
        status["audio"]["device_gaps"],
        status["audio"]["underruns"],
        status["audio"]["concealed_blocks"],
        status["audio"]["clipped_samples"],
        status["audio"]["device_burst_blocks"]
    );
    if differing + breaks + reopened(&log) > 0 {
        println!("{log}");
    }
    assert_eq!(number(&status, "/audio/underruns")?, 0);
    assert_eq!(differing, 0);
    Ok((breaks, reopened(&log)))
}

#[test]
fn twenty_kills_through_a_device_cannot_be_heard() -> Result<()> {
    for _ in 0..count_of("UNDERSTUDY_DEVICE_RUNS", 1) {
        for kind in Kind::ALL {
            assert_eq!(twenty_kills(kind)?, (0, 0), "{}", kind.name());
        }
    }
    Ok(())
}

#[test]
fn no_start_opens_the_device_twice() -> Result<()> {
    let starts = count_of("UNDERSTUDY_DEVICE_STARTS", 1);
    for kind in Kind::ALL {
        let (mut again, mut gaps, mut errors) = (0, 0, 0);
        for start in 0..starts {
            let place = Place::new(kind)?;
            let _server = place.serve(48_000)?;
            let stack = place.stack(&["--sink", "auto"])?;
            let status = stack.status()?;
            // `up` has waited for a second of sound, whose first buffer is silence.
            let played = number(&status, "/audio/play_cursor")?;
            ensure!(
                played >= 45_000 / 128 && sink(&status).contains(kind.name()),
                "start {start}: {played} blocks have been played on {}",
                sink(&status)
            );
            sleep(Duration::from_millis(700));
            let (status, log) = (stack.status()?, stack.log());
            again += reopened(&log);
            errors += log.matches(" times)").count();
            gaps += number(&status, "/audio/device_gaps")?;
            stack.down()?;
        }
        println!(
            "FIGURE {starts} starts through {}: opened again {again}, device gaps {gaps}, lines of errors {errors}",
            kind.name()
        );
        assert_eq!(again, 0, "{}", kind.name());
    }
    Ok(())
}

/// Waits until the stack's stream is on that sink and the cursor has advanced by half a second.
fn moves_to(stack: &Stack, server: &Server, sink: &str) -> Result<()> {
    let mut from = None;
    stack.wait_for(&format!("the sound on {sink}"), |status| {
        if server.stream_is_on().ok().as_deref() != Some(sink) || status["state"] != "protected" {
            from = None;
            return false;
        }
        let now = status["audio"]["play_cursor"].as_u64().unwrap_or(0);
        now > *from.get_or_insert(now) + 180
    })
}

#[test]
fn the_sound_follows_the_default_device() -> Result<()> {
    for kind in [Kind::PulseAudio, Kind::PipeWire] {
        let place = Place::new(kind)?;
        let server = place.serve(48_000)?;
        let stack = playing(&place, kind)?;
        let before = stack.pid("audio-out")?;
        let handed = Handed::begin(&stack)?;
        moves_to(&stack, &server, "vout")?;
        server.add_sink("phones")?;
        server.pactl(&["set-default-sink", "phones"])?;
        moves_to(&stack, &server, "phones").context("plugged in")?;
        stack.kill(Target::Leader)?;
        server.remove_sink("phones")?;
        moves_to(&stack, &server, "vout").context("unplugged")?;
        // The last device is removed; another one is added.
        server
            .remove_sink("vout")
            .or_else(|_| remove_default(&server))?;
        sleep(Duration::from_millis(1_500));
        server.add_sink("usb")?;
        moves_to(&stack, &server, "usb").context("another one")?;
        let (status, log) = (stack.status()?, stack.log());
        let after = stack.pid("audio-out")?;
        stack.ask(&Request::Record(Wish::Stop))?;
        let (samples, differing, _) = handed.compare(&stack.down()?)?;
        println!(
            "FIGURE default device changed, unplugged, gone and back through {}: opened again {}, device gaps {} (the last {} ms), underruns {}, samples that differ from the replay but for fades {} of {samples}",
            kind.name(),
            reopened(&log),
            status["audio"]["device_gaps"],
            status["audio"]["last_gap_ms"],
            status["audio"]["underruns"],
            differing.saturating_sub(FADE * reopened(&log))
        );
        assert!(
            differing <= FADE * reopened(&log),
            "{differing} differ\n{log}"
        );
        assert_eq!(after, before, "the same audio-out\n{log}");
    }
    Ok(())
}

/// Removes the null sink with which a PulseAudio server was started.
fn remove_default(server: &Server) -> Result<()> {
    server.pactl(&["unload-module", "module-null-sink"])?;
    Ok(())
}

#[test]
fn a_named_device_is_played_on_again_when_it_is_back() -> Result<()> {
    for (kind, name) in [
        (Kind::PulseAudio, "device:pulseaudio:usb"),
        (Kind::PipeWire, "device:pipewire:usb"),
    ] {
        let place = Place::new(kind)?;
        let server = place.serve(48_000)?;
        server.add_sink("usb")?;
        let stack = place.stack(&["--sink", name])?;
        stack.osc_send("/test", None)?;
        moves_to(&stack, &server, "usb")?;
        let before = stack.pid("audio-out")?;
        let handed = Handed::begin(&stack)?;
        sleep(Duration::from_millis(600));
        server.remove_sink("usb")?;
        sleep(Duration::from_millis(1_500));
        let meanwhile = sink(&stack.status()?).to_owned();
        server.add_sink("usb")?;
        moves_to(&stack, &server, "usb").context("it is back")?;
        let (status, log) = (stack.status()?, stack.log());
        let after = stack.pid("audio-out")?;
        stack.ask(&Request::Record(Wish::Stop))?;
        let (samples, differing, _) = handed.compare(&stack.down()?)?;
        println!(
            "FIGURE {name} unplugged and back: meanwhile \"{meanwhile}\", opened again {}, device gaps {}, last {} ms, samples that differ from the replay but for fades {} of {samples}",
            reopened(&log),
            status["audio"]["device_gaps"],
            status["audio"]["last_gap_ms"],
            differing.saturating_sub(FADE * reopened(&log))
        );
        assert!(
            differing <= FADE * reopened(&log),
            "{differing} differ\n{log}"
        );
        assert_eq!(after, before, "the same audio-out\n{log}");
    }
    Ok(())
}

#[test]
fn a_server_that_stalls_makes_a_gap_that_is_counted_and_is_not_opened_again() -> Result<()> {
    for kind in Kind::ALL {
        let place = Place::new(kind)?;
        let server = place.serve(48_000)?;
        let stack = playing(&place, kind)?;
        let handed = Handed::begin(&stack)?;
        let gaps = |status: &Value| number(status, "/audio/device_gaps").unwrap_or(0);
        let before = gaps(&stack.status()?);
        for _ in 0..2 {
            sleep(Duration::from_millis(1_000));
            server.freeze(true)?;
            sleep(Duration::from_millis(300));
            server.freeze(false)?;
        }
        stack.wait_for("the gaps to be counted", |status| {
            gaps(status) >= before + 2
        })?;
        let (status, log) = (stack.status()?, stack.log());
        stack.ask(&Request::Record(Wish::Stop))?;
        let (samples, differing, _) = handed.compare(&stack.down()?)?;
        println!(
            "FIGURE {} stalled twice for 300 ms: device gaps {}, the last {} ms, opened again {}, underruns {}, samples that differ from the replay {differing} of {samples}",
            kind.name(),
            gaps(&status) - before,
            status["audio"]["last_gap_ms"],
            reopened(&log),
            status["audio"]["underruns"],
        );
        assert_eq!((reopened(&log), differing), (0, 0), "{log}");
        assert_eq!(number(&status, "/audio/underruns")?, 0);
    }
    Ok(())
}

#[test]
fn a_sound_server_that_goes_away_is_waited_for() -> Result<()> {
    for kind in Kind::ALL {
        let place = Place::new(kind)?;
        let mut server = place.serve(48_000)?;
        let stack = playing(&place, kind)?;
        let before = stack.pid("audio-out")?;
        let handed = Handed::begin(&stack)?;
        let gone = |status: &Value| sink(status).contains("gone");
        for round in 0..2 {
            sleep(Duration::from_millis(600));
            drop(server);
            stack.wait_for("the state to say so", |s| s["state"] == "silent" && gone(s))?;
            let stopped = number(&stack.status()?, "/audio/play_cursor")?;
            // A worker may die meanwhile.
            stack.kill(Target::Leader)?;
            sleep(Duration::from_millis(300));
            let later = number(&stack.status()?, "/audio/play_cursor")?;
            assert_eq!(later, stopped, "nothing is played without a device");
            if kind == Kind::Jack && round == 1 {
                // At another rate, which nothing between JACK and the stack would convert.
                server = place.serve(44_100)?;
                stack.wait_for("what to do", |s| sink(s).contains("--rate 44100"))?;
                drop(server);
            }
            server = place.serve(48_000)?;
            stack.wait_for("sound again", |s| s["state"] == "protected" && !gone(s))?;
        }
        let (status, log) = (stack.status()?, stack.log());
        let after = stack.pid("audio-out")?;
        stack.ask(&Request::Record(Wish::Stop))?;
        let (samples, differing, _) = handed.compare(&stack.down()?)?;
        drop(server);
        println!(
            "FIGURE {} stopped and started twice, a leader killed each time: opened again {}, device gaps {}, the last {} ms, samples that differ from the replay but for fades {} of {samples}",
            kind.name(),
            reopened(&log),
            status["audio"]["device_gaps"],
            status["audio"]["last_gap_ms"],
            differing.saturating_sub(FADE * reopened(&log))
        );
        assert!(
            differing <= FADE * reopened(&log),
            "{differing} differ\n{log}"
        );
        assert!(number(&status, "/audio/device_gaps")? >= 2, "{log}");
        assert_eq!(after, before, "the same audio-out\n{log}");
    }
    Ok(())
}

#[test]
fn the_devices_are_listed_as_they_can_be_named() -> Result<()> {
    let place = Place::new(Kind::PulseAudio)?;
    let _server = place.serve(48_000)?;
    let listed = place.understudy(&["devices", "--json"])?;
    let list: Value = serde_json::from_slice(&listed.stdout)
        .with_context(|| format!("{}{}", text(&listed.stdout), text(&listed.stderr)))?;
    let systems = list.as_array().context("a list")?;
    let pulse = systems.iter().find(|s| s["system"] == "PulseAudio");
    let device = &pulse.context("PulseAudio")?["devices"][0];
    assert_eq!(device["sink"], "device:pulseaudio:vout", "{list:#}");
    assert_eq!(device["default"], true, "{list:#}");
    let stack = place.stack(&["--sink", device["sink"].as_str().context("a sink")?])?;
    let status = stack.status()?;
    assert!(sink(&status).ends_with("through PulseAudio"), "{status:#}");
    let refused = place.stack(&["--sink", "device:speaker"]);
    let why = refused
        .err()
        .context("there is no such device")?
        .to_string();
    assert!(why.contains("no device \"speaker\" (expected"), "{why}");
    Ok(())
}
