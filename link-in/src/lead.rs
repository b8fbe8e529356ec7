//! The process: listens to the session, says what is due, keeps what it has said for its successor.

use std::{path::Path, thread, time::Duration};

use anyhow::Result;
use clap::Parser;
use common::message::Service;
use platform::{
    kept,
    paths::Paths,
    player::{Argument, Player},
    say,
    service::{self, Signs},
    shared,
};

use crate::{
    follow::{Follower, Said},
    session::Member,
};

/// Understudy's Ableton Link input; started by its launcher with `--link`. Built with the Link library, this
/// program is under the GNU General Public License, version 2 or later.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The instance.
    #[arg(long)]
    instance: String,
    /// Where the gateway listens.
    #[arg(long)]
    osc: String,
}

/// How often the session is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Follows until it is ended.
///
/// # Errors
/// When the instance is not there, or the machine gives no socket or thread.
pub fn run() -> Result<()> {
    let arguments = Arguments::parse();
    let paths = Paths::of(&arguments.instance)?;
    let stage = shared::stage(&arguments.instance)?;
    let player = Player::new(&arguments.osc)?;
    let file = paths.link();
    let told = kept::read(&file).unwrap_or_else(|why| {
        say::line("link-in", &why.to_string());
        Default::default()
    });
    let follower = Follower::new(stage.shape().rate_hz, told);
    let member = Member::join(told, stage);
    service::serve(&paths, Service::LinkIn, move |signs| {
        lead(member, follower, &player, &file, signs);
    })?;
    Ok(())
}

fn lead(mut member: Member, mut follower: Follower, player: &Player, file: &Path, signs: &Signs) {
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
            // Said first: to start twice is better than not at all.
            if follower.told() != before
                && let Err(why) = kept::write(file, &follower.told())
            {
                say::line("link-in", &format!("what was said is not kept: {why}"));
            }
            if session.peers != peers {
                peers = session.peers;
                say::line("link-in", &format!("{peers} others in the session"));
            }
        }
        for refusal in player.refusals() {
            say::line("link-in", &refusal);
        }
        thread::sleep(POLL);
    }
}
