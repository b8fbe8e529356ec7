//! MIDI in: a port's notes, bends, controllers and clock, sent to the gateway as OSC.
//!
//! A process of its own, so that faults of a driver do not affect the sound. The held state is in a file of the instance
//! (`held`): after a kill, the successor continues with that state and the next byte.
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

/// Understudy's MIDI input. The launcher starts this program with `--midi PORT`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Serve this instance.
    #[arg(long)]
    instance: String,
    /// Receive MIDI from this port: part of a port's name, `auto` for the first, `virtual` for a port that other
    /// programs connect to, or `file:PATH` for a pipe
    #[arg(long)]
    port: String,
    /// Send notes to this module.
    #[arg(long, default_value = "keys")]
    to: String,
    /// Send OSC to the gateway at this address.
    #[arg(long)]
    osc: String,
}

/// The period of signs of life to the supervisor.
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
