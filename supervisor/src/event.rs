//! All events of a supervisor, as one type.

use common::message::{
    Answer, FromLauncher, FromPeer, Introduction, Request, ToAudio, ToGateway, ToService, ToWorker,
};
use platform::ipc_link::LinkSender;
use tokio::sync::oneshot;

/// An event.
pub enum Incoming {
    /// Time has passed.
    Tick,
    /// A packet of the launcher.
    Launcher(FromLauncher),
    /// The launcher has ended.
    LauncherGone,
    /// Another launcher has started.
    LauncherCame,
    /// No launcher could be started, for this reason.
    NoLauncher(String),
    /// A peer has linked.
    Linked(Introduction, PeerLink),
    /// A message of a peer.
    Said(Introduction, FromPeer),
    /// The link of a peer has broken.
    Unlinked(Introduction),
    /// A request at the control socket.
    Asked(Request, oneshot::Sender<Answer>),
}

/// The sending end of a peer's link.
pub enum PeerLink {
    Worker(LinkSender<ToWorker>),
    Audio(LinkSender<ToAudio>),
    Gateway(LinkSender<ToGateway>),
    Service(LinkSender<ToService>),
}
