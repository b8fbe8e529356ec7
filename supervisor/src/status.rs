//! What `understudy status --json` shows.

use common::{
    message::Service,
    stage::Stage,
    units::{BlockIndex, Epoch, Slot},
};
use failover::switch::{Seat, Supervision};
use serde_json::{Value, json};

use crate::peers::{Peers, rss_kib};

/// Switches and replacements that are kept for `status`.
pub const KEPT: usize = 4_096;

/// A switch, as it is shown.
#[derive(Clone, Debug)]
pub struct Switch {
    pub epoch: Epoch,
    pub at_block: BlockIndex,
    pub from: Slot,
    pub to: Slot,
    pub cause: String,
    /// From the injected fault to the notice; without an injected fault nobody knows.
    pub detected_us: Option<u64>,
    /// From the injected fault (else the notice) to the changed preference.
    pub switched_us: u64,
    pub standby_ready_ms: Option<f64>,
}

/// A replacement, as it is shown.
#[derive(Clone, Debug)]
pub struct Replacement {
    pub slot: Slot,
    pub cause: String,
    pub detected_us: Option<u64>,
    /// From the injected fault (else the notice) to the proven replacement.
    pub ready_ms: Option<f64>,
}

/// Counts of commands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub accepted: u64,
    pub rejected: u64,
}

/// The list of services.
pub fn services(
    peers: &mut Peers,
    supervision: &Supervision,
    own_start: std::time::Instant,
) -> Vec<Value> {
    let leader = supervision.preference().slot;
    let mut list = vec![json!({
        "name": "supervisor", "pid": std::process::id(), "role": "supervisor", "state": "ready",
        "restarts": 0, "uptime_s": tenths(own_start.elapsed().as_secs_f64()),
        "cpu_percent": own_cpu_percent(own_start), "rss_kib": rss_kib(std::process::id()),
    })];
    let Peers { processes, starts } = peers;
    for (service, process) in processes.iter_mut() {
        let (role, state) = match service {
            Service::Worker(slot) => (
                if *slot == leader {
                    "leader"
                } else {
                    "follower"
                },
                match supervision.seat(*slot) {
                    Seat::Ready { .. } => "ready",
                    Seat::Starting { .. } => "catching-up",
                    Seat::Vacant { .. } => "waiting",
                    Seat::Condemned { .. } | Seat::Dying { .. } => "failed",
                },
            ),
            _ => ("service", if process.up { "ready" } else { "starting" }),
        };
        list.push(json!({
            "name": service.to_string(), "pid": process.pid, "role": role, "state": state,
            "restarts": starts.get(service).copied().unwrap_or(1) - 1,
            "uptime_s": tenths(process.since.elapsed().as_secs_f64()),
            "cpu_percent": process.cpu_percent(), "rss_kib": rss_kib(process.pid),
        }));
    }
    list
}

fn own_cpu_percent(start: std::time::Instant) -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns: f64 = text
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    tenths(ns / 1e7 / start.elapsed().as_secs_f64().max(0.001))
}

/// The audio part.
pub fn audio(stage: &Stage<'_>, sink: &str) -> Value {
    let counters = stage.audio_counters();
    json!({
        "sink": sink, "play_cursor": stage.cursor().0, "underruns": counters.underruns,
        "concealed_blocks": counters.concealed_blocks, "taken_across": counters.taken_across,
        "device_burst_blocks": stage.burst(),
    })
}

/// The switches.
pub fn switches(list: &[Switch]) -> Vec<Value> {
    list.iter()
        .map(|s| {
            json!({
                "epoch": s.epoch.0, "at_block": s.at_block.0, "from": s.from.index(),
                "to": s.to.index(), "cause": s.cause, "detected_us": s.detected_us,
                "switched_us": s.switched_us, "standby_ready_ms": s.standby_ready_ms,
            })
        })
        .collect()
}

/// The replacements.
pub fn replacements(list: &[Replacement]) -> Vec<Value> {
    list.iter()
        .map(|r| {
            json!({
                "slot": r.slot.index(), "cause": r.cause, "detected_us": r.detected_us,
                "ready_ms": r.ready_ms,
            })
        })
        .collect()
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
