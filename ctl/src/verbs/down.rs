//! `understudy down`: ends the stack in good order and waits until it has gone.

use serde_json::json;

use crate::{Context, failure::Failure, launcher, output};

pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let name = &context.paths.instance;
    let pid = launcher::find(&context.paths).ok_or_else(|| {
        Failure::absent(format!(
            "no instance \"{name}\" is running: nothing to stop"
        ))
    })?;
    launcher::end(pid, || false)?;
    if context.json {
        output::value(&json!({ "instance": name, "stopped": true }));
    } else {
        output::line(&format!("stopped the instance \"{name}\""));
    }
    Ok(())
}
