//! Bindings of MIDI controllers to parameters, and MIDI learn.

use serde::{Deserialize, Serialize};

/// A controller bound to a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// MIDI channel, 1 to 16.
    pub channel: u8,
    /// Controller, 0 to 127.
    pub controller: u8,
    /// The module's id.
    pub module: String,
    /// The parameter's name.
    pub param: String,
}

/// All bindings of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bindings {
    /// The bindings. A controller may control several parameters; several controllers may control one.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// MIDI learn: the module and parameter to bind to the next controller that moves.
    #[serde(default)]
    pub learn: Option<(String, String)>,
}

impl Bindings {
    /// The bindings of a controller.
    pub fn of(&self, channel: u8, controller: u8) -> impl Iterator<Item = &Binding> {
        let is = move |b: &&Binding| (b.channel, b.controller) == (channel, controller);
        self.bindings.iter().filter(is)
    }

    /// Binds the parameter to be learnt to this controller. Returns whether there was one.
    pub fn learnt(&mut self, channel: u8, controller: u8) -> bool {
        let Some((module, param)) = self.learn.take() else {
            return false;
        };
        self.bindings
            .retain(|b| (&b.module, &b.param) != (&module, &param));
        self.bindings.push(Binding {
            channel,
            controller,
            module,
            param,
        });
        true
    }

    /// Unbinds a parameter, or stops learning it. Returns whether anything changed.
    pub fn forget(&mut self, module: &str, param: &str) -> bool {
        let before = (self.bindings.len(), self.learn.clone());
        self.bindings
            .retain(|b| (b.module.as_str(), b.param.as_str()) != (module, param));
        self.learn
            .take_if(|(m, p)| (m.as_str(), p.as_str()) == (module, param));
        before != (self.bindings.len(), self.learn.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_learnt_once_and_forgotten() {
        let mut all = Bindings::default();
        assert!(!all.learnt(1, 74));
        for controller in [74, 20] {
            all.learn = Some(("filter".into(), "cutoff".into()));
            assert!(all.learnt(1, controller));
        }
        assert_eq!(
            (
                all.of(1, 74).count(),
                all.of(1, 20).count(),
                all.of(2, 20).count()
            ),
            (0, 1, 0)
        );
        assert!(all.forget("filter", "cutoff") && !all.forget("filter", "cutoff"));
        all.learn = Some(("filter".into(), "q".into()));
        assert!(all.forget("filter", "q") && all.learn.is_none());
    }
}
