//! `understudy inject`: injects one fault at once, or runs a fault script.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use common::message::{Answer, Fault, Request, Service, Target};
use platform::{
    control::{self, ControlError},
    paths::Paths,
};
use serde_json::json;

use crate::{Context, asking, failure::Failure, output, script};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(help = output::either(Fault::names()), required_unless_present = "script", conflicts_with = "script")]
    fault: Option<String>,
    #[arg(help = output::either(Target::names()), required_unless_present = "script", conflicts_with = "script")]
    target: Option<String>,
    /// Run a fault script. Each line is one of: `at SECONDS FAULT TARGET`,
    /// `every SECONDS times N FAULT TARGET`,
    /// `random times N within SECONDS from FAULT[,FAULT…] on TARGET[,TARGET…]`
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Seed the lines with `random`; the same seed gives the same faults
    #[arg(long, value_name = "N", default_value_t = 0, requires = "script")]
    seed: u64,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if let Some(path) = &args.script {
        let text = output::read_text(path)?;
        let steps = script::parse(&text, args.seed)
            .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
        return play(context, &steps);
    }
    let (fault, target) = (
        args.fault.as_deref().unwrap_or_default(),
        args.target.as_deref().unwrap_or_default(),
    );
    let parsed = fault.parse().map_err(Failure::usage)?;
    let aimed = target.parse().map_err(Failure::usage)?;
    inject(&context.paths, parsed, aimed)?;
    if context.json {
        output::value(&json!({ "injected": fault, "target": target }));
    } else {
        output::line(&format!("injected {fault} into {target}"));
    }
    Ok(())
}

/// Injects one fault at once.
pub(crate) fn inject(paths: &Paths, fault: Fault, target: Target) -> Result<(), Failure> {
    match control::ask(paths, &Request::Inject(fault, target), asking::USUAL) {
        Ok(Answer::Ok(_)) => Ok(()),
        Ok(Answer::No(text)) => Err(Failure::no(text)),
        Err(error @ ControlError::NotRunning(_)) => Err(Failure::absent(error.to_string())),
        // A supervisor that the fault has killed cannot answer.
        Err(ControlError::NoAnswer(_)) if target == Target::Service(Service::Supervisor) => Ok(()),
        Err(error) => Err(Failure::no(error.to_string())),
    }
}

/// Runs a script in real time; continues after a refusal.
fn play(context: &Context, steps: &[script::Step]) -> Result<(), Failure> {
    // Fail before the first fault is due if the instance is not running.
    asking::status(&context.paths)?;
    let start = Instant::now();
    let mut done = Vec::new();
    let mut refused = 0;
    for step in steps {
        let due = start + Duration::from_secs_f64(step.seconds);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let said = match inject(&context.paths, step.fault, step.target) {
            Ok(()) => None,
            Err(failure) if failure.code == 3 => return Err(failure),
            Err(failure) => Some(failure.text),
        };
        refused += usize::from(said.is_some());
        if context.json {
            done.push(json!({ "seconds": step.seconds, "step": step.text, "error": said }));
        } else {
            let said = said.unwrap_or_else(|| "done".into());
            output::line(&format!("{:9.3}  {}: {said}", step.seconds, step.text));
        }
    }
    if context.json {
        output::value(&json!({ "faults": done, "refused": refused }));
    } else {
        output::line(&format!("{} faults, {refused} refused", steps.len()));
    }
    if refused > 0 && context.json {
        // The JSON value has been written; returning an error would write a second one.
        std::process::exit(1);
    } else if refused > 0 {
        return Err(Failure::no(format!(
            "{refused} of {} faults were refused",
            steps.len()
        )));
    }
    Ok(())
}
