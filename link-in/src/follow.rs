//! Follows a session: computes tempo changes, starts and stops from the polled position of the session.
//!
//! Pure, in frames of the stack. The position of the stack is known exactly, since a sequence is computed from the frame
//! and the tempo of its start. Before each beat the follower compares the next downbeat of the stack with that of the
//! session; if they differ, it sets the tempo from that beat on with which both meet. The same rule covers a new tempo,
//! the drift of two clocks, and changes missed by a killed predecessor. After a jump of the session all sequences
//! restart with its next downbeat.

use serde::{Deserialize, Serialize};

/// The beats from one downbeat to the next.
pub const QUANTUM: f64 = 4.0;
/// The seconds from a message to the first frame at which its effect is certain.
const AHEAD: f64 = 0.02;
/// The seconds before that in which a beat is examined: several polls, so that one may be late.
const WINDOW: f64 = 0.04;
/// The seconds by which a tempo precedes its beat, so that it is in force when the step begins, regardless of rounding;
/// shorter than a step.
const BEFORE: f64 = 0.003;
/// The tolerated distance of a downbeat from the session's, in seconds: the precision of time tags.
const NEAR: f64 = 0.000_5;
/// The distance from the session in beats that counts as a jump: more than a beat that is played at the old tempo while
/// the session halves or doubles its tempo.
const JUMP: f64 = 1.1;
/// The greatest correction, as a fraction of the remaining beats, to meet the session at the next downbeat; otherwise
/// at the one after it, so that no tempo differs from the session's by more than a third.
const STRETCH: f64 = 0.25;
/// The seconds with peers before the session counts: a new member does not know its full state.
const SETTLED: f64 = 1.0;
/// The range of a session's tempo.
const BPM: (f64, f64) = (20.0, 999.0);

/// The state of a session at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// The number of other members.
    pub peers: u64,
    /// The frame that is heard now, with its fraction.
    pub frame: f64,
    /// The first frame that is not rendered yet.
    pub open: f64,
    /// The beat that is heard now; multiples of [`QUANTUM`] are downbeats.
    pub beat: f64,
    /// The tempo in BPM.
    pub bpm: f64,
    /// Whether the session plays.
    pub playing: bool,
    /// The frame of the last or next change of `playing`.
    pub since: f64,
}

/// A message to the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    /// The tempo in BPM, from the next step on.
    Tempo(f64),
    /// Start all sequences from the beginning.
    Start,
    /// Stop all sequences.
    Stop,
}

/// The messages sent to the stack so far, as a successor needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The tempo in BPM; 0 before the first message.
    pub bpm: f64,
    /// During playback: the frame and the whole beat from which on the tempo is in force.
    from: Option<(f64, f64)>,
}

/// Follows a session.
pub struct Follower {
    rate_hz: f64,
    told: Told,
    /// The frame since which the session has peers.
    met: Option<f64>,
}

impl Told {
    /// Whether the last message was a start and not a stop.
    pub const fn plays(&self) -> bool {
        self.from.is_some()
    }
}

impl Session {
    /// The beat at a frame, at a constant tempo.
    fn beat_at(&self, frame: f64, rate_hz: f64) -> f64 {
        self.beat + (frame - self.frame) / beats(1.0, self.bpm, rate_hz)
    }

    /// The first frame from `frame` on whose beat is a multiple of `every`, and its beat.
    fn next(&self, frame: f64, every: f64, rate_hz: f64) -> (f64, f64) {
        let beat = (self.beat_at(frame, rate_hz) / every).ceil() * every;
        (
            self.frame + beats(beat - self.beat, self.bpm, rate_hz),
            beat,
        )
    }
}

impl Follower {
    /// Continues after earlier messages.
    pub const fn new(rate_hz: u32, told: Told) -> Self {
        Self {
            rate_hz: rate_hz as f64,
            told,
            met: None,
        }
    }

    /// The messages sent to the stack so far.
    pub const fn told(&self) -> Told {
        self.told
    }

    /// Sends the due messages with their frames; called a hundred times a second.
    pub fn follow(&mut self, session: &Session, mut say: impl FnMut(Said, f64)) {
        let Session { peers, frame, .. } = *session;
        if peers == 0 || !(BPM.0..=BPM.1).contains(&session.bpm) {
            // Without peers nothing changes.
            self.met = None;
            return;
        }
        if frame - *self.met.get_or_insert(frame) < SETTLED * self.rate_hz {
            return;
        }
        let soon = session.open + AHEAD * self.rate_hz;
        let late = soon + WINDOW * self.rate_hz;
        match (session.playing, self.told.from) {
            (true, None) => self.start(session, soon, late, &mut say),
            (true, Some(from)) => self.keep_up(session, from, soon, late, &mut say),
            (false, Some((from, _))) if session.since < late => {
                // Not before a start in progress.
                say(Said::Stop, soon.max(session.since).max(from + 1.0).ceil());
                self.told.from = None;
            }
            (false, _) => self.wait(session, soon, late, &mut say),
        }
    }

    /// Starts with the session's next downbeat.
    fn start(&mut self, session: &Session, soon: f64, late: f64, say: &mut impl FnMut(Said, f64)) {
        let near = NEAR * self.rate_hz;
        let (frame, beat) = session.next(soon.max(session.since - near), QUANTUM, self.rate_hz);
        if frame >= late {
            return;
        }
        self.tell(session.bpm, frame, say);
        say(Said::Start, frame.round());
        self.told.from = Some((frame.round(), beat));
    }

    /// Adopts the tempo, once a beat, while no sequence plays that Link has started.
    fn wait(&mut self, session: &Session, soon: f64, late: f64, say: &mut impl FnMut(Said, f64)) {
        let (frame, _) = session.next(soon, 1.0, self.rate_hz);
        if frame < late {
            self.tell(session.bpm, frame, say);
        }
    }

    /// Meets the session at its next downbeat.
    fn keep_up(
        &mut self,
        session: &Session,
        from: (f64, f64),
        soon: f64,
        late: f64,
        say: &mut impl FnMut(Said, f64),
    ) {
        let long = |count: f64, bpm: f64| beats(count, bpm, self.rate_hz);
        let beat = (from.1 + (soon - from.0) / long(1.0, self.told.bpm)).ceil();
        let beat = beat.max(from.1);
        let frame = (from.0 + long(beat - from.1, self.told.bpm)).round();
        if frame >= late {
            return;
        }
        // The lead of the session, regardless of the number of its bar.
        let ahead = session.beat_at(frame, self.rate_hz) - beat;
        let ahead = ahead - (ahead / QUANTUM).round() * QUANTUM;
        if ahead.abs() > JUMP {
            self.told.from = None;
            return;
        }
        let mut left = QUANTUM - beat.rem_euclid(QUANTUM);
        if ahead.abs() > left * STRETCH {
            left += QUANTUM;
        }
        let theirs = long(left - ahead, session.bpm);
        let meets = |bpm: f64| (long(left, bpm) - theirs).abs() <= NEAR * self.rate_hz;
        if meets(self.told.bpm) {
            return;
        }
        let bpm = match meets(session.bpm) {
            true => session.bpm,
            false => beats(left, 1.0, self.rate_hz) / theirs,
        };
        self.tell(bpm.clamp(BPM.0, BPM.1), frame, say);
        self.told.from = Some((frame, beat));
    }

    /// Sends a changed tempo from a frame on, in thousandths of a BPM as in a sequence.
    fn tell(&mut self, bpm: f64, frame: f64, say: &mut impl FnMut(Said, f64)) {
        let bpm = (bpm * 1_000.0).round() / 1_000.0;
        if bpm != self.told.bpm {
            say(Said::Tempo(bpm), (frame - BEFORE * self.rate_hz).round());
            self.told.bpm = bpm;
        }
    }
}

/// The number of frames of `count` beats.
fn beats(count: f64, bpm: f64, rate_hz: f64) -> f64 {
    count * 60.0 * rate_hz / bpm
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;
    const HZ: f64 = RATE as f64;
    /// The lead: eight blocks.
    const OPEN: f64 = 1_152.0;

    /// A session in a test: a line of beats, and the messages with their frames.
    struct World {
        follower: Follower,
        session: Session,
        said: Vec<(Said, f64)>,
        /// Frames by which the next polls are late.
        jitter: [f64; 5],
        polls: usize,
    }

    impl World {
        /// Peers at that tempo, known for long.
        fn at(bpm: f64) -> Self {
            let mut world = Self {
                follower: Follower::new(RATE, Told::default()),
                session: Session {
                    peers: 1,
                    frame: 0.0,
                    open: OPEN,
                    beat: 0.7,
                    bpm,
                    playing: false,
                    since: 0.0,
                },
                said: Vec::new(),
                jitter: [0.0; 5],
                polls: 0,
            };
            world.play(2.5);
            world
        }

        /// Polls for that long, 10 ms and some jitter apart.
        fn play(&mut self, seconds: f64) {
            let end = self.session.frame + seconds * HZ;
            while self.session.frame < end {
                let step = 480.0 + self.jitter[self.polls % self.jitter.len()];
                self.polls += 1;
                self.session.beat = self.session.beat_at(self.session.frame + step, HZ);
                self.session.frame += step;
                self.session.open = self.session.frame + OPEN;
                let said = &mut self.said;
                self.follower.follow(&self.session, |what, frame| {
                    assert!(frame >= self.session.open, "{what:?} comes too late");
                    said.push((what, frame));
                });
            }
        }

        fn set_playing(&mut self, playing: bool) {
            (self.session.playing, self.session.since) = (playing, self.session.frame);
        }

        fn said(&mut self) -> Vec<Said> {
            self.said.drain(..).map(|(said, _)| said).collect()
        }

        /// Frames by which the stack's beats are off the session's, from that frame on until now, at worst.
        fn off(&self, from: f64) -> f64 {
            let beats = onsets(&self.said, self.session.frame);
            let off = |(count, frame): (usize, u64)| {
                let theirs = self.session.beat_at(frame as f64, HZ);
                let off = theirs - count as f64;
                let bars = (off / QUANTUM).round() * QUANTUM;
                super::beats((off - bars).abs(), self.session.bpm, HZ)
            };
            let late = beats.into_iter().filter(|(_, frame)| *frame as f64 >= from);
            let late: Vec<f64> = late.map(off).collect();
            assert!(!late.is_empty(), "nothing plays");
            late.into_iter().fold(0.0, f64::max)
        }
    }

    /// What a sequence of sixteenths makes of it, in the engine's own way: the number and frame of each beat
    /// since it last started.
    fn onsets(said: &[(Said, f64)], end: f64) -> Vec<(usize, u64)> {
        let mut events = said.iter().peekable();
        let (mut wanted, mut bpm, mut origin, mut number) = (120_000_u64, 0, 0, 0_u64);
        let (mut boundary, mut step, mut found) = (u64::MAX, 0, Vec::new());
        loop {
            let event = events.peek().map_or(u64::MAX, |(_, frame)| *frame as u64);
            if event.min(boundary) >= end as u64 {
                return found;
            }
            if event <= boundary {
                match events.next() {
                    Some((Said::Tempo(tempo), _)) => wanted = (tempo * 1_000.0).round() as u64,
                    Some((Said::Start, _)) => {
                        (bpm, origin, number, boundary) = (wanted, event, 0, event);
                        step = 0;
                        found.clear();
                    }
                    _ => boundary = u64::MAX,
                }
                continue;
            }
            if wanted != bpm {
                (bpm, origin, number) = (wanted, boundary, 0);
            }
            if step % 4 == 0 {
                found.push((step / 4, boundary));
            }
            (step, number) = (step + 1, number + 1);
            let frames = number * 240_000 * u64::from(RATE);
            boundary = origin + (2 * frames + bpm * 16) / (2 * bpm * 16);
        }
    }

    #[test]
    fn the_tempo_is_told_once_and_again_when_it_changes() {
        let mut world = World::at(123.0);
        assert_eq!(world.said(), [Said::Tempo(123.0)]);
        world.play(60.0);
        assert_eq!(world.said(), []);
        world.session.bpm = 90.1234;
        world.play(1.0);
        assert_eq!(world.said(), [Said::Tempo(90.123)]);
    }

    #[test]
    fn it_starts_with_the_next_downbeat_and_stops_at_once() {
        let mut world = World::at(123.0);
        for beat in [0.1, 1.0, 3.9] {
            world.said.clear();
            world.session.beat = 16.0 + beat;
            world.set_playing(true);
            let begun = world.session.frame;
            world.play(3.0);
            assert_eq!(world.said.len(), 1, "{:?}", world.said);
            let (Said::Start, frame) = world.said[0] else {
                panic!("{:?}", world.said);
            };
            let wait = frame - begun - beats(4.0 - beat, 123.0, HZ);
            // A start too late for a downbeat waits for the next one.
            let late = if beat > 3.8 {
                beats(4.0, 123.0, HZ)
            } else {
                0.0
            };
            assert!((wait - late).abs() <= 1.0, "{beat}: {wait}");
            world.set_playing(false);
            let end = world.session.frame;
            world.play(0.05);
            assert!(matches!(world.said[1], (Said::Stop, at) if at - end < 3_000.0));
        }
    }

    #[test]
    fn one_that_is_stopped_before_it_has_started_stays_silent() {
        let mut world = World::at(120.0);
        world.set_playing(true);
        while !world.follower.told().plays() {
            world.play(0.01);
        }
        world.set_playing(false);
        world.play(4.0);
        let [.., (Said::Start, start), (Said::Stop, stop)] = world.said[..] else {
            panic!("{:?}", world.said);
        };
        assert!(stop > start);
    }

    #[test]
    fn what_is_to_begin_later_waits() {
        let mut world = World::at(120.0);
        world.said.clear();
        world.set_playing(true);
        // In the very frame of a downbeat, as far as numbers go.
        let (frame, _) = world
            .session
            .next(world.session.frame + 5.0 * HZ, QUANTUM, HZ);
        world.session.since = frame + 0.01;
        world.play(10.0);
        assert_eq!(world.said, [(Said::Start, frame.round())]);
    }

    #[test]
    fn polls_that_come_when_they_like_change_nothing() {
        let mut world = World::at(174.3);
        world.set_playing(true);
        world.jitter = [0.0, 1_000.0, 200.5, 0.25, 1_300.0];
        world.play(120.0);
        assert_eq!(world.said.len(), 2, "{:?}", world.said);
        assert!(world.off(0.0) < 2.0, "{}", world.off(0.0));
    }

    #[test]
    fn a_new_tempo_is_met_at_the_downbeat_and_kept() {
        for bpm in [61.0, 100.0, 119.9, 120.01, 124.0, 140.0, 175.0, 240.0] {
            for wait in [8.0, 8.13, 8.4, 8.77, 9.2, 9.6] {
                let mut world = World::at(120.0);
                world.set_playing(true);
                world.play(wait);
                world.session.bpm = bpm;
                let changed = world.session.frame;
                world.play(20.0);
                let met = changed + beats(7.0, bpm.min(120.0), HZ);
                assert!(world.off(met) <= 26.0, "{bpm} {wait}: {}", world.off(met));
                let starts = world.said.iter().filter(|(said, _)| *said == Said::Start);
                assert_eq!(starts.count(), 1);
                assert!(world.said.len() < 8, "{:?}", world.said);
                assert!((world.follower.told().bpm - bpm).abs() < 0.06);
            }
        }
    }

    #[test]
    fn a_tempo_that_glides_is_followed() {
        let mut world = World::at(100.0);
        world.set_playing(true);
        world.play(5.0);
        for _ in 0..200 {
            world.session.bpm += 0.2;
            world.play(0.05);
        }
        let there = world.session.frame;
        world.play(10.0);
        let off = world.off(there + beats(7.0, 100.0, HZ));
        assert!(off <= 26.0, "{off}");
        let starts = world.said.iter().filter(|(said, _)| *said == Said::Start);
        assert_eq!(starts.count(), 1);
    }

    #[test]
    fn two_clocks_that_drift_stay_together() {
        let mut world = World::at(128.0);
        world.set_playing(true);
        world.play(5.0);
        let mut worst: f64 = 0.0;
        for _ in 0..300 {
            // A hundred parts in a million: in a second 0.1 ms.
            world.session.beat += 1e-4 * 128.0 / 60.0;
            world.play(1.0);
            worst = worst.max(world.off(world.session.frame - 0.9 * HZ));
        }
        // 1 ms, plus the drift of a bar.
        assert!(worst < 60.0, "{worst}");
        assert!(world.said.len() < 130, "{}", world.said.len());
    }

    #[test]
    fn a_session_that_jumps_is_joined_at_its_next_downbeat() {
        let mut world = World::at(120.0);
        world.set_playing(true);
        world.play(10.0);
        world.said.clear();
        world.session.beat += 1.7;
        let jumped = world.session.frame;
        world.play(6.0);
        let (Said::Start, frame) = world.said[0] else {
            panic!("{:?}", world.said);
        };
        assert_eq!(world.said.len(), 1);
        assert!(frame - jumped < beats(5.0, 120.0, HZ));
        assert!(world.off(frame) < 2.0, "{}", world.off(frame));
        // Whole bars are no jump.
        world.said.clear();
        world.session.beat += 8.0;
        world.play(6.0);
        assert_eq!(world.said(), []);
    }

    #[test]
    fn nobody_is_followed_who_is_alone_or_has_just_come() {
        let mut world = World::at(120.0);
        world.set_playing(true);
        world.play(6.0);
        world.said.clear();
        world.session.peers = 0;
        world.session.playing = false;
        world.session.bpm = 99.0;
        world.play(5.0);
        assert_eq!(world.said(), []);
        // Its state before joining is not that of the session.
        world.session.peers = 2;
        world.play(0.9);
        assert_eq!(world.said(), []);
        world.play(0.2);
        assert_eq!(world.said(), [Said::Stop]);
    }

    #[test]
    fn a_successor_goes_on_where_the_killed_one_was() {
        let mut world = World::at(120.0);
        world.set_playing(true);
        world.play(8.0);
        let told = world.follower.told();
        // Meanwhile the tempo changes a little; another life counts other bars.
        world.session.bpm = 122.0;
        let before = world.session.frame;
        let silent = std::mem::replace(&mut world.session.peers, 0);
        world.play(1.0);
        world.session.peers = silent;
        world.session.beat -= 12.0;
        world.follower = Follower::new(RATE, told);
        world.play(10.0);
        let starts = world.said.iter().filter(|(said, _)| *said == Said::Start);
        assert_eq!(starts.count(), 1);
        let off = world.off(before + 6.0 * HZ);
        assert!(off <= 26.0, "{off}");
    }

    #[test]
    fn a_tempo_that_is_none_is_not_followed() {
        let mut world = World::at(120.0);
        world.said.clear();
        for bpm in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            world.session.bpm = bpm;
            let session = world.session;
            world
                .follower
                .follow(&session, |said, _| panic!("{said:?}"));
        }
    }
}
