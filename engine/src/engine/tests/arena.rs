//! The arena: a copy continues with the same bits, and the arena of another patch is refused.

use super::*;

#[test]
fn from_a_snapshot_on_everything_is_equal_to_the_bit() {
    GUARDED.set(true);
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let patch = if seed % 2 == 0 {
            all()
        } else {
            Patch::default_patch()
        };
        let mut first = engine(&patch);
        let snapshot_at = dice.roll(100);
        for _ in 0..snapshot_at {
            if dice.roll(3) == 0 {
                first.apply(&dice.event(&patch));
            }
            heard(&mut first, 1);
        }
        let mut second = engine(&patch);
        // What a replica did before must not matter, not even the content of its buffers.
        second.apply(&dice.event(&patch));
        heard(&mut second, 3);
        second.restore(first.arena()).unwrap();
        for block in 0..60 {
            if dice.roll(3) == 0 {
                let event = dice.event(&patch);
                first.apply(&event);
                second.apply(&event);
            }
            let (one, two) = (heard(&mut first, 1), heard(&mut second, 1));
            assert_eq!(
                bits(&one),
                bits(&two),
                "seed {seed}, block {block} after {snapshot_at}"
            );
            assert_eq!(first.arena(), second.arena(), "seed {seed}, block {block}");
        }
    }
}

#[test]
fn whatever_a_block_changes_is_active_or_said_to_be_written() {
    GUARDED.set(true);
    let palette = include_str!("../../../../patches/palette.json");
    let patch = Patch::from_json(palette).unwrap();
    let piece = common::checkpoint::PIECE_WORDS;
    for (block_frames, blocks) in [(16, 1_500), (64, 400), (2_048, 20)] {
        let mut dice = Dice(u64::from(block_frames));
        let config = Config {
            block_frames,
            ..CONFIG
        };
        let mut engine = Engine::new(&patch, config).unwrap();
        let mut out = vec![0.0; config.block_samples()];
        let (mut changed, mut said) = (0, 0);
        for block in 0..blocks {
            if dice.roll(3) == 0 {
                engine.apply(&dice.event(&patch));
            }
            let before = engine.words().to_vec();
            engine.written().fill(0);
            engine.render(&mut out, &mut |_| {});
            let written = engine.written().to_vec();
            let pieces = engine.words().chunks(piece).zip(before.chunks(piece));
            for (number, (now, before)) in pieces.enumerate() {
                let is_in = |bits: &[u64]| bits[number / 64] & 1 << (number % 64) != 0;
                let inactive = !is_in(engine.active());
                changed += usize::from(inactive && now != before);
                said += usize::from(is_in(&written));
                let known = is_in(&written) || !inactive || now == before;
                assert!(known, "piece {number}, block {block} of {block_frames}");
            }
        }
        // Nor is everything marked.
        let pieces = engine.words().len() / piece;
        assert!(changed > 0, "no line was written");
        assert!(
            said < blocks * pieces * block_frames as usize / 2_048,
            "{said} of {pieces} in {blocks} blocks of {block_frames}"
        );
    }
}

#[test]
fn an_arena_of_something_else_is_refused() {
    let mut engine = engine(&all());
    let expected = engine.arena_len_bytes();
    assert_eq!(
        engine.restore(&[0; 8]),
        Err(RestoreError::Length { found: 8, expected })
    );
    let mut other = all();
    other.modules.swap(0, 1);
    let other = Engine::new(&other, CONFIG).unwrap();
    assert_eq!(engine.restore(other.arena()), Err(RestoreError::Layout));
    let other = Engine::new(
        &all(),
        Config {
            block_frames: 128,
            ..CONFIG
        },
    )
    .unwrap();
    assert_eq!(engine.restore(other.arena()), Err(RestoreError::Layout));
}

#[test]
fn no_bits_in_an_arena_make_it_panic() {
    GUARDED.set(true);
    let mut dice = Dice(1);
    for (patch, times) in [(all(), 200), (everything(&mut dice), 20)] {
        let mut engine = engine(&patch);
        for _ in 0..times {
            let mut arena = engine.arena().to_vec();
            for byte in &mut arena[8..] {
                *byte = dice.roll(256) as u8;
            }
            engine.restore(&arena).unwrap();
            heard(&mut engine, 2);
            engine.apply(&dice.event(&patch));
            heard(&mut engine, 2);
        }
    }
}
