//! Speakers and ears: a patch that is far too loud, has DC and is muted at times stays within -0.2 dBFS, and kills
//! meanwhile change no sample.
//!
//! `UNDERSTUDY_KILLS` is the number of kills (default 12).

use std::time::Duration;

use anyhow::Result;
use common::message::Target;
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, count_of, number},
};

/// A tone that is eight times too loud, with DC. At 100 times its level it is muted.
const LOUD: &str = r#"{"version": 1, "modules": [
    {"id": "tone", "type": "sine", "params": {"freq": 200, "gain": 1}},
    {"id": "loud", "type": "math", "params": {"op": 2, "offset_b": 8}},
    {"id": "dc", "type": "math", "params": {"op": 0, "offset_b": 0.5}},
    {"id": "out", "type": "out"}],
    "cables": [{"from": "tone", "to": "loud"}, {"from": "loud", "to": "dc"}, {"from": "dc", "to": "out"}]}"#;
/// -0.2 dBFS.
const CEILING: f32 = 0.977_237_2;

#[test]
fn nothing_is_too_loud_whoever_is_killed_and_status_says_what_was_removed() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 12);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("loud.json");
    std::fs::write(&file, LOUD)?;
    let file = file.display().to_string();
    let (stack, recording) = Stack::start_wav(&["--patch", &file])?;
    let mut random = Random::seeded(16);
    // More than a second, after which the DC has been removed.
    std::thread::sleep(Duration::from_millis(1_800));
    let status = stack.status()?;
    let removed = |name: &str| status[name].as_f64().unwrap_or(0.0);
    let (limited_db, dc) = (removed("limited_db"), removed("dc_removed"));
    let samples = number(&status, "/limited_samples")?;
    for kill in 0..kills {
        stack.wait_protected()?;
        // Mute the output, and after a random time return to the former level.
        stack.osc_send("/mod/loud/offset_b", Some(100.0))?;
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        stack.kill(if kill % 2 == 0 {
            Target::Leader
        } else {
            Target::Follower
        })?;
        stack.osc_send("/mod/loud/offset_b", Some(8.0))?;
        std::thread::sleep(Duration::from_millis(100 + random.below(300)));
    }
    stack.wait_protected()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let heard = ear::read_wav(&recording.wav)?;
    let (peak, over) = (
        ear::peak(&heard),
        heard.iter().filter(|x| x.abs() > CEILING).count(),
    );
    println!(
        "FIGURE a tone 18 dB too loud with DC, muted {kills} times, a worker killed each time: peak {peak:.4}, {over} samples beyond -0.2 dBFS; {differing} of {compared} differ from the replay; before the kills limited_db {limited_db}, limited_samples {samples}, dc_removed {dc}"
    );
    assert_eq!((over, differing), (0, 0));
    assert!(peak > 0.9, "{peak}");
    // Eight times half of full scale is 18.8 dB above the ceiling; the high-pass removes a little of the tone itself.
    assert!((18.0..19.2).contains(&limited_db), "{limited_db}");
    assert!(
        samples > 10_000 && (0.3..0.7).contains(&dc),
        "{samples} {dc}"
    );
    Ok(())
}
