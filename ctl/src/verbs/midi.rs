//! `understudy midi learn|forget|list|panic`: binds controllers of the MIDI input to parameters; silences all sound.

use common::{message::Request, midi::Bindings};
use osc_gateway::{
    decode::{Message, Value},
    namespace::{Budget, Namespace},
};
use platform::kept;
use serde_json::json;

use super::send;
use crate::{Context, asking, failure::Failure, osc::Osc, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Bind the next controller that is moved to a parameter
    Learn {
        /// The ID of a module of the running patch
        module: String,
        /// A parameter of the module
        param: String,
    },
    /// Unbind a parameter
    Forget {
        /// The ID of the module
        module: String,
        /// The parameter of the module
        param: String,
    },
    /// List the bindings
    List,
    /// Silence all sound at once and stop all sequences
    Panic,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if matches!(args.what, What::Panic) {
        let osc = Osc::open(&asking::status(&context.paths)?)?;
        osc.send("/midi/panic", Vec::new())?;
        return send::finish(context, &osc);
    }
    let path = context.paths.midi();
    let wrong = |why: kept::KeptError| Failure::no(why.to_string());
    let mut all: Bindings = kept::read(&path).map_err(wrong)?;
    match &args.what {
        What::Learn { module, param } => {
            check(context, module, param)?;
            all.learn = Some((module.clone(), param.clone()));
            kept::write(&path, &all).map_err(wrong)?;
        }
        What::Forget { module, param } => {
            if !all.forget(module, param) {
                return Err(Failure::no(format!(
                    "no controller is bound to {module}.{param}; `understudy midi list` shows the bindings"
                )));
            }
            kept::write(&path, &all).map_err(wrong)?;
        }
        What::List | What::Panic => {}
    }
    if context.json {
        output::value(&json!(all));
    } else {
        output::raw(&lines(&all));
    }
    Ok(())
}

/// Checks that the running patch has the parameter, by the rules of the gateway.
fn check(context: &Context, module: &str, param: &str) -> Result<(), Failure> {
    let running = asking::ask(&context.paths, &Request::PatchShow, asking::USUAL)?;
    let message = Message {
        address: format!("/knob/{module}/{param}"),
        args: vec![Value::Float(0.0)],
        time: None,
    };
    // The message has no duration, so the sample rate does not matter.
    let names = Namespace::of_patch(1, 1, &running.to_string());
    let mut budget = Budget::DATAGRAM;
    let turned = names.and_then(|names| names.understand(&message, &mut budget));
    turned.map(|_| ()).map_err(Failure::no)
}

fn lines(all: &Bindings) -> String {
    let mut text = String::new();
    for b in &all.bindings {
        let (channel, controller) = (b.channel, b.controller);
        text += &format!(
            "channel {channel}, controller {controller}: {}.{}\n",
            b.module, b.param
        );
    }
    if let Some((module, param)) = &all.learn {
        text += &format!("waiting for a controller to be moved: {module}.{param}\n");
    }
    if text.is_empty() {
        text = "no controller is bound; `understudy midi learn MODULE PARAM` binds the next controller that is moved\n".into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::midi::Binding;

    #[test]
    fn what_is_bound_is_shown() {
        let mut all = Bindings::default();
        assert!(lines(&all).starts_with("no controller is bound"));
        all.bindings.push(Binding {
            channel: 1,
            controller: 74,
            module: "filter".into(),
            param: "cutoff".into(),
        });
        all.learn = Some(("filter".into(), "q".into()));
        let text = "channel 1, controller 74: filter.cutoff\nwaiting for a controller to be moved: filter.q\n";
        assert_eq!(lines(&all), text);
    }
}
