//! The fuzzed functions. For any input, nothing may panic, hang or grow without bound. The targets
//! in `fuzz/` and the test of the corpora call the same functions.

use common::{
    checkpoint::{CHECKPOINT_WORDS, Checkpoint},
    command_log,
    inbox::{INBOX_WORDS, Inbox},
    layout,
    limits::DATAGRAM_BYTES_MAX,
    ring::{Ring, ring_words},
    stage::{AudioFormat, STAGE_WORDS, Stage},
    sync::{AtomicU64, Ordering, heap},
    units::{BlockIndex, Incarnation, Seq, Slot},
};
use engine::{Config, Engine, patch::Patch, replay::Replay};
use std::sync::OnceLock;

use osc_gateway::{decode, gateway::Gateway, namespace::Namespace};
use tempfile::TempDir;

const CONFIG: Config = Config {
    rate_hz: 48_000,
    block_frames: 64,
    channels: 2,
};

/// Decodes OSC bytes into commands.
pub fn osc(bytes: &[u8]) {
    let json = Patch::default_patch().to_json();
    let Ok(names) = Namespace::of_patch(1, CONFIG.rate_hz, &json) else {
        panic!("the default patch has names");
    };
    let mut gateway = Gateway::default();
    gateway.patch(names);
    let sender = ([127, 0, 0, 1], 1).into();
    gateway.datagram(1, sender, bytes);
    let batch = gateway.batch();
    assert!(batch.len() <= common::limits::COMMANDS_PER_MESSAGE);
    for addressed in gateway.replies() {
        let reply = osc_gateway::reply::encode(addressed.reply);
        assert!(reply.len() <= DATAGRAM_BYTES_MAX, "a reply fits a datagram");
    }
    let _ = decode::address_of(bytes);
}

/// Reads a command log and replays it.
pub fn command_log(bytes: &[u8]) {
    let count = command_log::records(bytes).count();
    assert!(count <= bytes.len() / 8);
    let _ = command_log::head(bytes);
    let Ok(mut replay) = Replay::new(bytes, Box::new(|_| None)) else {
        return;
    };
    let mut block = vec![0.0; replay.format().block_samples()];
    for _ in 0..16 {
        if !matches!(replay.next(&mut block), Ok(true)) {
            break;
        }
    }
    let _ = replay.apply_rest();
}

/// Reads a patch file and renders it.
pub fn patch(bytes: &[u8]) {
    let Ok(patch) = Patch::from_json(&String::from_utf8_lossy(bytes)) else {
        return;
    };
    let again = Patch::from_json(&patch.to_json());
    assert_eq!(again.as_ref(), Ok(&patch), "what is written is read back");
    let Ok(mut engine) = Engine::new(&patch, CONFIG) else {
        return;
    };
    let mut out = vec![0.0; CONFIG.block_samples()];
    for _ in 0..4 {
        engine.render(&mut out, &mut |_| {});
        assert!(out.iter().all(|sample| sample.is_finite()));
    }
}

/// The readers of the command line. The first byte selects the reader; the rest is the file.
pub fn readers(bytes: &[u8]) {
    let Some((kind, file)) = bytes.split_first() else {
        return;
    };
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder"));
    let _good = match kind {
        b'p' => ctl::readers::patch(folder.path(), file),
        b'w' => ctl::readers::sample(folder.path(), file),
        b's' => ctl::readers::score(file),
        b'm' => ctl::readers::midi_map(folder.path(), file),
        _ => ctl::readers::script(file),
    };
}

static FOLDER: OnceLock<TempDir> = OnceLock::new();

/// Shared words left by a hostile or torn writer, read by all their readers.
pub fn segments(bytes: &[u8]) {
    let format = AudioFormat {
        rate_hz: 48_000,
        block_frames: 8,
        channels: 1,
        lead_blocks: 4,
        freewheel: false,
    };
    let stage_words = heap(STAGE_WORDS);
    let _ = Stage::create(&stage_words, &format);
    let ring = heap(ring_words(8));
    let _ = Ring::create(&ring, 8);
    let inbox_words = heap(INBOX_WORDS);
    let _ = Inbox::create(&inbox_words);
    scribble(&stage_words, bytes);
    scribble(&ring, bytes);
    scribble(&inbox_words, bytes);
    if let Ok(stage) = Stage::open(&stage_words) {
        read_stage(&stage);
    }
    if let Ok(ring) = Ring::open(&ring, 8) {
        let mut out = [0.0; 8];
        for block in [0, 1, 255, u64::MAX / 2].map(BlockIndex) {
            let _ = (
                ring.read(block, &mut out),
                ring.published(block),
                ring.proof(block),
            );
        }
    }
    if let Ok(inbox) = Inbox::open(&inbox_words) {
        let _ = (
            inbox.free_words(),
            inbox.counters(),
            inbox.recall(1),
            inbox.datagram(2),
            inbox.filtered(),
        );
        for serial in inbox.adopt() {
            inbox.admit(serial);
        }
        inbox.free_below(inbox.tail());
    }
    // A checkpoint is large, so only its head is overwritten.
    if bytes.first().is_some_and(|byte| byte % 16 == 0) {
        let words = heap(CHECKPOINT_WORDS);
        let _ = Checkpoint::create(&words);
        scribble(&words[..64], bytes);
        if let Ok(checkpoint) = Checkpoint::open(&words) {
            let _ = (checkpoint.mark(), checkpoint.read(&mut [0; 8]));
        }
    }
    let _ = layout::check_header(&stage_words, layout::Kind::Ring, 8);
}

fn read_stage(stage: &Stage<'_>) {
    let _ = (
        stage.format(),
        stage.cursor(),
        stage.horizon(),
        stage.preference(),
    );
    let _ = (
        stage.acknowledged(),
        stage.written(),
        stage.audio_state(),
        stage.held(),
    );
    let _ = (
        stage.audio_counters(),
        stage.elapsed_blocks(),
        stage.quarantined(Seq(3)),
    );
    for slot in Slot::ALL {
        let seat = stage.slot(slot);
        let _ = (
            seat.breadcrumb(),
            seat.panic_message(),
            seat.verdict(),
            seat.muted(),
            seat.frontier(),
        );
        let _ = stage.distrusts(slot, Incarnation(1), BlockIndex(2));
        let _ = failover::decide::step(stage, slot, BlockIndex(1), Seq(1), Seq(2));
    }
}

/// Overwrites words: each ten bytes are a place and a value.
fn scribble(words: &[AtomicU64], bytes: &[u8]) {
    for ten in bytes.chunks_exact(10) {
        let place = usize::from(u16::from_le_bytes([ten[0], ten[1]])) % words.len();
        let mut eight = [0; 8];
        eight.copy_from_slice(&ten[2..]);
        words[place].store(u64::from_le_bytes(eight), Ordering::Relaxed);
    }
}
