//! Fault scripts: a timed list of faults, parsed from text.
//!
//! The same text and the same seed always give the same list, so that a run can be repeated.

use common::message::{Fault, Target};

/// One fault of a script.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Seconds since the start of the script.
    pub(crate) seconds: f64,
    /// The fault to inject.
    pub(crate) fault: Fault,
    /// The target of the fault.
    pub(crate) target: Target,
    /// Fault and target as written in the script.
    pub(crate) text: String,
}

/// A larger number is a typing error.
const STEPS_MAX: u64 = 100_000;
const RIGHT: &str = "expected at SECONDS FAULT TARGET, every SECONDS times N FAULT TARGET, or random times N within SECONDS from FAULT[,FAULT…] on TARGET[,TARGET…]";

/// Reads a script. The steps are sorted by time; steps of the same time keep the order of the text.
pub(crate) fn parse(text: &str, seed: u64) -> Result<Vec<Step>, String> {
    let mut dice = Dice(seed);
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        parse_line(&words, &mut dice, &mut steps)
            .map_err(|what| format!("line {}: {what}", index + 1))?;
        if steps.len() as u64 > STEPS_MAX {
            return Err(format!(
                "line {}: the script has too many faults (expected at most {STEPS_MAX})",
                index + 1
            ));
        }
    }
    steps.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(steps)
}

fn parse_line(words: &[&str], dice: &mut Dice, steps: &mut Vec<Step>) -> Result<(), String> {
    match words {
        [] => {}
        ["at", seconds, fault, target] => steps.push(step(time(seconds)?, fault, target)?),
        ["every", seconds, "times", count, fault, target] => {
            let (period, count) = (time(seconds)?, number(count)?);
            for time in 1..=count {
                steps.push(step(period * time as f64, fault, target)?);
            }
        }
        [
            "random",
            "times",
            count,
            "within",
            seconds,
            "from",
            faults,
            "on",
            targets,
        ] => {
            let (span, count) = (time(seconds)?, number(count)?);
            let faults: Vec<&str> = faults.split(',').collect();
            let targets: Vec<&str> = targets.split(',').collect();
            // All names must be valid, even those that the random choice never picks.
            for fault in &faults {
                fault.parse::<Fault>()?;
            }
            for target in &targets {
                target.parse::<Target>()?;
            }
            for _ in 0..count {
                let seconds = span * dice.fraction();
                let (fault, target) = (dice.choose(&faults), dice.choose(&targets));
                steps.push(step(seconds, fault, target)?);
            }
        }
        _ => return Err(format!("cannot read \"{}\" ({RIGHT})", words.join(" "))),
    }
    Ok(())
}

fn step(seconds: f64, fault: &str, target: &str) -> Result<Step, String> {
    Ok(Step {
        seconds,
        fault: fault.parse()?,
        target: target.parse()?,
        text: format!("{fault} {target}"),
    })
}

fn time(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // A year.
        Ok(seconds) if (0.0..=31_536_000.0).contains(&seconds) => Ok(seconds.abs()),
        _ => Err(format!("\"{text}\" is not a time in seconds ({RIGHT})")),
    }
}

fn number(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(count) if count <= STEPS_MAX => Ok(count),
        _ => Err(format!(
            "\"{text}\" is not a count from 0 to {STEPS_MAX} ({RIGHT})"
        )),
    }
}

/// A pseudo-random generator; the same seed gives the same numbers.
///
/// # Source
/// splitmix64: Sebastiano Vigna, 2015, <https://prng.di.unimi.it/splitmix64.c>.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn choose<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[(self.next() % from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_in_order_of_time() {
        let text = "# storm\nevery 0.5 times 2 kill leader\n\nat 0.75 slow:3 follower # late\nat 0 exit:7 worker:1\n";
        let found: Vec<_> = parse(text, 0)
            .unwrap()
            .into_iter()
            .map(|s| (s.seconds, s.text))
            .collect();
        let expected = [
            (0.0, "exit:7 worker:1"),
            (0.5, "kill leader"),
            (0.75, "slow:3 follower"),
            (1.0, "kill leader"),
        ];
        assert_eq!(found, expected.map(|(s, t)| (s, t.to_owned())));
    }

    #[test]
    fn a_seed_gives_the_same_list_again() {
        let text = "random times 50 within 10 from kill,segv,hang on leader,follower,audio-out";
        let one = parse(text, 7).unwrap();
        assert_eq!(one, parse(text, 7).unwrap());
        assert_ne!(one, parse(text, 8).unwrap());
        assert_eq!(one.len(), 50);
        assert!(one.iter().all(|s| (0.0..10.0).contains(&s.seconds)));
        for word in ["kill", "segv", "hang", "leader", "follower", "audio-out"] {
            assert!(one.iter().any(|s| s.text.contains(word)), "{word}");
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (line, what) in [
            ("at x kill leader", "\"x\" is not a time"),
            ("at -1 kill leader", "\"-1\" is not a time"),
            ("at 1 kil leader", "no fault \"kil\""),
            ("at 1 kill leeder", "no service \"leeder\""),
            ("at 1 kill", "cannot read \"at 1 kill\""),
            ("every 1 times -2 kill leader", "\"-2\" is not a count"),
            (
                "random times 1 within 1 from kill,x on leader",
                "no fault \"x\"",
            ),
            ("random times 0 within 1 from kill on x", "no service \"x\""),
        ] {
            let error = parse(&format!("at 0 kill leader\n{line}\n"), 0).unwrap_err();
            assert!(error.starts_with(&format!("line 2: {what}")), "{error}");
        }
    }
}
