//! From a patch and its processing order to the structure that the render thread runs: the channels of each
//! module, the buffer of each block, and which blocks are summed.
//!
//! A block is needed from the processing of its module to that of its last listener. Afterwards its buffer is
//! reused, so a large patch needs few buffers, which stay in the processor's cache. A loop is processed again
//! for the next frame, so its buffers are not reused before its end.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use common::sample::Sample;

use crate::{
    module::{Context, Kind, Plug, Polyphony, lanes_for},
    modules,
    patch::{Checked, Fade, ModuleSpec, Patch, id_before},
    schedule::{Connection, Feedback, Late, Step},
};

/// The most channels of a cable.
pub const CABLE_CHANNELS_MAX: usize = 32;
/// Samples per frame of the widest block.
pub const LANES_TOTAL_MAX: usize = 32;

/// A module as the render thread sees it.
pub struct Node {
    pub kind: Kind,
    pub channels: usize,
    /// Its cells in the arena.
    pub cells: Range<usize>,
    /// The recording that it plays.
    pub sample: Option<Arc<Sample>>,
    /// The initial values of its parameters.
    pub values: Vec<f32>,
    pub plugs: Vec<Plug>,
    /// Gathered blocks that are summed across their lanes before the module is processed.
    pub summed: Vec<u16>,
    /// Feedback blocks that are added to its gathered blocks before the module is processed.
    pub pulls: Vec<Push>,
    /// Gathered blocks of other modules to which its blocks are added after it is processed.
    pub pushes: Vec<Push>,
    /// Its outputs with feedback cables, and these cables.
    pub feeds: Vec<(u16, Feedback)>,
    /// Whether it has been removed from the patch and plays on until everything has faded out.
    pub ghost: bool,
    /// The buffer of each output, and a bit for each output that has a listener.
    pub outs: Vec<u16>,
    pub wanted: u32,
}

/// A block that is added to the gathered block of an input: one of several cables, or a cable with another
/// number of channels. It is added at once, while it is in the cache; afterwards its buffer is free.
#[derive(Clone, Copy)]
pub struct Push {
    /// The buffer of the block.
    pub from: u16,
    pub from_channels: usize,
    /// The gathered block.
    pub into: u16,
    /// Channels of the input.
    pub channels: usize,
    /// If the input sums all channels: how many lanes lie side by side before they are summed across. 1 if all
    /// cables have a single channel, else [`SUM_LANES`].
    pub sum_lanes: Option<usize>,
    /// Whether it is the first of its sum: then the gathered block still holds other data.
    pub first: bool,
    /// The number of its fade, if it fades in or out.
    pub fade: Option<u16>,
}

/// An input whose cables all fade out. Afterwards the input has no cable.
pub struct End {
    pub module: u16,
    pub input: usize,
    /// The gathered block until then.
    pub gathered: u16,
    /// The numbers of the fades.
    pub fades: Vec<u16>,
}

/// Lanes in which channels are summed side by side before they are summed across.
pub const SUM_LANES: usize = 16;

/// Modules that are processed one after the other, for a whole segment or for each of its frames.
pub struct Part {
    /// Their indices in the processing order.
    pub order: Range<usize>,
    pub frame_by_frame: FrameByFrame,
    /// The numbers of the cables within this part that are one frame late.
    pub feedbacks: Vec<u16>,
}

/// Whether frames are rendered one by one, since a cable is only one frame late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameByFrame {
    Never,
    /// Until the fades have ended, since all such cables fade out.
    UntilFaded,
    Always,
}

/// The whole plan.
pub struct Plan {
    /// The modules, by their index in the patch.
    pub nodes: Vec<Node>,
    /// The processing order, and its parts: loops, and the modules between them.
    pub order: Vec<u16>,
    pub parts: Vec<Part>,
    /// For each cable that fades: in or out.
    pub fades: Vec<Fade>,
    pub ends: Vec<End>,
    /// For each feedback cable, the buffer of the block that it delivers.
    pub feedbacks: Vec<u16>,
    /// The numbers of the cables that are a block late.
    pub block_late: Vec<u16>,
    /// The index of `out`.
    pub out: u16,
    /// Samples per frame of each buffer, and of each gathered block.
    pub buffers: Vec<usize>,
    pub gathered: Vec<usize>,
    /// The most outputs of a module.
    pub outs_max: usize,
    /// Cells of the arena.
    pub cells: usize,
}

impl Plan {
    /// How many blocks a module writes, given the number of channels of sound.
    pub fn outs_of(&self, module: u16, channels: usize) -> usize {
        match module == self.out {
            true => channels,
            false => self.nodes[usize::from(module)].outs.len(),
        }
    }
}

impl Plan {
    /// Divides the processing order into loops and the modules between them.
    fn part(&mut self, steps: &[Step]) {
        for part in steps.chunk_by(|one, two| one.in_loop == two.in_loop) {
            let begin = self.parts.last().map_or(0, |part| part.order.end);
            let (mut frame_by_frame, mut feedbacks) = (FrameByFrame::Never, Vec::new());
            for step in part {
                for connection in &step.connections {
                    let Some(Feedback { number, late }) = connection.feedback else {
                        continue;
                    };
                    match late {
                        Late::Block => self.block_late.push(number),
                        Late::Frame => {
                            frame_by_frame =
                                frame_by_frame.max(self.until(step.module, connection));
                            feedbacks.push(number);
                        }
                        // Read by the source of the cable.
                        Late::FrameAhead => {}
                    }
                }
            }
            self.parts.push(Part {
                order: begin..begin + part.len(),
                frame_by_frame,
                feedbacks,
            });
        }
    }

    /// For how long a cable of a loop makes its frames be rendered one by one.
    fn until(&self, module: u16, connection: &Connection) -> FrameByFrame {
        let goes = |fade: u16| self.fades[usize::from(fade)] == Fade::Out;
        match connection.fade.is_some_and(goes) || self.nodes[usize::from(module)].ghost {
            true => FrameByFrame::UntilFaded,
            false => FrameByFrame::Always,
        }
    }

    /// The buffer of the block that a connection delivers.
    fn brought(&self, connection: &Connection) -> u16 {
        match connection.feedback {
            Some(feedback) => self.feedbacks[usize::from(feedback.number)],
            None => self.nodes[usize::from(connection.module)].outs[usize::from(connection.output)],
        }
    }

    /// The push that adds the block of a connection to the gathered block of an input.
    fn push(
        &self,
        gathers: &mut Pool,
        into: &mut BTreeMap<(u16, u16), u16>,
        (input, sum_lanes): ((u16, u16), Option<usize>),
        (from, connection): (u16, &Connection),
        context: Context,
    ) -> Push {
        let source = &self.nodes[usize::from(connection.module)];
        let channels = self.nodes[usize::from(input.0)].channels;
        let needed = sum_lanes.unwrap_or_else(|| lanes(channels, context.wide));
        let first = !into.contains_key(&input);
        Push {
            from,
            from_channels: out_channels(&source.kind, source.channels),
            into: *into.entry(input).or_insert_with(|| gathers.take(needed)),
            channels,
            sum_lanes,
            first,
            fade: connection.fade,
        }
    }
}

/// A listener of an output.
struct Listener {
    /// Module and input.
    input: (u16, u16),
    fade: Option<u16>,
    feedback: Option<Feedback>,
}

/// The values of a module's parameters in a patch.
fn values(kind: &Kind, spec: &ModuleSpec) -> Vec<f32> {
    let params = kind.describe.params.iter();
    params
        .map(|param| *spec.params.get(param.name).unwrap_or(&param.default))
        .collect()
}

/// Buffers with a size in samples per frame, some of which are free.
#[derive(Default)]
struct Pool {
    lanes: Vec<usize>,
    free: BTreeMap<usize, Vec<u16>>,
    /// The present loop, and the buffers that are free after its end.
    in_loop: Option<u16>,
    held: Vec<u16>,
}

impl Pool {
    fn take(&mut self, lanes: usize) -> u16 {
        if let Some(free) = self.free.get_mut(&lanes).and_then(Vec::pop) {
            return free;
        }
        self.lanes.push(lanes);
        (self.lanes.len() - 1) as u16
    }

    fn give_back(&mut self, buffer: u16) {
        if self.in_loop.is_some() {
            return self.held.push(buffer);
        }
        let lanes = self.lanes[usize::from(buffer)];
        self.free.entry(lanes).or_default().push(buffer);
    }

    /// Enters the loop of the next module, or leaves the last loop.
    fn enter(&mut self, in_loop: Option<u16>) {
        if self.in_loop != in_loop {
            self.in_loop = None;
            for buffer in std::mem::take(&mut self.held) {
                self.give_back(buffer);
            }
            self.in_loop = in_loop;
        }
    }
}

/// Samples per frame for that many channels.
const fn lanes(channels: usize, wide: bool) -> usize {
    let (n, groups) = lanes_for(channels, wide);
    n * groups
}

/// The kinds of a checked patch's modules.
fn kinds(patch: &Patch) -> Vec<Kind> {
    let modules = patch.modules.iter();
    // The check of the patch has found every type.
    modules
        .filter_map(|spec| modules::kind(&spec.kind))
        .collect()
}

/// How many cells the arena of a patch has.
pub fn cells(
    patch: &Checked,
    context: Context,
    first_cell: impl FnOnce(&[usize]) -> usize,
) -> usize {
    let (patch, steps) = (patch.patch(), patch.steps());
    let kinds = kinds(patch);
    let channels = channels(patch, steps, &kinds);
    let first_cell = first_cell(&feedback_lanes(steps, &kinds, &channels, context));
    let each = kinds.iter().zip(channels);
    each.fold(first_cell, |cells, (kind, channels)| {
        cells.next_multiple_of(kind.align(context)) + kind.cells(context, channels)
    })
}

/// The number of channels of each module of a patch.
pub fn channels_of(patch: &Checked) -> Vec<usize> {
    let kinds = kinds(patch.patch());
    channels(patch.patch(), patch.steps(), &kinds)
}

/// Samples per frame of each feedback cable.
fn feedback_lanes(
    steps: &[Step],
    kinds: &[Kind],
    channels: &[usize],
    context: Context,
) -> Vec<usize> {
    let connections = steps.iter().flat_map(|step| &step.connections);
    let mut all: Vec<(u16, usize)> = connections
        .filter_map(|connection| {
            let module = usize::from(connection.module);
            let channels = out_channels(&kinds[module], channels[module]);
            Some((connection.feedback?.number, lanes(channels, context.wide)))
        })
        .collect();
    all.sort_unstable();
    all.into_iter().map(|(_, lanes)| lanes).collect()
}

/// Plans a patch that has been checked. `first_cell` returns the first cell of the modules, given the samples
/// per frame of each feedback cable.
pub fn plan(
    patch: &Patch,
    steps: Vec<Step>,
    context: Context,
    first_cell: impl FnOnce(&[usize]) -> usize,
) -> Plan {
    let kinds = kinds(patch);
    let channels = channels(patch, &steps, &kinds);
    // The listening inputs, by output.
    let mut listeners: BTreeMap<(u16, u16), Vec<Listener>> = BTreeMap::new();
    for step in &steps {
        for connection in &step.connections {
            let source = (connection.module, connection.output);
            listeners.entry(source).or_default().push(Listener {
                input: (step.module, connection.input),
                fade: connection.fade,
                feedback: connection.feedback,
            });
        }
    }
    let feedback_lanes = feedback_lanes(&steps, &kinds, &channels, context);
    let mut cells = first_cell(&feedback_lanes);
    let mut nodes: Vec<Node> = Vec::with_capacity(kinds.len());
    for (module, kind) in kinds.iter().enumerate() {
        let spec = &patch.modules[module];
        let begin = cells.next_multiple_of(kind.align(context));
        cells = begin + kind.cells(context, channels[module]);
        nodes.push(Node {
            kind: *kind,
            channels: channels[module],
            cells: begin..cells,
            sample: patch.sample_of(spec),
            values: values(kind, spec),
            plugs: vec![Plug::Nothing; kind.describe.inputs.len()],
            summed: Vec::new(),
            pulls: Vec::new(),
            pushes: Vec::new(),
            feeds: Vec::new(),
            ghost: id_before(&spec.id).is_some(),
            outs: Vec::new(),
            wanted: 0,
        });
    }
    let out = patch.modules.iter().position(|spec| spec.kind == "out");
    let mut plan = Plan {
        order: steps.iter().map(|step| step.module).collect(),
        parts: Vec::new(),
        out: out.unwrap_or_default() as u16,
        fades: patch.cables.iter().filter_map(|cable| cable.fade).collect(),
        ends: Vec::new(),
        feedbacks: Vec::new(),
        block_late: Vec::new(),
        buffers: Vec::new(),
        gathered: Vec::new(),
        outs_max: nodes
            .iter()
            .map(|node| node.kind.describe.outputs.len())
            .max()
            .unwrap_or(0),
        cells,
        nodes,
    };
    plan.part(&steps);
    let gathered = gathered(&plan, &steps);
    let (mut pool, mut gathers) = (Pool::default(), Pool::default());
    // Feedback buffers are filled before the first module is processed.
    let feedbacks = feedback_lanes.into_iter();
    plan.feedbacks = feedbacks.map(|lanes| pool.take(lanes)).collect();
    let mut into = BTreeMap::new();
    // How many listeners of each block are still to be processed.
    let mut left = BTreeMap::new();
    for step in &steps {
        let module = usize::from(step.module);
        pool.enter(step.in_loop);
        gathers.enter(step.in_loop);
        let mut gone = Vec::new();
        for (input, connections) in inputs_of(step) {
            let place = usize::from(input);
            let listener = (step.module, input);
            let Some(sum_lanes) = gathered.get(&listener).copied() else {
                if let [connection] = connections.as_slice() {
                    plan.nodes[module].plugs[place] = Plug::Direct(plan.brought(connection));
                }
                continue;
            };
            for connection in connections
                .iter()
                .filter(|connection| connection.feedback.is_some())
            {
                let from = (plan.brought(connection), connection);
                let to = (listener, sum_lanes);
                let push = plan.push(&mut gathers, &mut into, to, from, context);
                plan.nodes[module].pulls.push(push);
            }
            let Some(at) = into.remove(&listener) else {
                continue;
            };
            plan.nodes[module].plugs[place] = Plug::Gathered(at);
            if sum_lanes == Some(SUM_LANES) {
                plan.nodes[module].summed.push(at);
            }
            gone.push(at);
            let goes = |fade: &u16| plan.fades[usize::from(*fade)] == Fade::Out;
            let fades = connections
                .iter()
                .map(|connection| connection.fade.filter(goes));
            if let Some(fades) = fades.collect() {
                plan.ends.push(End {
                    module: step.module,
                    input: place,
                    gathered: at,
                    fades,
                });
            }
        }
        gone.into_iter().for_each(|at| gathers.give_back(at));
        let outputs = plan.nodes[module].kind.describe.outputs.len();
        let from_channels = out_channels(&kinds[module], channels[module]);
        let each = lanes(from_channels, context.wide);
        plan.nodes[module].outs = (0..outputs).map(|_| pool.take(each)).collect();
        for output in 0..outputs {
            let source = (step.module, output as u16);
            let listeners = listeners.get(&source).map_or(&[][..], Vec::as_slice);
            let buffer = plan.nodes[module].outs[output];
            plan.nodes[module].wanted |= u32::from(!listeners.is_empty()) << output;
            let mut direct = 0;
            for listener in listeners {
                if let Some(feedback) = listener.feedback {
                    plan.nodes[module].feeds.push((output as u16, feedback));
                    continue;
                }
                let Some(sum_lanes) = gathered.get(&listener.input).copied() else {
                    direct += 1;
                    continue;
                };
                let connection = Connection {
                    module: step.module,
                    output: output as u16,
                    input: listener.input.1,
                    fade: listener.fade,
                    feedback: None,
                };
                let from = (buffer, &connection);
                let to = (listener.input, sum_lanes);
                let push = plan.push(&mut gathers, &mut into, to, from, context);
                plan.nodes[module].pushes.push(push);
            }
            match direct {
                0 => pool.give_back(buffer),
                _ => drop(left.insert(source, direct)),
            }
        }
        for connection in &step.connections {
            if gathered.contains_key(&(step.module, connection.input))
                || connection.feedback.is_some()
            {
                continue;
            }
            let waiting = left
                .entry((connection.module, connection.output))
                .or_insert(0);
            *waiting -= 1;
            if *waiting == 0 {
                let node = &plan.nodes[usize::from(connection.module)];
                pool.give_back(node.outs[usize::from(connection.output)]);
            }
        }
    }
    plan.buffers = pool.lanes;
    plan.gathered = gathers.lanes;
    plan
}

/// The number of channels of each output of a module with `channels` channels.
pub const fn out_channels(kind: &Kind, channels: usize) -> usize {
    match kind.polyphony {
        Polyphony::Split => 1,
        _ => channels,
    }
}

/// The connections of each input of a module, in the order of the patch.
fn inputs_of(step: &Step) -> BTreeMap<u16, Vec<Connection>> {
    let mut inputs: BTreeMap<u16, Vec<Connection>> = BTreeMap::new();
    for connection in &step.connections {
        inputs
            .entry(connection.input)
            .or_default()
            .push(*connection);
    }
    inputs
}

/// The inputs that cannot use a source's block directly, each with its [`Push::sum_lanes`].
fn gathered(plan: &Plan, steps: &[Step]) -> BTreeMap<(u16, u16), Option<usize>> {
    let mut gathered = BTreeMap::new();
    for step in steps {
        let node = &plan.nodes[usize::from(step.module)];
        for (input, connections) in inputs_of(step) {
            let comes = |connection: &Connection| {
                let from = &plan.nodes[usize::from(connection.module)];
                out_channels(&from.kind, from.channels)
            };
            let fits = match connections.as_slice() {
                [connection] if connection.fade.is_none() => comes(connection) == node.channels,
                _ => false,
            };
            if !fits {
                let single = connections.iter().all(|connection| comes(connection) == 1);
                let sum_lanes = if single { 1 } else { SUM_LANES };
                let is_summed = node.kind.polyphony == Polyphony::Summed;
                gathered.insert((step.module, input), is_summed.then_some(sum_lanes));
            }
        }
    }
    gathered
}

/// The number of channels of each module. Feedback cables do not increase it: their channels are spread over
/// those that exist without them.
fn channels(patch: &Patch, steps: &[Step], kinds: &[Kind]) -> Vec<usize> {
    let mut channels = vec![1; kinds.len()];
    for step in steps {
        let module = usize::from(step.module);
        let kind = &kinds[module];
        let comes = |connection: &Connection| {
            let from = usize::from(connection.module);
            out_channels(&kinds[from], channels[from])
        };
        let ahead = step
            .connections
            .iter()
            .filter(|connection| connection.feedback.is_none());
        let widest = ahead.map(comes).max().unwrap_or(1);
        let plugged = step
            .connections
            .iter()
            .map(|connection| usize::from(connection.input) + 1);
        let merged = plugged.filter(|input| *input <= kind.inputs).max();
        let wished = usize::from(patch.modules[module].channels);
        channels[module] = match kind.polyphony {
            Polyphony::Poly | Polyphony::Split => widest.max(wished),
            Polyphony::Summed => 1,
            Polyphony::Merge => merged.unwrap_or(1),
        }
        .clamp(1, CABLE_CHANNELS_MAX);
    }
    channels
}
