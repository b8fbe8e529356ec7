//! The process: polls the session, sends the due messages, and saves them for its successor.

use std::{path::Path, thread, time::Duration};

use anyhow::Result;
use clap::Parser;
use common::message::Service;
use platform::{
    kept,
    osc_client::{Argument, OscClient},
    paths::Paths,
    say,
    service::{self, Signs},
    shared,
};

use crate::{
    follow::{Follower, Said},
    session::Member,
};

/// Understudy's Ableton Link input. The launcher starts this program with `--link`. Built with the Link library, this
/// program is under the GNU General Public License, version 2 or later.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Serve this instance.
    #[arg(long)]
    instance: String,
    /// Send OSC to the gateway at this address.
    #[arg(long)]
    osc: String,
}

/// The polling period of the session.
const POLL: Duration = Duration::from_millis(10);

/// Follows the session until the process ends.
///
/// # Errors
/// If the instance does not run, or a socket or thread cannot be created.
pub fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let paths = Paths::of(&arguments.instance)?;
    let stage = shared::stage(&arguments.instance)?;
    let player = OscClient::new(&arguments.osc)?;
    let file = paths.link();
    let told = kept::read(&file).unwrap_or_else(|why| {
        say::line("link-in", &why.to_string());
        Default::default()
    });
    let follower = Follower::new(stage.format().rate_hz, told);
    let member = Member::join(told, stage);
    service::serve(&paths, Service::LinkIn, move |signs| {
        lead(member, follower, &player, &file, signs);
    })?;
    Ok(())
}

fn lead(
    mut member: Member,
    mut follower: Follower,
    player: &OscClient,
    file: &Path,
    signs: &Signs,
) {
    let mut peers = 0;
    loop {
        signs.act();
        if let Some(session) = member.listen() {
            let before = follower.told();
            follower.follow(&session, |said, frame| {
                let tag = member.tag(frame);
                match said {
                    Said::Tempo(bpm) => {
                        player.play("/midi/tempo", vec![Argument::Float(bpm as f32)], tag);
                    }
                    Said::Start => player.play("/midi/start", vec![], tag),
                    Said::Stop => player.play("/midi/stop", vec![], tag),
                }
                say::line("link-in", &format!("{said:?} at frame {frame}"));
            });
            // Send first, then save: a repeated start is better than a lost one.
            if follower.told() != before
                && let Err(why) = kept::write(file, &follower.told())
            {
                say::line(
                    "link-in",
                    &format!("the sent messages cannot be saved: {why}"),
                );
            }
            if session.peers != peers {
                peers = session.peers;
                say::line("link-in", &format!("the session has {peers} other members"));
            }
        }
        for refusal in player.refusals() {
            say::line("link-in", &refusal);
        }
        thread::sleep(POLL);
    }
}
