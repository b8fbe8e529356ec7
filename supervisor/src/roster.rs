//! Which services the instance has, and the arguments that each is started with.

use common::{
    message::Service,
    options::Options,
    units::{Incarnation, Slot},
};

/// All that the instance is to have but the supervisor.
pub fn services(options: &Options) -> impl Iterator<Item = Service> + use<> {
    Slot::ALL
        .map(Service::Worker)
        .into_iter()
        .chain(without_workers(options))
}

/// Those of them that need nothing from the supervisor to begin.
pub fn without_workers(options: &Options) -> impl Iterator<Item = Service> + use<> {
    let midi = options.midi.as_ref().map(|_| Service::MidiIn);
    let link = options.link.then_some(Service::LinkIn);
    let always = [Service::AudioOut, Service::OscGateway, Service::Recorder];
    always.into_iter().chain(midi).chain(link)
}

/// The command line of such a process, without the program.
pub fn arguments(options: &Options, service: Service, incarnation: Incarnation) -> Vec<String> {
    let mut args = vec!["--instance".into(), options.instance.clone()];
    match service {
        Service::Worker(slot) => {
            args.extend(["--slot".into(), slot.to_string()]);
            args.extend(["--incarnation".into(), incarnation.to_string()]);
        }
        Service::AudioOut => args.extend(["--sink".into(), options.sink.clone()]),
        Service::MidiIn => {
            let (port, to) = options.midi.clone().unwrap_or_default();
            let osc = options.osc.clone();
            for (option, value) in [("--port", port), ("--to", to), ("--osc", osc)] {
                args.extend([option.into(), value]);
            }
        }
        Service::LinkIn => args.extend(["--osc".into(), options.osc.clone()]),
        Service::OscGateway | Service::Recorder | Service::Supervisor | Service::Trial => {}
    }
    args
}

#[cfg(test)]
mod tests {
    use common::message::ServiceKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn with_every_option_an_instance_has_every_service() {
        let options: Options = serde_json::from_value(json!({
            "instance": "x", "sink": "null", "freewheel": false, "osc": "127.0.0.1:1", "midi": ["auto", "keys"],
            "link": true, "rate_hz": 48_000, "block_frames": 128, "lead_blocks": null, "lead_max_ms": 32, "channels": 2,
            "patch": false, "resume": false, "segment": [1_000, 60], "keep": "All", "archive": null
        }))
        .unwrap();
        let started: Vec<Service> = services(&options).collect();
        for service in Service::ALL {
            let by_itself = matches!(service.kind(), ServiceKind::Supervisor | ServiceKind::Trial);
            assert!(by_itself != started.contains(&service), "{service}");
        }
    }
}
