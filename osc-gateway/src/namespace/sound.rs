//! `/mod/…`, `/knob/…`, `/gate/…`, `/note/…` and `/express/…`: parameters, gates and notes of modules.

use common::{
    command::{Event, Expression, RAMP_MS_MAX},
    pitch,
};

use super::{
    Budget, Module, Namespace, Param, Resolved,
    addresses::Entry,
    range::{MS, both, within},
    suggestion,
};
use crate::{
    decode::{Message, Value},
    reply::shorten,
};

/// The greatest bend, in semitones.
const BEND_MAX: f32 = 96.0;

impl Namespace {
    pub(super) fn param(
        &self,
        entry: &Entry,
        id: &str,
        name: &str,
        message: &Message,
        budget: &mut Budget,
    ) -> Result<Resolved, String> {
        let (module, place, param) = self.parameter(id, name, budget)?;
        let wrong = || entry.wrong(&message.args);
        let (wanted, ms) = match message.args.as_slice() {
            [wanted] => (wanted, None),
            [wanted, ms] => (wanted, Some(ms.number().ok_or_else(wrong)?)),
            _ => return Err(wrong()),
        };
        let wanted = value_of(param, wanted)?;
        if !wanted.is_finite() {
            return Err(format!(
                "the value is {wanted} (expected a number {})",
                range(param)
            ));
        }
        let ms = ms.map(|ms| within(MS, ms, (0.0, RAMP_MS_MAX)));
        let (ms, late) = ms.transpose()?.unzip();
        let value = accepted(param, wanted);
        let clamped = wanted < f64::from(param.min) || wanted > f64::from(param.max);
        let event = match ms {
            None => Event::Param {
                module,
                param: place,
                value,
            },
            Some(ms) => Event::Ramp {
                module,
                param: place,
                value,
                ms,
            },
        };
        let unit = if param.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", param.unit)
        };
        let note = clamped.then(|| {
            format!(
                "clamped to {value}{unit} (range {} to {})",
                param.min, param.max
            )
        });
        Ok(Resolved {
            message: message.clone(),
            event,
            note: both([note, late.flatten()]),
        })
    }

    /// Sets a parameter by the position of a knob, from its least value (0) to its greatest (1).
    pub(super) fn knob(
        &self,
        entry: &Entry,
        id: &str,
        name: &str,
        message: &Message,
        budget: &mut Budget,
    ) -> Result<Resolved, String> {
        let position = match message.args.as_slice() {
            [position] => position.number(),
            _ => None,
        };
        let position = position.ok_or_else(|| entry.wrong(&message.args))?;
        let (module, place, param) = self.parameter(id, name, budget)?;
        let (near, note) = within("the position", position, (0.0, 1.0))?;
        Ok(Resolved {
            message: message.clone(),
            event: Event::Param {
                module,
                param: place,
                value: accepted(param, at_position(param, near.into())),
            },
            note,
        })
    }

    pub(super) fn gate(
        &self,
        entry: &Entry,
        id: &str,
        message: &Message,
        budget: &mut Budget,
    ) -> Result<Resolved, String> {
        let (number, module) = self.module(id, budget)?;
        if !module.takes_gate {
            return Err(self.unable(id, "gate", |module| module.takes_gate));
        }
        let wanted = match message.args.as_slice() {
            [Value::Int(number)] => *number as f64,
            [Value::Float(number)] => *number,
            [Value::Bool(truth)] => f64::from(u8::from(*truth)),
            [Value::Text(text)] if text.eq_ignore_ascii_case("on") => 1.0,
            [Value::Text(text)] if text.eq_ignore_ascii_case("off") => 0.0,
            other => return Err(entry.wrong(other)),
        };
        let (level, note) = within("the gate", wanted, (0.0, 1.0))?;
        // -0.0 and numbers too small for f32 also mean off; neither is out of range.
        let level = if level > 0.0 { level } else { 0.0 };
        Ok(Resolved {
            message: message.clone(),
            event: Event::Gate {
                module: number,
                level,
            },
            note,
        })
    }

    pub(super) fn note(
        &self,
        entry: &Entry,
        id: &str,
        message: &Message,
        budget: &mut Budget,
    ) -> Result<Resolved, String> {
        let module = self.player(id, budget)?;
        let wrong = || entry.wrong(&message.args);
        let (pitch, velocity, ms) = match message.args.as_slice() {
            [pitch, velocity] => (pitch, velocity, None),
            [pitch, velocity, ms] => (pitch, velocity, Some(ms.number().ok_or_else(wrong)?)),
            _ => return Err(wrong()),
        };
        let pitch = pitch_of(pitch).ok_or_else(wrong)??;
        let wanted = velocity.number().ok_or_else(wrong)?;
        let (velocity, note) = within("the velocity", wanted, (0.0, 127.0))?;
        let most_ms = f64::from(RAMP_MS_MAX);
        let frames = match ms {
            None => 0,
            Some(ms) if ms > 0.0 && ms <= most_ms => {
                (ms * f64::from(self.rate_hz) / 1000.0).round().max(1.0) as u32
            }
            Some(ms) => {
                return Err(format!(
                    "the duration is {ms} ms (expected more than 0 and at most {most_ms} ms)"
                ));
            }
        };
        Ok(Resolved {
            message: message.clone(),
            event: Event::Note {
                module,
                pitch,
                velocity: velocity / 127.0,
                frames,
            },
            note,
        })
    }

    pub(super) fn express(
        &self,
        entry: &Entry,
        id: &str,
        message: &Message,
        budget: &mut Budget,
    ) -> Result<Resolved, String> {
        let module = self.player(id, budget)?;
        let wrong = || entry.wrong(&message.args);
        let (what, value, pitch) = match message.args.as_slice() {
            [Value::Text(what), value] => (what, value, -1.0),
            [Value::Text(what), value, pitch] => (what, value, pitch_of(pitch).ok_or_else(wrong)??),
            _ => return Err(wrong()),
        };
        let (what, least, most) = match what.as_str() {
            "bend" => (Expression::Bend, -BEND_MAX, BEND_MAX),
            "pressure" => (Expression::Pressure, 0.0, 1.0),
            "timbre" => (Expression::Timbre, 0.0, 1.0),
            _ => return Err(wrong()),
        };
        let wanted = value.number().ok_or_else(wrong)?;
        let (value, note) = within("the value", wanted, (least, most))?;
        Ok(Resolved {
            message: message.clone(),
            event: Event::Express {
                module,
                pitch,
                what,
                value,
            },
            note,
        })
    }

    /// The number of a module that plays notes.
    fn player(&self, id: &str, budget: &mut Budget) -> Result<u16, String> {
        let (number, module) = self.module(id, budget)?;
        if module.plays {
            Ok(number)
        } else {
            Err(self.unable(id, "note", |module| module.plays))
        }
    }

    /// The error that a module does not accept a gate or a note, with the modules that do.
    fn unable(&self, id: &str, what: &str, able: impl Fn(&Module) -> bool) -> String {
        let able = self.modules.iter().filter(|module| able(module));
        let able: Vec<&str> = able.map(|module| module.id.as_str()).take(8).collect();
        match able.as_slice() {
            [] => format!("no module of this patch accepts a {what}"),
            able => format!(
                "module \"{id}\" does not accept a {what} (expected one of {})",
                able.join(", ")
            ),
        }
    }

    /// The messages that `/test` stands for.
    pub(super) fn test_tone(&self, message: &Message) -> Result<Vec<Message>, String> {
        let find = |kind: &str, fit: &dyn Fn(&Module) -> bool| {
            let by_id = self.modules.iter().find(|m| m.id == kind && fit(m));
            by_id.or_else(|| self.modules.iter().find(|m| m.kind == kind && fit(m)))
        };
        let sine = find("sine", &|m| m.params.iter().any(|p| p.name == "freq"));
        let adsr = find("adsr", &|m| m.takes_gate);
        let mut messages = Vec::new();
        if let Some(sine) = sine {
            messages.push((format!("/mod/{}/freq", sine.id), Value::Float(440.0)));
        }
        if let Some(adsr) = adsr {
            messages.push((format!("/gate/{}", adsr.id), Value::Int(1)));
        }
        if messages.is_empty() {
            return Err(
                "the patch has neither a sine nor an adsr; /engine/list lists its modules".into(),
            );
        }
        let full = |(address, value)| Message {
            address,
            args: vec![value],
            time: message.time,
        };
        Ok(messages.into_iter().map(full).collect())
    }

    /// The number of a module, the number of a parameter, and the parameter.
    fn parameter(
        &self,
        id: &str,
        name: &str,
        budget: &mut Budget,
    ) -> Result<(u16, u16, &Param), String> {
        let (number, module) = self.module(id, budget)?;
        let mut params = module.params.iter().zip(0..);
        if let Some((param, place)) = params.find(|(param, _)| param.name == name) {
            return Ok((number, place, param));
        }
        let names = module.params.iter().map(|param| param.name.as_str());
        let meant = suggestion(name, names.clone(), budget).unwrap_or_else(|| {
            let names: Vec<&str> = names.collect();
            match names.as_slice() {
                [] => "the module has none".to_owned(),
                names => format!("expected one of {}", names.join(", ")),
            }
        });
        let name = shorten(name, 40);
        Err(format!(
            "module \"{id}\" has no parameter \"{name}\"; {meant}"
        ))
    }

    fn module(&self, id: &str, budget: &mut Budget) -> Result<(u16, &Module), String> {
        if let Some(number) = self.places.get(id) {
            let module = self
                .modules
                .get(usize::from(*number))
                .ok_or("no such module")?;
            return Ok((*number, module));
        }
        let ids = self.modules.iter().map(|m| m.id.as_str());
        let meant = suggestion(id, ids, budget)
            .unwrap_or_else(|| "/engine/list lists the modules".to_owned());
        Err(format!("no module \"{}\"; {meant}", shorten(id, 40)))
    }
}

/// The pitch of a note by its number or its name, if the value is either.
fn pitch_of(value: &Value) -> Option<Result<f32, String>> {
    match value {
        Value::Text(name) => Some(pitch::parse(name)),
        other => other
            .number()
            .map(|number| pitch::parse(&number.to_string())),
    }
}

/// The value of a parameter for a wanted value.
fn accepted(param: &Param, wanted: f64) -> f32 {
    // Not `clamp`, which panics on an inverted range.
    let value = wanted.max(param.min.into()).min(param.max.into()) as f32;
    if param.stepped { value.round() } else { value }
}

/// The value of a parameter at a position of a knob.
fn at_position(param: &Param, position: f64) -> f64 {
    let (least, most) = (f64::from(param.min), f64::from(param.max));
    match param.log && least > 0.0 {
        true => least * (most / least).powf(position),
        false => least + (most - least) * position,
    }
}

/// A number, or the name of one of a parameter's choices.
fn value_of(param: &Param, value: &Value) -> Result<f64, String> {
    match value {
        Value::Text(text) if !param.choices.is_empty() => {
            let place = param.choices.iter().position(|choice| choice == text);
            let known = || {
                format!(
                    "got \"{}\" (expected one of {})",
                    shorten(text, 40),
                    param.choices.join(", ")
                )
            };
            Ok(place.ok_or_else(known)? as f64)
        }
        other => other
            .number()
            .ok_or_else(|| format!("got {other} (expected one number)")),
    }
}

fn range(param: &Param) -> String {
    format!("from {} to {} {}", param.min, param.max, param.unit)
        .trim_end()
        .to_owned()
}
