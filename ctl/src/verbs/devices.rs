//! `understudy devices`: the available sound systems, and the devices that `--sink` can name.
//!
//! The verb runs `audio-out --devices`, since only audio-out knows sound systems. It needs no running stack.

use std::process::Command;

use common::message::Service;
use serde_json::Value;

use crate::{Context, failure::Failure, output};

pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let name = Service::AudioOut.program();
    let cannot = |why: std::io::Error| Failure::no(format!("cannot start {name}: {why}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let mut command = Command::new(program.with_file_name(name));
    let output = command.arg("--devices").output().map_err(cannot)?;
    let list: Value = serde_json::from_slice(&output.stdout).map_err(|why| {
        let said = String::from_utf8_lossy(&output.stderr);
        Failure::no(format!("{name} lists no devices ({why}): {}", said.trim()))
    })?;
    if context.json {
        output::value(&list);
    } else {
        output::raw(&table(&list));
    }
    Ok(())
}

fn table(list: &Value) -> String {
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut table = String::from("In the order in which --sink auto tries them:\n");
    for system in rows(list) {
        let devices = rows(&system["devices"]);
        let state = match text(&system["state"]).as_str() {
            "there" if devices.is_empty() => ": no devices".into(),
            "there" => String::new(),
            state => format!(": {state}"),
        };
        table.push_str(&format!("\n{}{state}\n", text(&system["system"])));
        let lines: Vec<Vec<String>> = devices
            .iter()
            .map(|device| {
                let default = device["default"] == Value::Bool(true);
                let mark = if default { "default" } else { "" };
                let sink = format!("  --sink \"{}\"", text(&device["sink"]));
                vec![sink, text(&device["name"]), mark.into()]
            })
            .collect();
        table.push_str(&super::modules::aligned(&lines));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_is_shown_as_it_is_named() {
        let list = serde_json::json!([
            {"system": "PipeWire", "state": "no server runs", "devices": []},
            {"system": "PulseAudio", "state": "there", "devices": [
                {"sink": "device:pulseaudio:vout", "name": "Null Output", "default": true}]},
        ]);
        let text = table(&list);
        assert!(text.contains("PipeWire: no server runs"), "{text}");
        assert!(text.contains("--sink \"device:pulseaudio:vout\""), "{text}");
        assert!(
            text.contains("Null Output") && text.contains("default"),
            "{text}"
        );
    }
}
