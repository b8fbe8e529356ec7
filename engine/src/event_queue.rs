//! The event queue: events that wait for their frame, which may lie in the middle of a block.
//!
//! The queue is part of the arena, so that a replica restored from a checkpoint still has the waiting
//! events. The next event stands last, so taking it only shortens the queue. Events of the same frame are
//! taken in the order in which they were added. The engine also counts frames here, for the life of the
//! instance.

use common::{
    command::{Event, Expression, SequenceControl},
    units::FrameIndex,
};

use crate::changes;

/// The most events that may wait; when the queue is full, an event takes effect at once. A sender that
/// plans 200 ms ahead may send 5,000 events a second.
pub const WAITING_MAX: usize = 1_024;
/// Words of a waiting event: its frame, its kind with module and parameter, its values.
const ENTRY: usize = 3;
/// The next frame; the number of waiting events.
const CLOCK: usize = 0;
const COUNT: usize = 1;
/// Words before the events: one piece, so that only this piece changes in every block.
const HEAD: usize = common::checkpoint::PIECE_WORDS;
/// Words of the queue in the arena.
pub const EVENT_QUEUE_WORDS: usize = HEAD + WAITING_MAX * ENTRY;
/// The words that change only when an event is added or removed.
pub const INACTIVE: std::ops::Range<usize> = HEAD..EVENT_QUEUE_WORDS;

/// The event queue of an arena.
pub struct EventQueue<'a> {
    /// The queue, of length [`EVENT_QUEUE_WORDS`].
    words: &'a mut [u64],
    /// The queue's first word in the arena. `written` has a bit for each piece of the arena.
    first: usize,
    written: &'a mut [u64],
}

impl<'a> EventQueue<'a> {
    /// The queue that begins at the word `first` of an arena; `written` has a bit for each piece of the
    /// arena.
    pub fn of(arena: &'a mut [u64], first: usize, written: &'a mut [u64]) -> Self {
        Self {
            words: &mut arena[first..first + EVENT_QUEUE_WORDS],
            first,
            written,
        }
    }

    /// The next frame.
    pub fn clock(&self) -> FrameIndex {
        FrameIndex(self.words[CLOCK])
    }

    /// Counts frames that have been rendered.
    pub fn pass(&mut self, frames: u64) {
        self.words[CLOCK] += frames;
    }

    /// Gives the next frame the number `to`. Waiting events keep their distance.
    pub fn rebase(&mut self, to: FrameIndex) {
        let clock = std::mem::replace(&mut self.words[CLOCK], to.0);
        for entry in 0..self.count() {
            let frame = &mut self.words[HEAD + entry * ENTRY];
            *frame = frame.saturating_sub(clock).saturating_add(to.0);
        }
        self.mark(HEAD..HEAD + self.count() * ENTRY);
    }

    fn count(&self) -> usize {
        // The arena may hold any bits.
        (self.words[COUNT] as usize).min(WAITING_MAX)
    }

    /// Adds an event for its frame; returns false if the queue is full.
    pub fn add(&mut self, at: FrameIndex, event: &Event) -> bool {
        let count = self.count();
        if count == WAITING_MAX {
            return false;
        }
        let entries = &self.words[HEAD..HEAD + count * ENTRY];
        // Earlier events of the same frame are taken first, so they stand behind it.
        let place = entries
            .chunks_exact(ENTRY)
            .position(|entry| entry[0] <= at.0)
            .unwrap_or(count);
        let (from, end) = (HEAD + place * ENTRY, HEAD + count * ENTRY);
        self.words.copy_within(from..end, from + ENTRY);
        let [what, numbers] = encode(event);
        self.words[from..from + ENTRY].copy_from_slice(&[at.0, what, numbers]);
        self.words[COUNT] = count as u64 + 1;
        self.mark(from..end + ENTRY);
        true
    }

    /// Removes the events for which `gone` is true.
    pub fn forget(&mut self, gone: impl Fn(&Event) -> bool) {
        let count = self.count();
        let mut kept = 0;
        for entry in 0..count {
            let from = HEAD + entry * ENTRY;
            let event = decode([self.words[from + 1], self.words[from + 2]]);
            if !event.is_some_and(|event| gone(&event)) {
                self.words
                    .copy_within(from..from + ENTRY, HEAD + kept * ENTRY);
                kept += 1;
            }
        }
        if kept < count {
            self.words[COUNT] = kept as u64;
            self.mark(HEAD..HEAD + count * ENTRY);
        }
    }

    /// Marks these words of the queue as written.
    fn mark(&mut self, words: std::ops::Range<usize>) {
        // A word is two cells.
        let cells = 2 * (self.first + words.start)..2 * (self.first + words.end);
        changes::mark(self.written, cells);
    }

    /// The frame of the next event.
    pub fn next(&self) -> Option<FrameIndex> {
        let last = self.count().checked_sub(1)?;
        Some(FrameIndex(self.words[HEAD + last * ENTRY]))
    }

    /// Takes the next event if its frame has come.
    pub fn take(&mut self, now: FrameIndex) -> Option<Event> {
        while self.next()? <= now {
            let last = self.count() - 1;
            self.words[COUNT] = last as u64;
            let from = HEAD + last * ENTRY;
            let event = decode([self.words[from + 1], self.words[from + 2]]);
            if event.is_some() {
                return event;
            }
        }
        None
    }
}

/// Copies the waiting events and the frame count of another queue; `renumber` translates each event or
/// drops it. Both slices begin with an event queue. Pieces are not marked as written, so no checkpoint may
/// hold a part of this arena yet.
pub fn adopt(words: &mut [u64], old: &[u64], renumber: impl Fn(Event) -> Option<Event>) {
    words[CLOCK] = old[CLOCK];
    let count = (old[COUNT] as usize).min(WAITING_MAX);
    let mut kept = 0;
    for entry in old[HEAD..].chunks_exact(ENTRY).take(count) {
        let Some(event) = decode([entry[1], entry[2]]).and_then(&renumber) else {
            continue;
        };
        let [what, numbers] = encode(&event);
        words[HEAD + kept * ENTRY..][..ENTRY].copy_from_slice(&[entry[0], what, numbers]);
        kept += 1;
    }
    words[COUNT] = kept as u64;
}

/// Encodes an event in two words: kind, a small number, indices of module and parameter; then the bits of
/// two values.
fn encode(event: &Event) -> [u64; 2] {
    let word = |kind: u64, small: u64, module: u16, param: u16| {
        kind | small << 8 | u64::from(module) << 16 | u64::from(param) << 32
    };
    let numbers = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
    match *event {
        Event::Param {
            module,
            param,
            value,
        } => [word(1, 0, module, param), numbers(value.to_bits(), 0)],
        Event::Gate { module, level } => [word(2, 0, module, 0), numbers(level.to_bits(), 0)],
        Event::Run(on) => [word(3, on.into(), 0, 0), 0],
        Event::Bypass(module) => [word(4, 0, module, 0), 0],
        Event::Ramp {
            module,
            param,
            value,
            ms,
        } => [
            word(5, 0, module, param),
            numbers(value.to_bits(), ms.to_bits()),
        ],
        Event::Note {
            module,
            pitch,
            velocity,
            frames,
        } => [
            word(6, 0, module, 0) | u64::from(frames) << 32,
            numbers(pitch.to_bits(), velocity.to_bits()),
        ],
        Event::Express {
            module,
            pitch,
            what,
            value,
        } => [
            word(7, what as u64, module, 0),
            numbers(pitch.to_bits(), value.to_bits()),
        ],
        Event::Sequence { sequence, control } => {
            let (small, value) = match control {
                SequenceControl::Start => (0, 0.0),
                SequenceControl::Stop => (1, 0.0),
                SequenceControl::Reset => (2, 0.0),
                SequenceControl::Bpm(value) => (3, value),
                SequenceControl::GateLength(value) => (4, value),
                SequenceControl::Join => (5, 0.0),
            };
            [word(8, small, sequence, 0), numbers(value.to_bits(), 0)]
        }
        Event::ResetSequences => [word(9, 0, 0, 0), 0],
        Event::Silence => [word(10, 0, 0, 0), 0],
        Event::Clock { ticks, bpm, begin } => [
            word(11, begin.into(), 0, 0) | u64::from(ticks) << 32,
            numbers(bpm.to_bits(), 0),
        ],
    }
}

/// Decodes what [`encode`] has written; `None` for other bits.
fn decode([what, numbers]: [u64; 2]) -> Option<Event> {
    let (small, module, param) = ((what >> 8) as u8, (what >> 16) as u16, (what >> 32) as u16);
    let (a, b) = (
        f32::from_bits(numbers as u32),
        f32::from_bits((numbers >> 32) as u32),
    );
    Some(match what & 0xff {
        1 => Event::Param {
            module,
            param,
            value: a,
        },
        2 => Event::Gate { module, level: a },
        3 => Event::Run(small != 0),
        4 => Event::Bypass(module),
        5 => Event::Ramp {
            module,
            param,
            value: a,
            ms: b,
        },
        6 => Event::Note {
            module,
            pitch: a,
            velocity: b,
            frames: (what >> 32) as u32,
        },
        7 => Event::Express {
            module,
            pitch: a,
            what: match small {
                0 => Expression::Bend,
                1 => Expression::Pressure,
                _ => Expression::Timbre,
            },
            value: b,
        },
        8 => Event::Sequence {
            sequence: module,
            control: match small {
                0 => SequenceControl::Start,
                1 => SequenceControl::Stop,
                2 => SequenceControl::Reset,
                3 => SequenceControl::Bpm(a),
                4 => SequenceControl::GateLength(a),
                _ => SequenceControl::Join,
            },
        },
        9 => Event::ResetSequences,
        10 => Event::Silence,
        11 => Event::Clock {
            ticks: (what >> 32) as u32,
            bpm: a,
            begin: small != 0,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(module: u16) -> Event {
        Event::Gate { module, level: 1.0 }
    }

    #[test]
    fn what_waits_comes_in_order_of_frames_then_of_asking() {
        let mut words = vec![0; EVENT_QUEUE_WORDS];
        let mut written = vec![0; 64];
        let mut queue = EventQueue::of(&mut words, 0, &mut written);
        for (at, module) in [(30, 0), (10, 1), (20, 2), (10, 3), (30, 4)] {
            assert!(queue.add(FrameIndex(at), &gate(module)));
        }
        assert_eq!(queue.take(FrameIndex(9)), None);
        assert_eq!(queue.next(), Some(FrameIndex(10)));
        let rest: Vec<_> = std::iter::from_fn(|| queue.take(FrameIndex(30))).collect();
        assert_eq!(rest, [1, 3, 2, 0, 4].map(gate));
        assert!(written.iter().any(|bits| *bits != 0));
    }

    #[test]
    fn when_it_is_full_it_says_so_and_keeps_what_it_has() {
        let mut words = vec![0; EVENT_QUEUE_WORDS];
        let mut written = vec![0; 64];
        let mut queue = EventQueue::of(&mut words, 0, &mut written);
        for at in 0..WAITING_MAX as u64 {
            assert!(queue.add(FrameIndex(at), &gate(at as u16)));
        }
        assert!(!queue.add(FrameIndex(0), &gate(0)));
        for at in 0..WAITING_MAX as u64 {
            assert_eq!(queue.take(FrameIndex(at)), Some(gate(at as u16)));
        }
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn every_event_is_kept_as_it_is() {
        let (module, param) = (65_535, 31);
        let control = |control| Event::Sequence {
            sequence: module,
            control,
        };
        for event in [
            Event::Param {
                module,
                param,
                value: -0.1,
            },
            gate(module),
            Event::Run(true),
            Event::Run(false),
            Event::Bypass(module),
            Event::Ramp {
                module,
                param,
                value: 2.5,
                ms: 1e6,
            },
            Event::Note {
                module,
                pitch: 60.5,
                velocity: 0.3,
                frames: u32::MAX,
            },
            Event::Express {
                module,
                pitch: -1.0,
                what: Expression::Timbre,
                value: 0.7,
            },
            Event::Express {
                module,
                pitch: 61.0,
                what: Expression::Bend,
                value: -2.0,
            },
            control(SequenceControl::Start),
            control(SequenceControl::Stop),
            control(SequenceControl::Reset),
            control(SequenceControl::Bpm(174.0)),
            control(SequenceControl::GateLength(0.5)),
            control(SequenceControl::Join),
            Event::ResetSequences,
            Event::Silence,
            Event::Clock {
                ticks: u32::MAX,
                bpm: 174.3,
                begin: true,
            },
        ] {
            assert_eq!(decode(encode(&event)), Some(event));
        }
        assert_eq!(decode([0, 0]), None);
    }
}
