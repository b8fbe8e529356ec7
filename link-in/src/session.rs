//! The session of the Link library, in frames of the stack; the only file that uses the library.

use common::{limits::safety_delay_frames, stage::Stage, time_tag::Timing, units::FrameIndex};
use platform::realtime::{ntp_now, timing};
use rusty_link::{AblLink, SessionState};

use crate::follow::{QUANTUM, Session, Told};

/// The tempo without any other source.
const BPM: f64 = 120.0;
/// The number of paired readings of two clocks, of which the closest pair is used.
const READINGS: usize = 4;

/// A listening member of the session.
pub struct Member {
    link: AblLink,
    state: SessionState,
    stage: Stage<'static>,
    timing: Option<Timing>,
}

impl Member {
    /// Joins a session; until one is found, the state of the predecessor holds. Members learn only changes between playing
    /// and stopped, so a new member must know the state.
    pub fn join(told: Told, stage: Stage<'static>) -> Self {
        let link = AblLink::new(if told.bpm > 0.0 { told.bpm } else { BPM });
        let mut state = SessionState::new();
        link.enable_start_stop_sync(true);
        if told.plays() {
            link.capture_app_session_state(&mut state);
            state.set_is_playing(true, link.clock_micros());
            link.commit_app_session_state(&state);
        }
        link.enable(true);
        Self {
            link,
            state,
            stage,
            timing: None,
        }
    }

    /// The current state of the session; `None` while the stack has no clock.
    pub fn listen(&mut self) -> Option<Session> {
        self.timing = timing(&self.stage);
        let timing = self.timing?;
        self.link.capture_app_session_state(&mut self.state);
        let (ntp, micros) = self.now();
        let format = self.stage.format();
        let rate_hz = f64::from(format.rate_hz);
        let open = timing.position(ntp);
        // The first unrendered block: lead and burst, plus the block that the device is about to take.
        let ahead = u64::from(self.stage.lead()) + self.stage.burst() + 1;
        // The delay from a frame to its sound.
        let delay = u64::from(safety_delay_frames(format.rate_hz));
        let frame = open - (ahead * u64::from(format.block_frames) + delay) as f64;
        let since_us = self.state.time_for_is_playing() - micros;
        Some(Session {
            peers: self.link.num_peers(),
            frame,
            open,
            beat: self.state.beat_at_time(micros, QUANTUM),
            bpm: self.state.tempo(),
            playing: self.state.is_playing(),
            since: frame + since_us as f64 * rate_hz / 1e6,
        })
    }

    /// The time tag of a frame, by the clock of [`Self::listen`].
    pub fn tag(&self, frame: f64) -> u64 {
        let frame = FrameIndex(frame.max(0.0) as u64);
        self.timing.map_or(0, |timing| timing.tag(frame))
    }

    /// The same moment by the wall clock and by Link: the closest pair of readings.
    fn now(&self) -> (u64, i64) {
        let reading = || {
            let (before, micros, after) = (ntp_now(), self.link.clock_micros(), ntp_now());
            let before = before.wrapping_add(self.stage.clock_set_by());
            let after = after.wrapping_add(self.stage.clock_set_by());
            (after.wrapping_sub(before), before, micros)
        };
        let best = (0..READINGS).map(|_| reading()).min();
        let (took, before, micros) = best.unwrap_or_else(reading);
        (before.wrapping_add(took / 2), micros)
    }
}
