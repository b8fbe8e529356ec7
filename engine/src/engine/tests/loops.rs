//! Loops of one frame of delay, among modules that have their turns for whole blocks.

use std::collections::BTreeMap;

use super::*;
use crate::patch::Cable;

/// Of which module, output and channel the samples are.
type Place = (String, usize, usize);

/// The next block, as each module puts it out.
fn each(engine: &mut Engine) -> BTreeMap<Place, Vec<u32>> {
    OVERHEARD.set(Some(Vec::new()));
    let mut block = vec![0.0; engine.config().block_samples()];
    engine.render(&mut block, &mut |_| {});
    let mut each = BTreeMap::<Place, Vec<u32>>::new();
    for (module, output, channel, samples) in OVERHEARD.take().unwrap_or_default() {
        let id = engine.patch().modules[usize::from(module)].id.clone();
        each.entry((id, output, channel)).or_default().extend(samples);
    }
    each
}

fn differing(one: &BTreeMap<Place, Vec<u32>>, two: &BTreeMap<Place, Vec<u32>>) -> Vec<String> {
    let differs = one.iter().filter(|(place, samples)| two.get(place) != Some(samples));
    differs.map(|(place, _)| format!("{place:?}")).collect()
}

#[test]
fn probe() {
    let mut all = BTreeMap::new();
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let mut patch = everything(&mut dice);
        let config = Config { block_frames: 32, ..CONFIG };
        let mut whole = Engine::new(&patch, config).unwrap();
        let mut cut = Engine::new(&patch, config).unwrap();
        for block in 0..50 {
            for _ in 0..dice.roll(4) {
                let event = dice.event(&patch);
                whole.apply(&event);
                cut.apply(&event);
            }
            let now = cut.agenda().clock().0;
            for frame in 1..32 {
                cut.apply_at(FrameIndex(now + frame), &gate(&patch, "o", 0.0));
            }
            let (one, two) = (each(&mut whole), each(&mut cut));
            // First to differ in order
            let order: Vec<String> = whole.plan.order.iter().map(|m| patch.modules[usize::from(*m)].id.clone()).collect();
            let diff: Vec<_> = one.iter().filter(|(p, s)| two.get(p) != Some(s)).map(|(p,_)| p.0.clone()).collect();
            if let Some(first) = order.iter().find(|id| diff.contains(id)) {
                let kind = patch.modules.iter().find(|m| &m.id == first).unwrap().kind.clone();
                *all.entry(kind).or_insert(0) += 1;
                break;
            }
        }
    }
    panic!("{all:?}");
}
