//! A scenario of a few lines for every bug in `docs/reliability.md`, and for the other mistakes that the
//! judge once made. The words and rings of two workers lie on the heap; the judge runs, and nothing happens
//! by itself.
#![cfg(not(loom))]

use common::{
    ring::{Ring, checksum, ring_words},
    stage::{AudioFormat, Breadcrumb, Decision, Phase, STAGE_WORDS, Stage},
    sync::heap,
    units::{BlockIndex, Epoch, Incarnation, Seq, Slot},
};
use failover::{
    blame::Death,
    checkpointing::{WriteCheckpoint, write_checkpoint},
    decide::{self, Step, Waiting},
    judge::{Action, Cause, Found, Judge, Observation, Scene},
    merge::{Merger, Taken},
    switch::Fact,
    trial::{Case, End},
    watch::HANG_US,
};

const ZERO: Slot = Slot::Zero;
const ONE: Slot = Slot::One;
/// The incarnations in the slots at the start, and the next one.
const LIVES: [Incarnation; 2] = [Incarnation(1), Incarnation(2)];
const NEXT: Incarnation = Incarnation(3);
const TRIAL: Incarnation = Incarnation(1);
const FRAMES: usize = 16;
/// The patch, and the command after it.
const PATCH: Seq = Seq(1);
const NEW: Seq = Seq(2);
const BLOCK: BlockIndex = BlockIndex(5);

/// A leader in slot 0 and a follower in slot 1, both ready before block 5. The bench stands for the
/// supervisor's process and carries out at once what the judge says.
struct Bench<'a> {
    stage: Stage<'a>,
    rings: [Ring<'a>; 2],
    judge: Judge,
    now_us: u64,
    newest: Seq,
    stopped: [bool; 2],
    said: Vec<Action>,
}

fn bench(test: impl FnOnce(Bench<'_>)) {
    let format = AudioFormat {
        rate_hz: 48_000,
        block_frames: FRAMES as u32,
        channels: 1,
        lead_blocks: 8,
        freewheel: false,
    };
    let words = heap(STAGE_WORDS);
    let rings = [heap(ring_words(FRAMES)), heap(ring_words(FRAMES))];
    let stage = Stage::create(&words, &format).unwrap();
    for (slot, life) in Slot::ALL.into_iter().zip(LIVES) {
        stage.slot(slot).take_seat(life, BLOCK, PATCH);
    }
    let found = Found {
        living: LIVES.map(Some),
        ..Found::default()
    };
    let mut bench = Bench {
        rings: [0, 1].map(|slot| Ring::create(&rings[slot], FRAMES).unwrap()),
        judge: Judge::adopt(0, &stage, found),
        stage,
        now_us: 0,
        newest: NEW,
        stopped: [false; 2],
        said: Vec::new(),
    };
    bench.proven(ZERO, LIVES[0]);
    bench.proven(ONE, LIVES[1]);
    assert!(bench.judge.supervision().protected());
    bench.said.clear();
    test(bench);
}

impl Bench<'_> {
    fn tell(&mut self, event: Observation) {
        let stopped = self.stopped;
        let scene = Scene {
            stage: self.stage,
            rings: &self.rings,
            newest: self.newest,
            stopped: &|slot| stopped[slot.index()],
        };
        for action in self.judge.step(self.now_us, &scene, event) {
            if !matches!(action, Action::Then(_)) {
                self.said.push(action);
            }
            match action {
                Action::Then(event) => self.tell(event),
                Action::Bypass(bypass) => {
                    self.newest = self.newest.next();
                    self.tell(Observation::Bypassed(bypass, self.newest));
                }
                Action::Quarantine(seq) => self.tell(Observation::LeftOut(seq, seq)),
                _ => {}
            }
        }
    }

    fn proven(&mut self, slot: Slot, incarnation: Incarnation) {
        let proven = Fact::Proven { slot, incarnation };
        self.tell(Observation::Switch(proven, Cause::Proven));
    }

    /// The supervisor looks, this much later.
    fn look_after(&mut self, us: u64) {
        self.now_us += us;
        self.tell(Observation::Look {
            judges: true,
            plays: true,
        });
    }

    /// The worker is inside block 5, with the commands up to this one.
    fn is_inside(&self, slot: Slot, phase: Phase, module: u16, command: Seq) {
        let _ = self.stage.decide(BLOCK, command, PATCH);
        self.stage.slot(slot).drop_breadcrumb(Breadcrumb {
            block: BLOCK,
            phase,
            module,
            command,
        });
    }

    /// The worker of this incarnation renders and publishes the block; every sample has this value.
    fn publishes(&self, slot: Slot, life: Incarnation, block: BlockIndex, sample: f32) {
        let samples = [sample; FRAMES];
        let sum = checksum(block, PATCH, &samples);
        let ring = &self.rings[slot.index()];
        let proof = common::ring::Proof {
            incarnation: life,
            sum,
        };
        ring.prove(block, proof);
        ring.publish(block, life, PATCH, sum, &samples);
        self.stage.slot(slot).advance(block.next(), PATCH);
    }

    /// What audio-out takes for block 5, and its next block.
    fn taken(&self) -> (Taken, BlockIndex) {
        let mut merger = Merger::new(&self.stage, BLOCK);
        let taken = merger.take(&self.stage, &self.rings, true, &mut [0.0; FRAMES]);
        (taken, merger.block())
    }

    fn says(&self, wanted: impl Fn(&Action) -> bool) -> bool {
        self.said.iter().any(wanted)
    }

    fn place(&self, wanted: impl Fn(&Action) -> bool) -> usize {
        self.said.iter().position(wanted).expect("it is said")
    }
}

const fn quarantines(action: &Action) -> bool {
    matches!(action, Action::Quarantine(_))
}

const fn holds(action: &Action) -> bool {
    matches!(action, Action::Held(..))
}

const fn tries(action: &Action) -> bool {
    matches!(
        action,
        Action::StartTrial(
            _,
            Case::Commands {
                after: PATCH,
                last: NEW,
                ..
            }
        )
    )
}

// ---- bugs that the simulation found ----

#[test]
fn a_command_is_innocent_of_a_module_that_died_in_its_block() {
    bench(|mut bench| {
        bench.is_inside(ZERO, Phase::Rendering, 3, NEW);
        bench.tell(Observation::Died(ZERO, LIVES[0], Death::OwnMaking));
        assert!(bench.says(tries) && bench.stage.held() == Some(PATCH));
        // The trial dies of the module without the command. It survives the command without the module.
        bench.tell(Observation::TrialEnded(TRIAL, End::Died(PATCH, 3)));
        bench.tell(Observation::TrialEnded(TRIAL.next(), End::Passed(None)));
        assert!(!bench.says(quarantines) && bench.stage.held().is_none());
        assert!(bench.says(|said| matches!(said, Action::Bypass(b) if b.module == 3)));
    });
}

#[test]
fn what_is_known_to_be_wrong_is_not_played_from_the_ring_of_its_slot() {
    bench(|mut bench| {
        bench.publishes(ZERO, LIVES[0], BLOCK, 0.25);
        bench.publishes(ONE, LIVES[1], BLOCK, 0.5);
        bench.look_after(1_000);
        let right = checksum(BLOCK, PATCH, &[0.5; FRAMES]);
        bench.tell(Observation::TrialEnded(TRIAL, End::Passed(Some(right))));
        assert!(bench.says(|said| *said == Action::Failed(ZERO, LIVES[0], Cause::Refereed)));
        // audio-out has switched back meanwhile, or has not noticed the switch yet.
        let _ = bench.stage.switch(bench.stage.preference(), ZERO);
        assert_eq!(bench.taken().0, Taken::From(ONE));
    });
}

#[test]
fn one_that_the_referee_found_wrong_when_it_was_given_up_already_is_distrusted_all_the_same() {
    bench(|mut bench| {
        bench.publishes(ZERO, LIVES[0], BLOCK, 0.25);
        bench.publishes(ONE, LIVES[1], BLOCK, 0.5);
        bench.look_after(1_000);
        bench.tell(Observation::Died(ZERO, LIVES[0], Death::Outside));
        let right = checksum(BLOCK, PATCH, &[0.5; FRAMES]);
        bench.tell(Observation::TrialEnded(TRIAL, End::Passed(Some(right))));
        assert!(bench.stage.distrusts(ZERO, LIVES[0], BLOCK));
        assert!(!bench.says(|said| matches!(said, Action::Failed(_, _, Cause::Refereed))));
    });
}

#[test]
fn a_follower_does_not_withdraw_a_bypass_from_a_leader_that_has_just_come_while_the_music_stands_still()
 {
    bench(|bench| {
        let stage = bench.stage;
        let _ = stage.decide(BLOCK, NEW, PATCH);
        stage.set_cursor(BLOCK);
        (0..100).for_each(|_| stage.add_concealed());
        stage.slot(ZERO).begin(stage.elapsed_blocks());
        let follower = || decide::step(&stage, ONE, BLOCK, PATCH, NEW);
        for _ in 0..16 {
            assert_eq!(follower(), Step::Wait(Waiting::Leader));
            stage.add_concealed();
        }
        assert_eq!(
            (follower(), stage.held()),
            (Step::Render(PATCH), Some(PATCH))
        );
    });
}

#[test]
fn a_leader_that_puts_out_nan_is_deposed_though_the_standby_cannot_prove_itself_against_it() {
    bench(|mut bench| {
        bench.tell(Observation::Died(ONE, LIVES[1], Death::Outside));
        bench.look_after(1_000);
        assert!(bench.says(|said| *said == Action::Spawn(ONE, NEXT)));
        bench.stage.slot(ONE).take_seat(NEXT, BLOCK, PATCH);
        bench.publishes(ZERO, LIVES[0], BLOCK, f32::NAN);
        bench.publishes(ONE, NEXT, BLOCK, 0.5);
        bench.look_after(1_000);
        assert!(bench.says(|said| *said == Action::Failed(ZERO, LIVES[0], Cause::Nonsense)));
        assert_eq!(bench.stage.preference().slot, ONE);
    });
}

#[test]
fn what_an_earlier_life_left_in_the_ring_says_nothing_about_the_leader() {
    bench(|mut bench| {
        bench.publishes(ZERO, Incarnation(0), BLOCK, f32::NAN);
        bench.publishes(ONE, LIVES[1], BLOCK, 0.5);
        bench.look_after(1_000);
        assert!(!bench.says(|said| matches!(said, Action::Failed(..))));
    });
}

#[test]
fn a_block_that_nobody_will_ever_publish_is_not_waited_for() {
    bench(|bench| {
        bench.stage.slot(ZERO).advance(BLOCK.next(), PATCH);
        assert_eq!(
            bench.taken(),
            (Taken::Concealed, BLOCK),
            "slot 1 may still publish the block"
        );
        bench.stage.slot(ONE).advance(BLOCK.next(), PATCH);
        assert_eq!(bench.taken(), (Taken::Concealed, BLOCK.next()));
    });
}

#[test]
fn preference_does_not_change_for_blocks_that_only_a_predecessor_had() {
    bench(|bench| {
        bench.publishes(ONE, LIVES[1], BLOCK, 0.5);
        bench.stage.slot(ZERO).advance(BLOCK.next(), PATCH);
        assert_eq!(bench.taken().0, Taken::From(ONE));
        assert_eq!(bench.stage.preference().epoch, Epoch(0));
    });
}

// ---- other mistakes, and known limits ----

#[test]
fn a_switch_that_audio_out_has_made_a_moment_earlier_is_the_one_that_is_waited_for() {
    bench(|mut bench| {
        let faster = bench.stage.switch(bench.stage.preference(), ONE).unwrap();
        bench.tell(Observation::Died(ZERO, LIVES[0], Death::Outside));
        assert!(bench.says(|said| *said == Action::Switched(ZERO, faster, Cause::Death)));
        bench.stage.acknowledge(faster.epoch);
        bench.look_after(1_000);
        assert!(bench.says(|said| *said == Action::Spawn(ZERO, NEXT)));
    });
}

#[test]
fn a_replacement_far_behind_the_newest_checkpoint_writes_one_before_it_has_caught_up() {
    bench(|bench| {
        let at = |block| {
            write_checkpoint(
                &bench.stage,
                ONE,
                BlockIndex(block),
                BlockIndex(9_000),
                BlockIndex(0),
            )
        };
        assert_eq!(at(100), WriteCheckpoint::Nothing);
        assert_eq!(at(200), WriteCheckpoint::AtOnce);
    });
}

#[test]
fn a_leader_frozen_before_its_first_breadcrumb_is_not_suspected_which_is_a_known_limit() {
    bench(|mut bench| {
        let _ = bench.stage.decide(BLOCK, NEW, PATCH);
        bench.stopped[0] = true;
        bench.look_after(1);
        bench.look_after(HANG_US + 1);
        assert!(bench.says(|said| *said == Action::Failed(ZERO, LIVES[0], Cause::Hangs)));
        assert!(!bench.says(holds));
        let obeys = decide::step(&bench.stage, ONE, BLOCK, PATCH, NEW);
        assert_eq!(obeys, Step::Render(NEW));
    });
}

#[test]
fn a_flipped_bit_that_is_due_before_the_referee_has_spoken_is_heard_which_is_a_known_limit() {
    bench(|mut bench| {
        bench.publishes(ZERO, LIVES[0], BLOCK, 0.25);
        bench.publishes(ONE, LIVES[1], BLOCK, 0.5);
        bench.look_after(1_000);
        assert!(bench.says(|said| matches!(said, Action::StartTrial(_, Case::Differing { .. }))));
        assert_eq!(bench.taken().0, Taken::From(ZERO));
        assert_eq!(bench.judge.differed().0, 1);
    });
}

#[test]
fn one_that_was_overruled_is_replaced_and_nobody_is_blamed() {
    bench(|mut bench| {
        bench.is_inside(ONE, Phase::Rendering, 3, NEW);
        bench.tell(Observation::Died(ONE, LIVES[1], Death::Overruled));
        bench.look_after(1_000);
        assert!(bench.says(|said| *said == Action::Spawn(ONE, NEXT)));
        assert!(!bench.says(holds) && bench.stage.held().is_none());
    });
}

// ---- mistakes found by comparing the supervisor with the simulation ----

#[test]
fn what_the_log_leaves_out_is_left_out_though_the_supervisor_died_before_it_said_so() {
    bench(|mut bench| {
        bench.is_inside(ZERO, Phase::Applying, 0, NEW);
        bench.tell(Observation::Died(ZERO, LIVES[0], Death::OwnMaking));
        let found = Found {
            living: [None, Some(LIVES[1])],
            left_out: vec![NEW],
            ..Found::default()
        };
        bench.judge = Judge::adopt(bench.now_us, &bench.stage, found);
        assert!(bench.stage.quarantined(NEW) && bench.stage.held() == Some(PATCH));
        bench.look_after(1_000);
        bench.look_after(1_000_001);
        assert!(bench.says(tries));
        bench.tell(Observation::TrialEnded(TRIAL, End::Passed(None)));
        assert_eq!(bench.stage.held(), None);
    });
}

#[test]
fn the_log_has_a_quarantine_before_the_stage_and_the_stage_before_the_hold_is_lifted() {
    bench(|mut bench| {
        bench.is_inside(ZERO, Phase::Applying, 0, NEW);
        bench.tell(Observation::Died(ZERO, LIVES[0], Death::OwnMaking));
        let scene = Scene {
            stage: bench.stage,
            rings: &bench.rings,
            newest: NEW,
            stopped: &|_| false,
        };
        let said = bench.judge.step(0, &scene, Observation::LeaveOut(NEW));
        assert_eq!(said, [Action::Quarantine(NEW)]);
        assert!(!bench.stage.quarantined(NEW) && bench.stage.held().is_some());
        let mut step = |event| bench.judge.step(0, &scene, event);
        assert_eq!(step(Observation::LeftOut(NEW, NEW)), []);
        assert!(bench.stage.quarantined(NEW) && bench.stage.held().is_some());
    });
}

#[test]
fn a_trial_is_ended_before_what_it_tries_is_let_in() {
    bench(|mut bench| {
        bench.is_inside(ZERO, Phase::Applying, 0, NEW);
        let _ = decide::withdraw(&bench.stage, BLOCK, NEW, PATCH);
        bench.tell(Observation::LookAtHeld);
        bench.now_us += 1_000_001;
        bench.tell(Observation::LookAtHeld);
        assert!(bench.says(tries));
        bench.said.clear();
        // The worker was killed from outside in the block: the commands are harmless.
        bench.tell(Observation::Died(ZERO, LIVES[0], Death::Outside));
        let ended = bench.place(|said| matches!(said, Action::EndTrial(TRIAL)));
        assert!(ended < bench.place(|said| *said == Action::Wake) && bench.stage.held().is_none());
        bench.tell(Observation::TrialEnded(TRIAL, End::Died(NEW, 0)));
        assert!(!bench.says(quarantines));
    });
}

#[test]
fn a_command_that_the_other_one_has_taken_in_meanwhile_is_not_held() {
    bench(|mut bench| {
        bench.is_inside(ZERO, Phase::Rendering, 3, NEW);
        bench.stage.slot(ONE).advance(BLOCK.next(), NEW);
        bench.tell(Observation::Died(ZERO, LIVES[0], Death::OwnMaking));
        assert!(!bench.says(holds) && bench.stage.held().is_none());
    });
}

#[test]
fn a_module_that_kills_without_commands_is_bypassed_in_that_very_block_unless_it_was_survived() {
    for survived in [false, true] {
        bench(|mut bench| {
            bench.is_inside(ZERO, Phase::Rendering, 3, PATCH);
            if survived {
                assert!(bench.stage.seal(BLOCK, PATCH));
            }
            bench.tell(Observation::Died(ZERO, LIVES[0], Death::OwnMaking));
            let seq = if survived { PATCH } else { NEW.next() };
            let made = bench.stage.decision(BLOCK, PATCH);
            assert_eq!(
                made,
                Decision::Made {
                    seq,
                    sealed: survived
                }
            );
        });
    }
}

#[test]
fn a_death_with_nothing_new_but_a_bypass_has_another_module_bypassed() {
    bench(|mut bench| {
        bench.newest = PATCH;
        bench.is_inside(ZERO, Phase::Rendering, 3, PATCH);
        bench.tell(Observation::Died(ZERO, LIVES[0], Death::OwnMaking));
        bench.is_inside(ONE, Phase::Rendering, 4, bench.newest);
        bench.tell(Observation::Died(ONE, LIVES[1], Death::OwnMaking));
        assert!(bench.says(|said| matches!(said, Action::Bypass(b) if b.module == 4)));
        assert!(!bench.says(holds));
    });
}

#[test]
fn one_that_hangs_alone_in_a_module_hangs_by_the_machine_and_both_by_the_module() {
    for both in [false, true] {
        bench(|mut bench| {
            bench.is_inside(ZERO, Phase::Rendering, 3, PATCH);
            if both {
                bench.is_inside(ONE, Phase::Rendering, 3, PATCH);
            }
            bench.look_after(1);
            bench.look_after(HANG_US + 1);
            assert!(bench.says(|said| *said == Action::Failed(ZERO, LIVES[0], Cause::Hangs)));
            let bypasses = |said: &Action| matches!(said, Action::Bypass(b) if b.module == 3);
            assert_eq!(bench.says(bypasses), both);
        });
    }
}

#[test]
fn nobody_is_judged_for_the_time_that_the_supervisor_was_away() {
    bench(|mut bench| {
        bench.look_after(HANG_US / 2);
        bench.now_us += HANG_US;
        let (judges, plays) = (false, true);
        bench.tell(Observation::Look { judges, plays });
        bench.look_after(HANG_US);
        assert!(!bench.says(|said| matches!(said, Action::Failed(..))));
        bench.look_after(1);
        assert!(bench.says(|said| matches!(said, Action::Failed(_, _, Cause::Hangs))));
    });
}

#[test]
fn one_that_does_not_read_its_channel_is_replaced_once_it_is_ready_and_not_before() {
    bench(|mut bench| {
        bench.tell(Observation::Deaf(ONE, Incarnation(9)));
        assert!(bench.said.is_empty());
        bench.tell(Observation::Deaf(ONE, LIVES[1]));
        assert!(bench.says(|said| *said == Action::Failed(ONE, LIVES[1], Cause::Deaf)));
        bench.stage.acknowledge(bench.stage.preference().epoch);
        bench.tell(Observation::Died(ONE, LIVES[1], Death::Outside));
        bench.look_after(1_000);
        bench.said.clear();
        bench.tell(Observation::Deaf(ONE, NEXT));
        assert!(bench.said.is_empty());
    });
}
