//! What a module type is to the engine: plain state in the arena, and four functions over it.
//!
//! A new module is one file in `modules/` that implements [`Module`] and one line in its list.
//! The state is all that a module remembers: whatever it does to a block follows from the state,
//! the inputs and the [`Context`], so that a copy of the arena is a copy of the sound to come.

use bytemuck::Pod;

use crate::catalog::ModuleType;

/// What every module may know of the world.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Frames a second.
    pub rate_hz: f32,
}

/// A module type; `Self` is its whole state, `#[repr(C)]`, without padding.
///
/// # Real-time
/// `set`, `gate` and `render` run in the render thread: no allocation, no lock, no panic, whatever
/// bits the state holds.
pub trait Module: Pod {
    /// Its description.
    const TYPE: ModuleType;

    /// The state at the start, with a value for each parameter of the type.
    fn new(context: Context, params: &[f32]) -> Self;

    /// A parameter changes; the value is finite and in range. Setting what is set already must
    /// change nothing that can be heard: a patch swap sets every parameter.
    fn set(&mut self, context: Context, param: u16, value: f32);

    /// The gate opens (above 0, up to 1: velocity) or closes (0).
    fn gate(&mut self, _context: Context, _level: f32) {}

    /// Renders one block. `inputs` holds a block for each input of the type, one after the other,
    /// each the sum of its cables (silence where there is none); `outputs` a block for each output.
    fn render(&mut self, context: Context, inputs: &[f32], outputs: &mut [f32]);
}

/// A module type, with its state behind plain words of the arena.
#[derive(Clone, Copy)]
pub struct Kind {
    pub describe: &'static ModuleType,
    /// Words of state.
    pub words: usize,
    pub new: fn(&mut [u64], Context, &[f32]),
    pub set: fn(&mut [u64], Context, u16, f32),
    pub gate: fn(&mut [u64], Context, f32),
    pub render: fn(&mut [u64], Context, &[f32], &mut [f32]),
}

impl Kind {
    /// The kind of a module type.
    pub const fn of<M: Module>() -> Self {
        Self {
            describe: &M::TYPE,
            words: words::<M>(),
            new: |state, context, params| *view::<M>(state) = M::new(context, params),
            set: |state, context, param, value| view::<M>(state).set(context, param, value),
            gate: |state, context, level| view::<M>(state).gate(context, level),
            render: |state, context, inputs, outputs| {
                view::<M>(state).render(context, inputs, outputs);
            },
        }
    }
}

/// Words of the arena that a state takes.
pub const fn words<T>() -> usize {
    size_of::<T>().div_ceil(8)
}

/// The state that begins at these words.
pub fn view<T: Pod>(state: &mut [u64]) -> &mut T {
    bytemuck::from_bytes_mut(&mut bytemuck::cast_slice_mut(state)[..size_of::<T>()])
}
