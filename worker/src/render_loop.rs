//! The render thread: decides and renders the next block, leaves its proof, publishes it, writes checkpoints.
//!
//! REAL-TIME. The render thread communicates with the control thread through two wait-free queues and one number
//! each way, and with other processes through shared words. It makes no system call but the futex.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    checkpoint::{self, Mark},
    command::Event,
    limits::COMMAND_QUEUE,
    message::{
        Numbered,
        exit::{OVERRULED, OVERTAKEN},
    },
    ring::{Proof, checksum},
    stage::{Breadcrumb, Listener, Phase},
    units::{BlockIndex, FrameIndex, Incarnation, Seq, Slot},
};
use engine::Engine;
use failover::{
    checkpointing::{WriteCheckpoint, write_checkpoint},
    decide::{self, Step, Waiting},
    lead, load,
};
use platform::{
    futex,
    realtime::{self, Granted},
    shared::Shared,
};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::{
    catch_up::Start,
    failpoints::{Failpoints, Point},
    faults::Faults,
    meter::Meter,
};

/// A wake-up may be missed; after this time the shared words are read again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A command in the queue to the render thread.
pub struct Input {
    pub seq: Seq,
    pub offset: u64,
    pub next_offset: u64,
    pub change: Change,
}

/// The change that a command makes.
pub enum Change {
    Event(Event),
    /// An event that takes effect at exactly that frame.
    At(FrameIndex, Event),
    /// A complete engine, built by the control thread.
    Patch(Box<Engine>),
    /// The same, for an edit: modules that stay keep the values of their parameters.
    Edited(Box<Engine>),
    /// No change; the command only has a number.
    Nothing,
}

/// The words that the two threads share besides the queues.
#[derive(Default)]
pub struct Between {
    /// The last command in the queue. Written by the control thread.
    pub received: AtomicU64,
    /// The last command that a decision includes and the queue lacks. Written by the render thread; the control
    /// thread raises it too.
    pub wanted: AtomicU64,
    pub faults: Faults,
}

/// The control thread's half.
pub struct RenderHandle {
    pub shared: Shared,
    pub slot: Slot,
    pub between: Arc<Between>,
    pub inputs: Producer<Input>,
    pub retired: Consumer<Box<Engine>>,
    /// Commands that the log held at the start and that are not in the queue yet.
    pub backlog: Vec<Numbered>,
    pub last: Seq,
}

/// The render thread's half.
pub struct RenderProcessor {
    shared: Shared,
    slot: Slot,
    incarnation: Incarnation,
    between: Arc<Between>,
    inputs: Consumer<Input>,
    retired: Producer<Box<Engine>>,
    engine: Box<Engine>,
    mark: Mark,
    /// The frontier of both slots when this worker began.
    caught_up_at: BlockIndex,
    samples: Vec<f32>,
    /// How long the last block took, in nanoseconds.
    took_ns: u64,
    checkpoints: checkpoint::Writer,
    failpoints: Failpoints,
    meter: Meter,
}

/// Creates both halves.
pub fn pair(
    shared: &Shared,
    slot: Slot,
    incarnation: Incarnation,
    start: Start,
) -> (RenderHandle, RenderProcessor) {
    let (inputs, from_control) = RingBuffer::new(COMMAND_QUEUE);
    let (retire, retired) = RingBuffer::new(COMMAND_QUEUE);
    let between = Arc::new(Between::default());
    between.received.store(start.mark.seq.0, Ordering::Release);
    let handle = RenderHandle {
        shared: *shared,
        slot,
        between: Arc::clone(&between),
        inputs,
        retired,
        backlog: start.commands,
        last: start.mark.seq,
    };
    let mut checkpoints = checkpoint::Writer::new();
    checkpoints.begin(start.engine.words().len());
    let processor = RenderProcessor {
        shared: *shared,
        slot,
        incarnation,
        between,
        inputs: from_control,
        retired: retire,
        engine: start.engine,
        mark: start.mark,
        caught_up_at: start.frontier,
        samples: vec![0.0; shared.stage.format().block_samples()],
        took_ns: 0,
        checkpoints,
        failpoints: Failpoints::from_environment(incarnation),
        meter: Meter::new(shared.stage.costs(slot), realtime::monotonic_ns),
    };
    (handle, processor)
}

/// Starts the render thread.
///
/// # Errors
/// When the operating system gives no thread.
pub fn spawn(mut processor: RenderProcessor, locked: bool) -> std::io::Result<()> {
    thread::Builder::new()
        .name("render".into())
        .spawn(move || {
            let clocked = !processor.shared.stage.format().freewheel;
            let granted = Granted {
                priority: clocked && realtime::ask_priority(5),
                locked,
            };
            processor
                .shared
                .stage
                .slot(processor.slot)
                .set_notes(granted.to_bits());
            realtime::flush_denormals();
            let word = processor
                .shared
                .stage
                .futex(Listener::Worker(processor.slot));
            let mut paused = Instant::now();
            loop {
                let seen = word.load(Ordering::Acquire);
                match realtime::section(|| processor.advance()) {
                    Advanced::Rendered => {
                        let pause = processor.pause(paused);
                        if pause.is_zero() {
                            continue;
                        }
                        // No thread wakes this word.
                        futex::wait(&AtomicU64::new(0), 0, pause);
                    }
                    Advanced::Idle => futex::wait(word, seen, LOOK_AGAIN),
                    Advanced::Overtaken => platform::harm::exit_now(OVERTAKEN),
                    Advanced::Overruled => platform::harm::exit_now(OVERRULED),
                }
                paused = Instant::now();
            }
        })?;
    Ok(())
}

enum Advanced {
    Rendered,
    Idle,
    Overtaken,
    Overruled,
}

impl RenderProcessor {
    /// Renders the next block, if it may.
    fn advance(&mut self) -> Advanced {
        let received = Seq(self.between.received.load(Ordering::Acquire));
        let stage = &self.shared.stage;
        match decide::step(stage, self.slot, self.mark.block, self.mark.seq, received) {
            Step::Render(seq) if self.block(seq) => {}
            Step::Render(_) => return Advanced::Overruled,
            Step::Wait(waiting) => {
                if let Waiting::Commands(seq) = waiting {
                    self.between.wanted.store(seq.0, Ordering::Release);
                }
                return Advanced::Idle;
            }
            Step::Overtaken => return Advanced::Overtaken,
        }
        Advanced::Rendered
    }

    /// How long to leave the processor to others after a block: for long where the music is too much for it, and
    /// often enough not to be taken for spinning.
    fn pause(&self, paused: Instant) -> Duration {
        let rest_ns = load::rest_ns(&self.shared.stage, self.slot, self.took_ns);
        if rest_ns == 0 && paused.elapsed() > realtime::PAUSES_AFTER {
            return realtime::PAUSE;
        }
        Duration::from_nanos(rest_ns)
    }

    /// Renders the block with the commands up to `seq`. Returns false if the block was decided differently
    /// meanwhile.
    fn block(&mut self, seq: Seq) -> bool {
        let stage = self.shared.stage;
        let block = self.mark.block;
        let seat = stage.slot(self.slot);
        let takes_commands = seq > self.mark.seq;
        let start = realtime::monotonic_ns();
        seat.begin(stage.elapsed_blocks());
        self.apply(seq);
        let (fingerprint, modules) = (self.engine.fingerprint(), self.engine.patch().modules.len());
        self.meter.begin(fingerprint, modules, start);
        let mut trace = |module| {
            self.meter.call(module, realtime::monotonic_ns);
            let Some(module) = module else { return };
            seat.drop_breadcrumb(Breadcrumb {
                block,
                phase: Phase::Rendering,
                module,
                command: seq,
            });
            self.failpoints.render(block, module);
        };
        self.engine.render_traced(&mut self.samples, &mut trace);
        self.breadcrumb(Phase::Harming);
        self.between.faults.act(&mut self.samples);
        self.failpoints.pass(Point::Rendered);
        self.breadcrumb(Phase::Publishing);
        if !stage.seal(block, seq) {
            return false;
        }
        self.failpoints.pass(Point::Sealed);
        let is_first = self.publish(block, seq);
        self.failpoints.pass(Point::Published);
        let now = realtime::monotonic_ns();
        self.took_ns = now.saturating_sub(start);
        seat.took(self.took_ns);
        self.meter.end(now);
        if is_first {
            self.note_margin(block, now);
        }
        seat.set_muted(self.engine.muted());
        let removed = self.engine.removed();
        seat.set_removed(removed.limited, removed.limited_samples, removed.dc);
        self.mark.block = block.next();
        seat.advance(self.mark.block, seq);
        self.failpoints.pass(Point::Advanced);
        let leads = stage.preference().slot == self.slot;
        // A client that waits for its commands waits for both workers.
        if leads && (takes_commands || decide::follower_is_needed(&stage, self.slot)) {
            futex::wake(stage.futex(Listener::Worker(self.slot.other())));
        }
        if stage.format().freewheel {
            futex::wake(stage.futex(Listener::AudioOut));
        }
        self.checkpoint();
        self.breadcrumb(Phase::Idle);
        true
    }

    /// Publishes the phase that is about to begin.
    fn breadcrumb(&self, phase: Phase) {
        self.shared
            .stage
            .slot(self.slot)
            .drop_breadcrumb(Breadcrumb {
                block: self.mark.block,
                phase,
                module: 0,
                command: self.mark.seq,
            });
    }

    /// Applies the commands up to `seq`, in order, except those in quarantine.
    fn apply(&mut self, seq: Seq) {
        self.breadcrumb(Phase::Applying);
        while self.inputs.peek().is_ok_and(|input| input.seq <= seq) {
            let Ok(input) = self.inputs.pop() else { return };
            self.mark.next_offset = input.next_offset;
            self.mark.seq = input.seq;
            self.breadcrumb(Phase::Applying);
            if self.shared.stage.quarantined(input.seq) {
                // The engine of a quarantined patch is dropped by the control thread.
                if let Change::Patch(engine) | Change::Edited(engine) = input.change {
                    self.retire(engine);
                }
                continue;
            }
            match input.change {
                Change::Nothing => {}
                Change::Event(event) => {
                    self.failpoints.apply(&event);
                    self.engine.apply(&event);
                }
                Change::At(frame, event) => {
                    self.failpoints.apply(&event);
                    self.engine.apply_at(frame, &event);
                }
                Change::Patch(mut engine) => {
                    engine.adopt(&self.engine);
                    self.change_over(engine, input.offset);
                }
                Change::Edited(mut engine) => {
                    engine.adopt_edited(&self.engine);
                    self.change_over(engine, input.offset);
                }
            }
        }
        self.mark.seq = seq;
        self.failpoints.pass(Point::Applied);
    }

    /// Replaces the engine by `engine`, whose patch is at `offset` in the log.
    fn change_over(&mut self, mut engine: Box<Engine>, offset: u64) {
        std::mem::swap(&mut engine, &mut self.engine);
        self.checkpoints.begin(self.engine.words().len());
        self.mark.patch_offset = offset;
        self.retire(engine);
    }

    fn retire(&mut self, engine: Box<Engine>) {
        // The queue has as many places as the queue of inputs, and the control thread, which fills that one,
        // empties this one: it is never full.
        if let Err(rtrb::PushError::Full(engine)) = self.retired.push(engine) {
            std::mem::forget(engine);
        }
    }

    /// Leaves the block's proof. Publishes the block unless it has been played or a predecessor in this slot has
    /// published it. Returns whether this worker is the first of both slots to publish it.
    fn publish(&self, block: BlockIndex, seq: Seq) -> bool {
        let [own, across] = match self.slot {
            Slot::Zero => [0, 1],
            Slot::One => [1, 0],
        }
        .map(|slot| &self.shared.rings[slot]);
        let is_first = across.published(block).is_none();
        let sum = checksum(block, seq, &self.samples);
        own.prove(
            block,
            Proof {
                incarnation: self.incarnation,
                sum,
            },
        );
        self.failpoints.pass(Point::Proved);
        if block < self.shared.stage.cursor() || own.published(block).is_some() {
            return false;
        }
        own.publish(block, self.incarnation, seq, sum, &self.samples);
        is_first
    }

    /// Publishes how long before its deadline the block was finished.
    fn note_margin(&self, block: BlockIndex, now_ns: u64) {
        let stage = &self.shared.stage;
        let Some(margin_ns) = lead::margin_ns(stage, block, now_ns) else {
            return;
        };
        if margin_ns < stage.format().block_ns() {
            stage.add_close();
        }
        let (margin_us, second) = (margin_ns / 1_000, now_ns / 1_000_000_000);
        let seat = stage.slot(self.slot);
        seat.published_before(u32::try_from(margin_us).unwrap_or(u32::MAX), second as u32);
    }

    /// Continues the checkpoint in progress if this worker has to write one now.
    fn checkpoint(&mut self) {
        self.checkpoints.note(self.engine.written());
        let block = self.mark.block;
        if !self.checkpoints.has_work(block) {
            return;
        }
        let all = self.shared.checkpoints.iter().flatten();
        let newest = all.filter_map(|c| c.block()).max().unwrap_or_default();
        let (stage, frontier) = (&self.shared.stage, self.caught_up_at);
        let at_once = match write_checkpoint(stage, self.slot, block, frontier, newest) {
            WriteCheckpoint::Nothing => return,
            WriteCheckpoint::GoOn => false,
            WriteCheckpoint::AtOnce => true,
        };
        let Some(own) = self.shared.checkpoints.get(self.slot.index()) else {
            return;
        };
        self.breadcrumb(Phase::Checkpointing);
        let (arena, active) = (self.engine.words(), self.engine.active());
        if self
            .checkpoints
            .go_on(own, self.mark, arena, active, at_once)
        {
            self.failpoints.pass(Point::Checkpointed);
        }
    }
}
