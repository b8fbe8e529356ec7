//! Patches that are large in one respect: many modules, or much state.

use serde_json::{Value, json};

/// A patch of a thousand modules: 250 voices. The first voice, which tests open with `/gate/e0`,
/// keeps its frequency; those of the others depend on `edit`.
#[must_use]
pub fn thousand(edit: usize) -> Value {
    let mut modules = Vec::new();
    let mut cables = Vec::new();
    for voice in 0..250 {
        let hz = if voice == 0 { 440 } else { 100 + voice + edit };
        modules.push(json!({"id": format!("s{voice}"), "type": "sine", "params": {"freq": hz}}));
        modules.push(json!({"id": format!("e{voice}"), "type": "adsr"}));
        modules.push(json!({"id": format!("f{voice}"), "type": "filter"}));
        modules.push(json!({"id": format!("a{voice}"), "type": "vca", "params": {"level": 1}}));
        for (from, to) in [("s", "e"), ("e", "f"), ("f", "a")] {
            let (from, to) = (format!("{from}{voice}"), format!("{to}{voice}"));
            cables.push(json!({"from": from, "to": to}));
        }
        cables.push(json!({"from": format!("a{voice}"), "to": "out"}));
    }
    modules.push(json!({"id": "out", "type": "out"}));
    // Every second edit has one more module.
    if edit % 2 == 1 {
        modules.push(json!({"id": "more", "type": "noise", "params": {"gain": 0}}));
        cables.push(json!({"from": "more", "to": "out"}));
    }
    json!({"version": 1, "modules": modules, "cables": cables})
}

/// A patch of 200 modules with 16 MiB of state: 198 of them are delays.
#[must_use]
pub fn large_patch() -> Value {
    let mut modules = vec![json!({"id": "sine", "type": "sine"})];
    let mut cables = Vec::new();
    let mut before = "sine".to_owned();
    for number in 0..198 {
        let id = format!("d{number}");
        let params = json!({"time": 20.0 + f64::from(number), "feedback": 0.3, "mix": 0.05});
        modules.push(json!({"id": id, "type": "delay", "params": params}));
        cables.push(json!({"from": before, "to": id}));
        before = id;
    }
    modules.push(json!({"id": "out", "type": "out"}));
    cables.push(json!({"from": before, "to": "out"}));
    json!({"version": 1, "modules": modules, "cables": cables})
}
