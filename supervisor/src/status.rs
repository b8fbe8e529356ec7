//! The JSON of `understudy status --json`.

use common::{
    message::Service,
    stage::{SlotWords, Stage},
};
use failover::switch::{Seat, Supervision};
use platform::{kept, paths::Paths};
use serde_json::{Value, json};

use crate::peers::{Cpu, Peers, age_s, rss_kib};

/// The list of services.
pub fn services(
    peers: &mut Peers,
    supervision: &Supervision,
    stage: &Stage<'_>,
    own_cpu: &mut Cpu,
) -> Vec<Value> {
    let leader = supervision.preference().slot;
    let format = stage.format();
    let block_ns = 1e9 * f64::from(format.block_frames) / f64::from(format.rate_hz);
    let mut list = vec![json!({
        "name": "supervisor", "pid": std::process::id(), "role": "supervisor", "state": "ready",
        "restarts": stage.restarts(Service::Supervisor), "uptime_s": uptime_s(std::process::id()),
        "cpu_percent": own_cpu.percent(std::process::id()), "rss_kib": rss_kib(std::process::id()),
    })];
    for (service, process) in &mut peers.processes {
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
            Service::Trial => ("trial", "ready"),
            _ => ("service", if process.up { "ready" } else { "starting" }),
        };
        let mut entry = json!({
            "name": service.to_string(), "pid": process.pid, "role": role, "state": state,
            "restarts": stage.restarts(*service), "uptime_s": uptime_s(process.pid),
            "cpu_percent": process.cpu_percent(), "rss_kib": rss_kib(process.pid),
        });
        let load = match service {
            Service::Worker(slot) => process.block_ns(&stage.slot(*slot)),
            _ => None,
        };
        if let Some((mean, peak)) = load {
            let percent = |ns: f64| json!(tenths(100.0 * ns / block_ns));
            entry["load_percent"] = percent(mean);
            entry["peak_percent"] = percent(peak);
        }
        list.push(entry);
    }
    list
}

/// The state of the MIDI port, as recorded by the MIDI input.
pub fn midi(paths: &Paths) -> Value {
    let held: Value = kept::read(&paths.midi_held()).unwrap_or_default();
    let port = &held["port"];
    let open = port["open"] == true;
    json!({
        "port": port["name"], "state": if open { "open" } else { "waiting" },
        "reopened": port["reopened"].as_u64().unwrap_or(0),
    })
}

fn uptime_s(pid: u32) -> f64 {
    tenths(age_s(pid).unwrap_or(0.0))
}

/// The audio part.
pub fn audio(stage: &Stage<'_>, sink: &str, gap_ms: Option<f64>) -> Value {
    let counters = stage.audio_counters();
    json!({
        "sink": sink, "play_cursor": stage.cursor().0, "underruns": counters.underruns,
        "concealed_blocks": counters.concealed_blocks, "taken_across": counters.taken_across,
        "device_burst_blocks": stage.burst(), "device_gaps": counters.device_gaps,
        "last_gap_ms": gap_ms, "clipped_samples": counters.clipped_samples,
    })
}

/// The work of the safety stage: the largest reduction within the last seconds in dB, the samples beyond the ceiling so
/// far, and the current DC.
pub fn removed(seat: &SlotWords<'_>) -> (f64, u64, f64) {
    let (limited, samples, dc) = seat.removed();
    let left = f64::from(1.0 - limited).max(1e-4);
    // Avoids -0.
    (tenths(-20.0 * left.log10()) + 0.0, samples, thousandths(dc))
}

/// Rounds to two places.
pub fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn thousandths(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
