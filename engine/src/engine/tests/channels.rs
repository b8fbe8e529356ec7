//! Cables with several channels: n channels equal n patches.

use super::*;

#[test]
fn as_many_channels_are_the_sum_of_as_many_patches() {
    const CHAIN: [(&str, &str); 4] = [("s", "e"), ("e", "f"), ("e.env", "f.cutoff"), ("f", "o")];
    let voice = r#"{"id":"e","type":"adsr","params":{"attack":3,"decay":20,"sustain":0.5}},
        {"id":"f","type":"filter","params":{"cutoff":900,"q":3}},"#;
    for channels in [3, 8, 9, 32] {
        let poly = format!(
            r#"{voice}{{"id":"p","type":"spread","channels":{channels},"params":{{"step":0.07}}}},
            {{"id":"s","type":"sine","params":{{"freq":110,"gain":0.01}}}}"#
        );
        let mut cables = CHAIN.to_vec();
        cables.push(("p", "s.freq"));
        let poly = patch(&poly, &cables);
        let run = |patch: &Patch| {
            let mut engine = engine(patch);
            let mut out = heard(&mut engine, 3);
            engine.apply(&gate(patch, "e", 0.8));
            out.extend(heard(&mut engine, 60));
            engine.apply(&gate(patch, "e", 0.0));
            out.extend(heard(&mut engine, 30));
            out
        };
        let mut sum = vec![0.0; 93 * 64];
        for channel in 0..channels {
            let pitch = constant("p", 0.07 * channel as f32);
            let mono = format!(
                r#"{voice}{pitch},{{"id":"s","type":"sine","params":{{"freq":110,"gain":0.01}}}}"#
            );
            for (sum, one) in sum.iter_mut().zip(run(&patch(&mono, &cables))) {
                *sum += one;
            }
        }
        let all = run(&poly);
        // The last stage limits; below its knee the signal is unchanged.
        for (n, (one, other)) in all.iter().zip(&sum).enumerate() {
            assert!(
                (one - other).abs() < 1e-5,
                "{channels} channels, frame {n}: {one} {other}"
            );
        }
        assert!(all.iter().any(|sample| sample.abs() > 0.005));
    }
}

#[test]
fn a_cable_of_one_channel_reaches_all_channels_of_an_input() {
    for channels in [2, 8, 9, 32] {
        let modules = format!(
            r#"{},{{"id":"v","type":"vca","channels":{channels},"params":{{"level":1}}}}"#,
            constant("c", 0.01)
        );
        let [left, _] = value(&patch(&modules, &[("c", "v"), ("v", "o")]));
        assert!((left - 0.01 * channels as f32).abs() < 1e-6, "{channels}");
    }
}

#[test]
fn merged_channels_can_be_split_and_summed_again() {
    // Channel k has the value k / 100; channel 5 has no cable.
    for last in [1, 2, 3, 8, 9, 16] {
        let there: Vec<usize> = (1..=last).filter(|n| *n == last || *n != 5).collect();
        let sources: Vec<String> = there
            .iter()
            .map(|n| constant(&format!("c{n}"), *n as f32 / 100.0))
            .collect();
        let merge =
            r#"{"id":"m","type":"merge"},{"id":"s","type":"sum"},{"id":"p","type":"split"}"#;
        let modules = format!("{},{merge}", sources.join(","));
        let inputs: Vec<[String; 2]> = there
            .iter()
            .map(|n| [format!("c{n}"), format!("m.in{n}")])
            .collect();
        let merged: Vec<(&str, &str)> = inputs.iter().map(|[c, m]| (&**c, &**m)).collect();
        let run = |more: &[(&str, &str)]| value(&patch(&modules, &[&merged, more].concat()));
        let sum: usize = there.iter().sum();
        let [left, _] = run(&[("m", "s"), ("s", "o.left")]);
        assert!((left - sum as f32 / 100.0).abs() < 1e-6, "{last}: {left}");
        for output in 1..=16 {
            let port = format!("p.out{output}");
            let found = run(&[("m", "p"), (&port, "o.right")]);
            let expected = if there.contains(&output) { output } else { 0 };
            assert_eq!(found, [0.0, expected as f32 / 100.0], "{output} of {last}");
        }
    }
}

#[test]
fn a_merged_cable_of_several_channels_is_its_first() {
    let modules = format!(
        r#"{},{{"id":"w","type":"spread","channels":12,"params":{{"step":0.01}}}},
        {{"id":"m","type":"merge"}},{{"id":"p","type":"split"}}"#,
        constant("c", 0.1)
    );
    let cables = [("c", "w"), ("w", "m.in2"), ("m", "p")];
    let found = value(&patch(
        &modules,
        &[&cables[..], &[("p.out1", "o.left"), ("p.out2", "o.right")]].concat(),
    ));
    assert_eq!(found, [0.0, 0.1]);
}

#[test]
fn channels_that_a_cable_does_not_have_are_silent() {
    // The spare lanes of three channels hold values; the last two of five channels must not receive
    // them.
    for (few, many) in [(3, 5), (9, 14), (9, 32), (18, 20), (2, 16)] {
        let modules = format!(
            r#"{},{{"id":"w","type":"spread","channels":{few},"params":{{"step":0}}}},
            {{"id":"v","type":"vca","channels":{many},"params":{{"level":1}}}}"#,
            constant("c", 0.01)
        );
        let [left, _] = value(&patch(&modules, &[("c", "w"), ("w", "v"), ("v", "o")]));
        assert!(
            (left - 0.01 * few as f32).abs() < 1e-6,
            "{few} into {many}: {left}"
        );
    }
}

#[test]
fn of_a_cable_that_is_split_only_its_channels_are_heard() {
    for channels in [1, 3, 9] {
        let modules = format!(
            r#"{},{{"id":"w","type":"spread","channels":{channels},"params":{{"step":0}}}},
            {{"id":"p","type":"split"}}"#,
            constant("c", 0.1)
        );
        let ports = [channels, channels + 1].map(|n| format!("p.out{n}"));
        let cables = [
            ("c", "w"),
            ("w", "p"),
            (&*ports[0], "o.left"),
            (&*ports[1], "o.right"),
        ];
        assert_eq!(value(&patch(&modules, &cables)), [0.1, 0.0], "{channels}");
    }
}

#[test]
fn a_bypassed_split_still_splits() {
    let modules = format!(
        r#"{},{{"id":"w","type":"spread","channels":20,"params":{{"step":0.01}}}},
        {{"id":"p","type":"split"}}"#,
        constant("c", 0.1)
    );
    let cables = [
        ("c", "w"),
        ("w", "p"),
        ("p.out3", "o.left"),
        ("p.out12", "o.right"),
    ];
    let patch = patch(&modules, &cables);
    let mut engine = engine(&patch);
    let mut blocks = [[0.0; 128]; 2];
    engine.render(&mut blocks[0], &mut |_| {});
    engine.apply(&Event::Bypass(patch.module_index("p").unwrap()));
    engine.render(&mut blocks[1], &mut |_| {});
    assert!((blocks[0][126] - 0.12).abs() < 1e-6 && (blocks[0][127] - 0.21).abs() < 1e-6);
    assert_eq!(bits(&blocks[1][126..]), bits(&blocks[0][126..]));
}
