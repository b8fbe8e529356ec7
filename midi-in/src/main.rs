//! MIDI in: a port's notes, bends, controllers and clock, sent to the gateway as OSC.
//!
//! A process of its own, so that whatever a driver does reaches no sound. It keeps nothing that the music needs:
//! when it is killed, the next one goes on with the next byte.
#![forbid(unsafe_code)]

mod controls;
mod osc;
mod port;
mod translate;

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use common::message::Service;
use controls::Controls;
use midly::stream::MidiStream;
use osc::Gateway;
use platform::{
    paths::Paths,
    say,
    service::{self, Signs},
};
use port::Heard;
use translate::{Said, Translator};

/// Understudy's MIDI input; started by its launcher with `--midi PORT`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The instance.
    #[arg(long)]
    instance: String,
    /// A part of a port's name, `auto` for the first, `virtual` for one that others connect to, or
    /// `file:PATH` for a pipe
    #[arg(long)]
    port: String,
    /// The module that notes go to.
    #[arg(long, default_value = "keys")]
    to: String,
    /// Where the gateway listens.
    #[arg(long)]
    osc: String,
}

/// Pieces that may wait to be sent on.
const WAITING: usize = 4_096;
/// How often the supervisor sees that this process gets on.
const LOOK: Duration = Duration::from_millis(100);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let paths = Paths::of(&arguments.instance)?;
    let gateway = Gateway::new(&arguments.osc, &arguments.to)?;
    let (heard, from) = mpsc::sync_channel(WAITING);
    let port = arguments.port.clone();
    thread::Builder::new()
        .name("port".into())
        .spawn(move || port::listen(&port, &heard))?;
    let controls = Controls::of(paths.midi());
    service::serve(&paths, Service::MidiIn, move |signs| {
        translate(&from, &gateway, controls, signs);
    })?;
    Ok(())
}

/// Sends on what comes in, until there is nobody left to hear it from.
fn translate(from: &Receiver<Heard>, gateway: &Gateway, mut controls: Controls, signs: &Signs) {
    let mut stream = MidiStream::new();
    let mut translator = Translator::default();
    loop {
        signs.act();
        match from.recv_timeout(LOOK) {
            Ok((ntp, bytes)) => stream.feed(&bytes, |event| {
                translator.hear(event, ntp, |said| match said {
                    Said::Control(channel, controller, value) => {
                        for (module, param) in controls.moved(channel, controller) {
                            gateway.turn(&module, &param, value, ntp);
                        }
                    }
                    said => gateway.send(said, ntp),
                });
            }),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for refusal in gateway.refusals() {
            say::line("midi-in", &refusal);
        }
    }
}
