//! Sabotage: one thing broken on purpose in the simulated processes. The rules themselves stay as they are.
//! A test shows that the checkers find each sabotage. All are mistakes that this design or its predecessor
//! has made.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// A replacement clears the ring of its slot.
    RingCleared,
    /// Commands go to the leader only, and nobody reads the log.
    LeaderOnly,
    /// A standby counts as ready as soon as it exists.
    ReadyWithoutProof,
    /// A worker takes in whatever it has received.
    DecisionIgnored,
    /// A worker that was overruled publishes all the same.
    SealIgnored,
    /// A command is broadcast and acknowledged before it is written down.
    BroadcastBeforeLog,
    /// A replacement publishes what is published already, from where it starts.
    Overwrites,
    /// audio-out takes the newest block there is.
    LatestWins,
    /// A supervisor that takes over does not look who is alive.
    NoAdoption,
    /// What is submitted again is applied again.
    NoTokens,
    /// Whatever a worker died of, it was its commands.
    BlamesWithoutCause,
}
