//! What the tests share: the default patch's names, datagrams, a seeded source of numbers.
#![allow(dead_code, missing_docs)]

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use ::common::{
    inbox::{INBOX_WORDS, Inbox},
    stage::{AudioFormat, STAGE_WORDS, Stage},
    sync::heap,
};
use osc_gateway::namespace::{Module, Namespace, Param};
use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType};

pub fn param(name: &str, unit: &str, min: f32, max: f32) -> Param {
    Param {
        name: name.into(),
        unit: unit.into(),
        min,
        max,
        default: min,
        stepped: false,
        log: unit == "Hz",
        choices: Vec::new(),
    }
}

pub fn default_names(generation: u64) -> Namespace {
    let module = |id: &str, takes_gate, params: Vec<Param>| Module {
        id: id.into(),
        kind: id.into(),
        takes_gate,
        plays: takes_gate || id == "sine",
        params: params.into(),
    };
    let mode = Param {
        stepped: true,
        choices: vec!["lowpass".into(), "highpass".into()],
        ..param("mode", "", 0.0, 1.0)
    };
    Namespace::new(
        generation,
        48_000,
        vec![
            module(
                "sine",
                false,
                vec![
                    param("freq", "Hz", 0.01, 20_000.0),
                    param("gain", "", 0.0, 1.0),
                ],
            ),
            module(
                "adsr",
                true,
                vec![
                    param("attack", "ms", 0.0, 10_000.0),
                    param("sustain", "", 0.0, 1.0),
                ],
            ),
            module(
                "filter",
                false,
                vec![param("cutoff", "Hz", 20.0, 20_000.0), mode],
            ),
            module("out", false, vec![param("gain", "", 0.0, 1.0)]),
        ],
    )
}

/// Tickets only grow.
pub fn ticket() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An inbox of its own, on the heap, for as long as the test runs.
pub fn inbox() -> Inbox<'static> {
    Inbox::create(Vec::leak(heap(INBOX_WORDS))).unwrap()
}

/// A stage on which nobody plays: nobody knows what time tags mean.
pub fn stage() -> Stage<'static> {
    let format = AudioFormat {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };
    Stage::create(Vec::leak(heap(STAGE_WORDS)), &format).unwrap()
}

pub fn sender(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub fn message(address: &str, args: Vec<OscType>) -> OscPacket {
    OscPacket::Message(OscMessage {
        addr: address.into(),
        args,
    })
}

pub fn bundle(content: Vec<OscPacket>) -> OscPacket {
    OscPacket::Bundle(OscBundle {
        timetag: OscTime {
            seconds: 0,
            fractional: 1,
        },
        content,
    })
}

pub fn bytes(packet: &OscPacket) -> Vec<u8> {
    rosc::encoder::encode(packet).unwrap()
}

pub fn osc(address: &str, args: Vec<OscType>) -> Vec<u8> {
    bytes(&message(address, args))
}

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }
}
