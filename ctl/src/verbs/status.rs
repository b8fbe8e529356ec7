//! `understudy status [--modules]`: prints the state of the stack as a table, or the supervisor's JSON unchanged.

use common::message::Request;
use serde_json::Value;

use crate::{Context, asking, failure::Failure, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// List the modules of the running patch with their load in percent of one core, highest first
    #[arg(long)]
    modules: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if args.modules {
        let modules = asking::ask(&context.paths, &Request::Modules, asking::USUAL)?;
        match context.json {
            true => output::value(&modules),
            false => output::raw(&module_table(&modules)),
        }
        return Ok(());
    }
    let status = asking::status(&context.paths)?;
    if context.json {
        output::value(&status);
    } else {
        output::raw(&table(&status));
    }
    Ok(())
}

/// A value without quotes; `-` for null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table(status: &Value) -> String {
    let get = |name: &str| plain(&status[name]);
    let (audio, commands) = (&status["audio"], &status["commands"]);
    let mut text = format!(
        "instance  {}: {}\nsound     {} Hz, {} channels, blocks of {} frames, lead {} blocks{}\nsink      {}\nplayed    {} ({} blocks), {} underruns, {} blocks concealed\nosc       {}\ncommands  {} received, {} accepted, {} rejected, {} applied, {} late\nleader    worker:{}; {}\n\n",
        get("instance"),
        state(status),
        get("rate"),
        get("channels"),
        get("block"),
        get("lead"),
        margin(status),
        sink(status),
        minutes(played_seconds(status)),
        plain(&audio["play_cursor"]),
        plain(&audio["underruns"]),
        plain(&audio["concealed_blocks"]),
        get("osc"),
        plain(&commands["received"]),
        plain(&commands["accepted"]),
        plain(&commands["rejected"]),
        plain(&commands["applied"]),
        plain(&commands["late"]),
        get("leader"),
        last_switch(status),
    );
    if status["divergences"].as_u64().unwrap_or(0) > 0 {
        let note = format!(
            "diverged  the workers' sound, {} times\n\n",
            get("divergences")
        );
        text.truncate(text.len() - 1);
        text.push_str(&note);
    }
    for line in troubles(status) {
        text.truncate(text.len() - 1);
        text.push_str(&format!("!         {line}\n\n"));
    }
    let services = [
        "name",
        "pid",
        "role",
        "state",
        "restarts",
        "uptime_s",
        "cpu_percent",
        "load_percent",
        "peak_percent",
        "rss_kib",
    ];
    text.push_str(&rows(&services, &status["services"], usize::MAX));
    let switches = [
        "epoch",
        "at_block",
        "from",
        "to",
        "cause",
        "detected_us",
        "switched_us",
        "standby_ready_ms",
    ];
    if status["switches"].as_array().is_some_and(|s| !s.is_empty()) {
        text.push_str("\nlast switches\n");
        text.push_str(&rows(&switches, &status["switches"], 10));
    }
    text
}

/// The load of each module, and of the rest of a block.
fn module_table(modules: &Value) -> String {
    let percent = |name: &str| plain(&modules[name]);
    let mut lines = vec![["id", "type", "load_percent"].map(str::to_owned).to_vec()];
    let list = modules["modules"].as_array().into_iter().flatten();
    lines.extend(list.map(|module| {
        // Two decimals, so that the cheapest modules do not show as zero.
        let share = module["load_percent"].as_f64();
        let share = share.map_or_else(|| "-".into(), |share| format!("{share:.2}"));
        vec![plain(&module["id"]), plain(&module["type"]), share]
    }));
    let mut text = crate::verbs::modules::aligned(&lines);
    text.push_str(&format!(
        "\nall modules and the rest of a block ({} %): {} % of one core, in each worker\n",
        percent("rest_percent"),
        percent("sum_percent")
    ));
    text
}

/// The most expensive modules in one line, while the stack is overloaded.
fn dearest(status: &Value) -> Option<String> {
    let each = status["dearest"].as_array()?.iter().map(|module| {
        let percent = module["load_percent"].as_f64();
        let percent = percent.map_or_else(|| "?".into(), |percent| format!("{percent:.1}"));
        format!("{} {percent} %", plain(&module["id"]))
    });
    let each: Vec<String> = each.collect();
    Some(format!(
        "the most expensive modules, in percent of one core: {} (`understudy status --modules` lists all)",
        each.join(", ")
    ))
}

/// Whether the lead is automatic, and the smallest margin of a block to its deadline within the last minute.
fn margin(status: &Value) -> String {
    let auto = match status["lead_auto"] == true {
        true => " (auto)",
        false => "",
    };
    let closest = status["closest_deadline_ms"].as_f64();
    let closest = closest.map(|ms| format!(", smallest margin {ms:.1} ms"));
    format!("{auto}{}", closest.unwrap_or_default())
}

/// The state word and its meaning.
fn state(status: &Value) -> String {
    let word = plain(&status["state"]);
    let meaning = match word.as_str() {
        "protected" => "one worker plays, the other stands by; the death of either is inaudible",
        "degraded" => "one worker plays, but no other stands by yet; its death could be audible",
        "overloaded" => {
            "the patch needs more than this machine can compute, so the sound breaks; load a lighter patch or remove modules"
        }
        "silent" => "the sound has stopped",
        "unsupervised" => {
            "the sound continues, but a worker that dies is not replaced and no command is accepted"
        }
        _ => return word,
    };
    format!("{word}: {meaning}")
}

/// All problems, one line each.
fn troubles(status: &Value) -> Vec<String> {
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let mut lines: Vec<String> = dearest(status).into_iter().collect();
    lines.extend(list("complaints").iter().map(plain));
    let dropped = status["commands"]["dropped_by_kernel"]
        .as_u64()
        .unwrap_or(0);
    if dropped > 0 {
        lines.push(format!(
            "the kernel has dropped {dropped} datagrams because the socket's queue was full"
        ));
    }
    let count = |name: &str| status["audio"][name].as_u64().unwrap_or(0);
    let gaps = count("device_gaps");
    if gaps > 0 {
        lines.push(format!(
            "the device has interrupted the sound {gaps} times; the last gap lasted {} ms",
            plain(&status["audio"]["last_gap_ms"])
        ));
    }
    let clipped = count("clipped_samples");
    if clipped > 0 {
        lines.push(format!(
            "{clipped} samples were above full scale and were clipped for the device: reduce the output level"
        ));
    }
    for left_out in list("quarantined") {
        let (command, what) = (plain(&left_out["command"]), plain(&left_out["what"]));
        lines.push(format!(
            "the command {command} is quarantined because it killed a worker: {what}"
        ));
    }
    for bypassed in list("bypassed") {
        let (module, block) = (plain(&bypassed["module"]), plain(&bypassed["block"]));
        lines.push(format!(
            "the module {module} is bypassed since block {block}: a worker died in it"
        ));
    }
    let removed = |name: &str| status[name].as_f64().unwrap_or(0.0);
    if removed("limited_db") > 0.0 {
        lines.push(format!(
            "the limiter reduces the sound by up to {} dB because it exceeds full scale ({} samples so far)",
            removed("limited_db"),
            plain(&status["limited_samples"])
        ));
    }
    if removed("dc_removed") > 0.0 {
        lines.push(format!(
            "the safety stage removes DC of {} of full scale",
            removed("dc_removed")
        ));
    }
    lines
}

/// The sink in words.
fn sink(status: &Value) -> String {
    let name = plain(&status["audio"]["sink"]);
    match name.split_once(':') {
        Some(("wav", path)) => format!("the file {path}"),
        Some(("device", device)) => format!("the device {device}"),
        _ if name == "device" => "the default device".into(),
        _ if name.starts_with("null") => format!("none, the sound is discarded: {name}"),
        _ => name,
    }
}

/// The time and the cause of the last switch.
fn last_switch(status: &Value) -> String {
    let epoch = status["epoch"].as_u64().unwrap_or(0);
    if epoch == 0 {
        return "leader since the start".into();
    }
    let last = status["switches"].as_array().and_then(|list| list.last());
    // Only the newest switches survive the death of a supervisor.
    let Some(last) = last.filter(|last| last["epoch"] == epoch) else {
        return format!("leader since switch {epoch}");
    };
    let at = last["at_block"]
        .as_f64()
        .map_or(0.0, |block| block_seconds(status) * block);
    format!(
        "took over from worker:{} at {} in switch {epoch}: {}",
        plain(&last["from"]),
        minutes(at),
        plain(&last["cause"]),
    )
}

/// The duration of a block, in seconds.
fn block_seconds(status: &Value) -> f64 {
    let number = |name: &str, usual: f64| status[name].as_f64().unwrap_or(usual).max(1.0);
    number("block", 128.0) / number("rate", 48_000.0)
}

/// The played time, in seconds; the play cursor counts blocks.
pub(crate) fn played_seconds(status: &Value) -> f64 {
    status["audio"]["play_cursor"].as_f64().unwrap_or(0.0) * block_seconds(status)
}

/// A time as `minutes:seconds.tenths`.
pub(crate) fn minutes(seconds: f64) -> String {
    let tenths = (seconds * 10.0).floor() as u64;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// A table of the last `most` objects of a list.
fn rows(columns: &[&str], list: &Value, most: usize) -> String {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    let list = &list[list.len().saturating_sub(most)..];
    let mut lines = vec![columns.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>()];
    lines.extend(list.iter().map(|row| {
        let cell = |column: &&str| match &row[*column] {
            Value::Number(number) if number.is_f64() => {
                format!("{:.1}", number.as_f64().unwrap_or(0.0))
            }
            other => plain(other),
        };
        columns.iter().map(cell).collect()
    }));
    crate::verbs::modules::aligned(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_with_holes_is_still_shown() {
        let status = serde_json::json!({
            "instance": "default", "state": "protected", "leader": 1,
            "services": [{"name": "worker:0", "pid": 12, "uptime_s": 3.125}],
            "switches": [{"epoch": 3, "cause": "signal 9"}],
        });
        let text = table(&status);
        for part in ["default: protected", "worker:0", "3.1", "signal 9"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(table(&Value::Null).contains("instance"));
    }

    #[test]
    fn modules_are_listed_and_the_dearest_named() {
        let modules = serde_json::json!([
            {"id": "verb", "type": "reverb", "load_percent": 12.345},
            {"id": "new", "type": "saw", "load_percent": null},
        ]);
        let all = serde_json::json!({
            "modules": modules, "rest_percent": 0.5, "sum_percent": 12.85,
        });
        let text = module_table(&all);
        for part in ["verb  reverb  12.3", "new   saw     -", "(0.5 %): 12.85 %"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let status = serde_json::json!({"state": "overloaded", "dearest": modules});
        let text = table(&status);
        assert!(text.contains("verb 12.3 %, new ? %"), "{text}");
        assert_eq!(dearest(&serde_json::json!({"dearest": null})), None);
    }

    #[test]
    fn the_play_cursor_counts_blocks() {
        let status = serde_json::json!({
            "rate": 48_000, "block": 128, "audio": {"play_cursor": 23_000},
        });
        assert!(table(&status).contains("played    1:01.3 (23000 blocks)"));
        assert_eq!(minutes(3_599.99), "59:59.9");
    }

    #[test]
    fn the_last_switch_is_told_in_words() {
        let mut status = serde_json::json!({
            "rate": 48_000, "block": 480, "leader": 1, "epoch": 3,
            "switches": [{"epoch": 3, "at_block": 250, "from": 0, "cause": "signal 9"}],
        });
        let told = "took over from worker:0 at 0:02.5 in switch 3: signal 9";
        assert_eq!(last_switch(&status), told);
        status["epoch"] = 4.into();
        assert_eq!(last_switch(&status), "leader since switch 4");
        status["epoch"] = 0.into();
        assert_eq!(last_switch(&status), "leader since the start");
    }
}
