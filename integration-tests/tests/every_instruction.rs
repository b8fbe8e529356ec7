//! The first promise, instruction by instruction: a worker is killed after each single instruction with which
//! it seals, proves, publishes and advances a block, or writes a checkpoint. The other processes then find
//! what it had written up to there.
//!
//! With `UNDERSTUDY_EVERY=1` the test kills after every instruction. By default it kills after every seventh
//! one (in a checkpoint, which is longer, every seventieth), which takes half a minute.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::time::{Duration, Instant};

use anyhow::Result;
use common::{
    limits::CHECKPOINT_BLOCKS,
    stage::{Phase, SlotWords},
    units::{BlockIndex, Slot},
};
use integration_tests::{
    random::Random,
    stack::{Stack, number},
    surgeon::{Entry, Patient, Stopped},
};
use platform::shared::Shared;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Leader,
    Follower,
}

/// How far the killed workers had come, as other processes could see.
#[derive(Debug, Default)]
struct Tally {
    not_proven: u64,
    not_published: u64,
    not_advanced: u64,
    done: u64,
}

/// The stack under test and the state of the test.
struct Theatre {
    stack: Stack,
    shared: Shared,
    role: Role,
    phase: Phase,
    entry: Option<Entry>,
    tally: Tally,
}

fn pid(stack: &Stack, slot: Slot) -> Result<u32> {
    stack.pid(&format!("worker:{slot}"))
}

impl Theatre {
    /// Kills the worker after `instructions` instructions of the phase; returns false if the phase has ended
    /// before.
    fn kill_after(&mut self, instructions: u64) -> Result<bool> {
        let stage = self.shared.stage;
        let leader = stage.preference().slot;
        let slot = match self.role {
            Role::Leader => leader,
            Role::Follower => leader.other(),
        };
        let seat = stage.slot(slot);
        let (worker, other) = (pid(&self.stack, slot)?, pid(&self.stack, slot.other())?);
        let audio_out = self.stack.pid("audio-out")?;
        // No other process may render or play the block before the victim: the block must be one that matters.
        let (patient, mut others) = match (self.role, self.phase) {
            (Role::Leader, _) => {
                let follower = Stopped::stop(other)?;
                (Patient::hold(worker)?, vec![follower])
            }
            (Role::Follower, phase) => {
                let patient = Patient::hold(worker)?;
                let stops = phase == Phase::Publishing || self.entry.is_none();
                let stopped = stops.then(|| self.stop_audio_out(audio_out, slot));
                (patient, stopped.transpose()?.into_iter().collect())
            }
        };
        let entry = match self.entry {
            Some(entry) => entry,
            None => *self.entry.insert(patient.find(&seat, Phase::Publishing)?),
        };
        if self.phase == Phase::Checkpointing {
            others.clear();
        }
        let checkpointed = |block: BlockIndex| block.next().0.is_multiple_of(CHECKPOINT_BLOCKS);
        let mut block =
            patient.run_to(entry, &seat, Phase::Publishing, |block| match self.phase {
                Phase::Publishing => block >= stage.cursor() && !checkpointed(block),
                _ => checkpointed(block),
            })?;
        if self.phase == Phase::Checkpointing {
            // A checkpoint takes long. Meanwhile the music must not run ahead, and no process may find that
            // the worker hangs.
            for pid in [
                audio_out,
                self.stack.pid("supervisor")?,
                self.stack.launcher()?,
            ] {
                others.push(Stopped::stop(pid)?);
            }
            while seat.breadcrumb().phase != self.phase {
                patient.step()?;
                let idle = seat.breadcrumb().phase == Phase::Idle;
                anyhow::ensure!(!idle, "it leads meanwhile, and writes no checkpoint");
            }
            block = block.next();
        }
        let phase = self.phase;
        let mut done = 0;
        while done < instructions && !ended(&seat, phase, block) {
            patient.step()?;
            done += 1;
        }
        let ended = ended(&seat, phase, block);
        if phase == Phase::Publishing {
            self.count(slot, block);
        }
        drop(patient);
        drop(others);
        Ok(!ended)
    }

    /// Stops audio-out at a time when the leader has rendered all blocks that it may and the follower has not.
    fn stop_audio_out(&self, audio_out: u32, follower: Slot) -> Result<Stopped> {
        let stage = self.shared.stage;
        loop {
            let stopped = Stopped::stop(audio_out)?;
            let limit = Instant::now() + Duration::from_millis(100);
            while stage.slot(follower.other()).frontier() < stage.horizon() {
                anyhow::ensure!(Instant::now() < limit, "the leader has left");
                std::thread::yield_now();
            }
            if stage.slot(follower).frontier().0 + 2 <= stage.horizon().0 {
                return Ok(stopped);
            }
            drop(stopped);
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// As [`Self::kill_after`]; repeated if the worker has exited by itself: too slow with a block in
    /// freewheel, it was overruled.
    fn kill_whatever_it_takes(&mut self, instructions: u64, random: &mut Random) -> Result<bool> {
        for _ in 0..100 {
            self.stack.wait_ready()?;
            self.stack.change_something(random)?;
            match self.kill_after(instructions) {
                Ok(goes_on) => return Ok(goes_on),
                Err(why) => {
                    let why = why.to_string();
                    println!("again: {}", why.lines().next().unwrap_or_default());
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        anyhow::bail!("it could not be held")
    }

    fn count(&mut self, slot: Slot, block: BlockIndex) {
        let ring = &self.shared.rings[slot.index()];
        let seat = self.shared.stage.slot(slot);
        let own = |proof: common::ring::Proof| proof.incarnation == seat.incarnation();
        let tally = &mut self.tally;
        let place = if seat.frontier() > block {
            &mut tally.done
        } else if ring.published(block).is_some() {
            &mut tally.not_advanced
        } else if !ring.proof(block).is_some_and(own) {
            &mut tally.not_proven
        } else {
            &mut tally.not_published
        };
        *place += 1;
    }
}

/// Whether the worker has left the phase or the block.
fn ended(seat: &SlotWords<'_>, phase: Phase, block: BlockIndex) -> bool {
    let breadcrumb = seat.breadcrumb();
    match phase {
        // After advancing, the worker wakes the others and is idle.
        Phase::Publishing => breadcrumb.phase == Phase::Idle || seat.frontier() > block.next(),
        _ => breadcrumb.phase != phase,
    }
}

fn kill_at_every_instruction(role: Role, phase: Phase) -> Result<()> {
    let every = std::env::var("UNDERSTUDY_EVERY")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(7);
    let every = match phase {
        // A checkpoint has ten times as many instructions, and nine tenths of them are one loop.
        Phase::Checkpointing if every > 1 => every * 10,
        _ => every,
    };
    let mut random = Random::seeded(4);
    let (mut tally, mut entry) = (Tally::default(), None);
    let (mut kills, mut compared, mut differing, mut concealed) = (0, 0, 0, 0);
    let mut instructions = (0..).step_by(every).peekable();
    // One stack for at most 500 kills: in freewheel, a longer run would make the file too large.
    while instructions.peek().is_some() {
        let (stack, recording) =
            Stack::start_wav(&["--freewheel", "--channels", "1", "--block", "16"])?;
        let shared = stack.shared()?;
        let mut theatre = Theatre {
            stack,
            shared,
            role,
            phase,
            entry,
            tally,
        };
        theatre.stack.osc_send("/gate/adsr", Some(1.0))?;
        let mut goes_on = true;
        for instructions in instructions.by_ref().take(500) {
            goes_on = theatre.kill_whatever_it_takes(instructions, &mut random)?;
            kills += 1;
            if !goes_on {
                break;
            }
        }
        theatre.stack.wait_ready()?;
        concealed += number(&theatre.stack.status()?, "/audio/concealed_blocks")?;
        let (more, wrong) = theatre.stack.down()?.compare(&recording.wav)?;
        (compared, differing) = (compared + more, differing + wrong);
        (tally, entry) = (theatre.tally, theatre.entry);
        if !goes_on {
            break;
        }
    }
    println!(
        "FIGURE {role:?} killed after every {every} instruction(s) of {phase:?}: kills {kills}, samples compared {compared}, differing {differing}, concealed {concealed}; {tally:?}"
    );
    assert_eq!((differing, concealed), (0, 0));
    assert!(kills > 10, "the phase was found");
    if phase == Phase::Publishing {
        let seen = [
            tally.not_proven,
            tally.not_published,
            tally.not_advanced,
            tally.done,
        ];
        assert!(!seen.contains(&0), "each stage of the commit was hit");
    }
    Ok(())
}

#[test]
fn the_leader_is_killed_at_each_instruction_of_its_commit() -> Result<()> {
    kill_at_every_instruction(Role::Leader, Phase::Publishing)
}

#[test]
fn the_follower_is_killed_at_each_instruction_of_its_commit() -> Result<()> {
    kill_at_every_instruction(Role::Follower, Phase::Publishing)
}

#[test]
fn the_follower_is_killed_at_each_instruction_of_its_checkpoint() -> Result<()> {
    kill_at_every_instruction(Role::Follower, Phase::Checkpointing)
}
