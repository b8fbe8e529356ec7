//! Everything that can happen to a supervisor, as one type.

use common::message::{
    Answer, FromLauncher, FromPeer, Introduction, Request, ToAudio, ToGateway, ToService, ToWorker,
};
use platform::link::LinkSender;
use tokio::sync::oneshot;

/// Something has happened.
pub enum Event {
    /// Time has passed.
    Tick,
    /// The launcher says something.
    Launcher(FromLauncher),
    /// The launcher is gone.
    LauncherGone,
    /// Another one is there.
    LauncherCame,
    /// None could be started, for that reason.
    NoLauncher(String),
    /// A peer has come.
    Linked(Introduction, PeerLink),
    /// A peer says something.
    Said(Introduction, FromPeer),
    /// A peer's link is broken.
    Unlinked(Introduction),
    /// Somebody asks at the control socket.
    Asked(Request, oneshot::Sender<Answer>),
}

/// The way to a peer.
pub enum PeerLink {
    Worker(LinkSender<ToWorker>),
    Audio(LinkSender<ToAudio>),
    Gateway(LinkSender<ToGateway>),
    Service(LinkSender<ToService>),
}
