//! `understudy restart SERVICE`: restarts a service and waits until the service is ready again.

use std::time::Duration;

use common::message::{Request, Service, Target};
use serde_json::json;

use crate::{Context, asking, failure::Failure, output};

const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(help = output::either(Target::names()))]
    service: String,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let target: Target = args.service.parse().map_err(Failure::usage)?;
    let supervisor = target == Target::Service(Service::Supervisor);
    let before = if supervisor {
        supervisor_pid(&asking::status(&context.paths)?)
    } else {
        None
    };
    let asked = asking::ask(&context.paths, &Request::Restart(target), TIMEOUT);
    if supervisor {
        // The supervisor may end before its answer arrives; success means that its successor answers.
        asked
            .map(|_| ())
            .or_else(|failure| hung_up(&context.paths, failure))?;
        let back = asking::wait_for(&context.paths, TIMEOUT, |status| {
            let pid = supervisor_pid(status);
            pid.is_some() && pid != before
        });
        if !back {
            return Err(Failure::no(format!(
                "the supervisor is not ready after {} s: see `understudy log`",
                TIMEOUT.as_secs()
            )));
        }
    } else {
        asked?;
    }
    if context.json {
        output::value(&json!({ "restarted": args.service }));
    } else {
        output::line(&format!("restarted {}", args.service));
    }
    Ok(())
}

/// Accepts a missing answer while the instance still runs.
fn hung_up(paths: &platform::paths::Paths, failure: Failure) -> Result<(), Failure> {
    let said_no = !failure.text.starts_with("the supervisor did not answer");
    if said_no || platform::living::launcher(paths).is_none() {
        return Err(failure);
    }
    Ok(())
}

fn supervisor_pid(status: &serde_json::Value) -> Option<u64> {
    asking::service(status, "supervisor")?["pid"].as_u64()
}
