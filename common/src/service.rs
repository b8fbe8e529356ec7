//! The services: the one list of the processes that the supervisor knows, each with its name, program and kind.
//!
//! Faults, restarts, counters, help texts and the launcher's search for living processes take their lists from here.

use serde::{Deserialize, Serialize};

use crate::units::Slot;

/// A process of the stack, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Service {
    /// `supervisor`
    Supervisor,
    /// `osc-gateway`
    OscGateway,
    /// `audio-out`
    AudioOut,
    /// `recorder`
    Recorder,
    /// `midi-in`
    MidiIn,
    /// `link-in`
    LinkIn,
    /// `worker:0`, `worker:1`
    Worker(Slot),
    /// `trial`: a worker that plays nothing; started when commands must be tried or a referee is needed.
    Trial,
}

/// How the supervisor treats a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// The supervisor itself, which the launcher starts.
    Supervisor,
    /// The OSC gateway, whose submissions the supervisor takes and answers.
    Gateway,
    /// audio-out.
    Audio,
    /// A service that is only watched and restarted.
    Watched,
    /// The trial, which has no link and ends by itself.
    Trial,
    /// A worker, about which the judge decides.
    Worker(Slot),
}

impl Service {
    /// All services. Their places are those of their counters on the stage.
    pub const ALL: [Self; 9] = [
        Self::Supervisor,
        Self::OscGateway,
        Self::AudioOut,
        Self::Recorder,
        Self::MidiIn,
        Self::LinkIn,
        Self::Trial,
        Self::Worker(Slot::Zero),
        Self::Worker(Slot::One),
    ];

    /// The table of services: name, program, kind. A service stands in [`Self::ALL`], too.
    const fn entry(self) -> (&'static str, &'static str, ServiceKind) {
        use ServiceKind::{Audio, Gateway, Supervisor, Trial, Watched, Worker};
        match self {
            Self::Supervisor => ("supervisor", "understudy-supervisor", Supervisor),
            Self::OscGateway => ("osc-gateway", "understudy-osc-gateway", Gateway),
            Self::AudioOut => ("audio-out", "understudy-audio-out", Audio),
            Self::Recorder => ("recorder", "understudy-recorder", Watched),
            Self::MidiIn => ("midi-in", "understudy-midi-in", Watched),
            Self::LinkIn => ("link-in", "understudy-link-in", Watched),
            Self::Trial => ("trial", "understudy-worker", Trial),
            Self::Worker(Slot::Zero) => ("worker:0", "understudy-worker", Worker(Slot::Zero)),
            Self::Worker(Slot::One) => ("worker:1", "understudy-worker", Worker(Slot::One)),
        }
    }

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    /// The name of its program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        self.entry().1
    }

    /// How the supervisor treats the service.
    #[must_use]
    pub const fn kind(self) -> ServiceKind {
        self.entry().2
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The target of a restart or a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// This process.
    Service(Service),
    /// The leader.
    Leader,
    /// The follower.
    Follower,
}

impl Target {
    /// Every target by its name: the services but the trial, which comes and goes by itself, and two roles.
    fn all() -> impl Iterator<Item = (&'static str, Self)> {
        let services = Service::ALL.into_iter();
        let services = services.filter(|service| service.kind() != ServiceKind::Trial);
        services
            .map(|service| (service.name(), Self::Service(service)))
            .chain([("leader", Self::Leader), ("follower", Self::Follower)])
    }

    /// The names of all targets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::all().map(|(name, _)| name)
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::all().find(|(name, _)| *name == text);
        found.map(|(_, target)| target).ok_or_else(|| {
            let names: Vec<&str> = Self::names().collect();
            let names = names.join(", ");
            format!("no service \"{text}\" (expected one of {names})")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_name() {
        for service in Service::ALL {
            let target = Some(Target::Service(service)).filter(|_| service != Service::Trial);
            assert_eq!(service.name().parse::<Target>().ok(), target, "{service}");
        }
    }
}
