//! MIDI in: a port's notes, bends, controllers and clock, sent to the gateway as OSC.
//!
//! A process of its own, so that a driver's faults reach no sound. The held state stands in a file of the instance
//! (`held`): when the process is killed, its successor goes on with that state and the next byte.
#![forbid(unsafe_code)]

mod channel;
mod clock;
mod controls;
mod held;
mod instrument;
mod osc;
mod parameters;
mod parser;
mod port;
mod translate;
mod transport;
mod zones;

use std::{thread, time::Duration};

use anyhow::Result;
use clap::Parser;
use common::message::Service;
use controls::Controls;
use held::File;
use instrument::{Instrument, Shared};
use osc::Gateway;
use platform::{paths::Paths, service};

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

/// How often the supervisor sees that this process gets on.
const LOOK: Duration = Duration::from_millis(100);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let paths = Paths::of(&arguments.instance)?;
    let gateway = Gateway::new(&arguments.osc, &arguments.to)?;
    let controls = Controls::new(paths.midi());
    let held = File::open(paths.midi_held());
    let port = arguments.port;
    let instrument = Shared::new(Instrument::new(&port, held, controls, gateway));
    let ear = instrument.clone();
    thread::Builder::new()
        .name("port".into())
        .spawn(move || port::listen(&port, &ear))?;
    service::serve(&paths, Service::MidiIn, move |signs| {
        loop {
            signs.act();
            instrument.look(LOOK);
        }
    })?;
    Ok(())
}
