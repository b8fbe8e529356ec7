//! The verbs, a file each.

pub(crate) mod demo;
pub(crate) mod devices;
pub(crate) mod down;
pub(crate) mod inject;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod midi;
pub(crate) mod modules;
pub(crate) mod patch;
pub(crate) mod record;
pub(crate) mod render;
pub(crate) mod replay;
pub(crate) mod restart;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod up;
