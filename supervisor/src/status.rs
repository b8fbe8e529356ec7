//! What `understudy status --json` shows.

use common::{message::Service, stage::Stage};
use failover::switch::{Seat, Supervision};
use serde_json::{Value, json};

use crate::peers::{Peers, rss_kib};

/// The list of services.
pub fn services(
    peers: &mut Peers,
    supervision: &Supervision,
    stage: &Stage<'_>,
    own_start: std::time::Instant,
) -> Vec<Value> {
    let leader = supervision.preference().slot;
    let shape = stage.shape();
    let block_ns = 1e9 * f64::from(shape.block_frames) / f64::from(shape.rate_hz);
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
            Service::Trial => ("trial", "ready"),
            _ => ("service", if process.up { "ready" } else { "starting" }),
        };
        let mut entry = json!({
            "name": service.to_string(), "pid": process.pid, "role": role, "state": state,
            "restarts": starts.get(service).copied().unwrap_or(1) - 1,
            "uptime_s": tenths(process.since.elapsed().as_secs_f64()),
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
pub fn audio(stage: &Stage<'_>, sink: &str, gap_ms: Option<f64>) -> Value {
    let counters = stage.audio_counters();
    json!({
        "sink": sink, "play_cursor": stage.cursor().0, "underruns": counters.underruns,
        "concealed_blocks": counters.concealed_blocks, "taken_across": counters.taken_across,
        "device_burst_blocks": stage.burst(), "last_gap_ms": gap_ms,
    })
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
