//! Patches that are large in one way: many modules, much state.

use serde_json::{Value, json};

/// A thousand modules: 250 voices, the first of which sounds, each a little different in each edit.
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
    // Another one comes and goes.
    if edit % 2 == 1 {
        modules.push(json!({"id": "more", "type": "noise", "params": {"gain": 0}}));
        cables.push(json!({"from": "more", "to": "out"}));
    }
    json!({"version": 1, "modules": modules, "cables": cables})
}

/// 200 modules, 198 of them echoes: 16 MiB of state.
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
