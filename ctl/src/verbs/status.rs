//! `understudy status`: a table for a person, or the supervisor's JSON as it is.

use serde_json::Value;

use crate::{Context, asking, failure::Failure, output};

pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let status = asking::status(&context.paths)?;
    if context.json {
        output::value(&status);
    } else {
        output::raw(&table(&status));
    }
    Ok(())
}

/// A value without quotes; `-` where there is none.
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
        "instance  {}: {}\nsound     {} Hz, blocks of {} frames, lead {} blocks; {}\nplayed    {} blocks, {} underruns, {} blocks concealed\nosc       {}\ncommands  {} received, {} accepted, {} rejected, {} applied\nleader    worker:{} since switch {}; {} divergences\n\n",
        get("instance"),
        get("state"),
        get("rate"),
        get("block"),
        get("lead"),
        plain(&audio["sink"]),
        plain(&audio["play_cursor"]),
        plain(&audio["underruns"]),
        plain(&audio["concealed_blocks"]),
        get("osc"),
        plain(&commands["received"]),
        plain(&commands["accepted"]),
        plain(&commands["rejected"]),
        plain(&commands["applied"]),
        get("leader"),
        get("epoch"),
        get("divergences"),
    );
    let services = [
        "name",
        "pid",
        "role",
        "state",
        "restarts",
        "uptime_s",
        "cpu_percent",
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
}
