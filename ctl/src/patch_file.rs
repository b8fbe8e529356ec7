//! Reads and checks a patch file, and imports the recordings that the patch names.
//!
//! In a written file, a module's `sample` is a path relative to the file; in a saved file it is `NAME@ID`. The
//! workers know IDs only, so each recording is decoded here, once, and stored under its ID.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{
    limits::{PATCH_BYTES_MAX, SAMPLE_BYTES_MAX},
    sample::{self, Sample},
};
use engine::{Config, Engine, patch::Patch};
use platform::samples::Samples;
use serde_json::Value;

use crate::{failure::Failure, output, recording};

/// The store of decoded recordings: the instance's folder, or the memory of this process.
pub(crate) struct Shelf {
    kept: Samples,
    /// The recordings of this process, if it does not work for an instance.
    own: Option<RefCell<BTreeMap<String, Arc<Sample>>>>,
    /// The sound files that were read.
    sources: RefCell<Vec<PathBuf>>,
}

impl Shelf {
    /// A store in the folder of an instance.
    pub(crate) const fn of_instance(folder: PathBuf) -> Self {
        Self {
            kept: Samples::within(folder),
            own: None,
            sources: RefCell::new(Vec::new()),
        }
    }

    /// A store in this process; recordings in the folder of the instance are readable.
    pub(crate) const fn of_process(folder: PathBuf) -> Self {
        Self {
            kept: Samples::within(folder),
            own: Some(RefCell::new(BTreeMap::new())),
            sources: RefCell::new(Vec::new()),
        }
    }

    /// The sound files that were read so far.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        self.sources.borrow().clone()
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Sample>> {
        let own = self
            .own
            .as_ref()
            .and_then(|own| own.borrow().get(id).cloned());
        own.or_else(|| self.kept.find(id))
    }

    fn keep(&self, recording: Sample) -> io::Result<String> {
        let bytes = recording.to_bytes();
        let id = sample::id(&bytes);
        match &self.own {
            Some(own) => drop(own.borrow_mut().insert(id.clone(), Arc::new(recording))),
            None => self.kept.keep(&bytes)?,
        }
        Ok(id)
    }
}

/// Reads and checks a patch file; in the returned text, recordings have their IDs.
pub(crate) fn read(path: &Path, config: Config, shelf: &Shelf) -> Result<(String, Patch), Failure> {
    let wrong = |what: String| Failure::no(format!("{}: {what}", path.display()));
    let text = take_in(&output::read_text(path)?, path, config.rate_hz, shelf).map_err(wrong)?;
    if text.len() > PATCH_BYTES_MAX {
        return Err(wrong(format!(
            "the patch has {} bytes (expected at most {PATCH_BYTES_MAX})",
            text.len()
        )));
    }
    let patch = Patch::from_json(&text).map_err(|e| wrong(e.to_string()))?;
    let patch = patch.fetched(&|id| shelf.find(id));
    Engine::new(&patch, config).map_err(|e| wrong(e.to_string()))?;
    Ok((text, patch))
}

/// Imports the recordings that a patch names. Returns text that is not JSON unchanged; the patch reader refuses it
/// with line and column.
fn take_in(text: &str, path: &Path, rate_hz: u32, shelf: &Shelf) -> Result<String, String> {
    let Ok(mut patch) = serde_json::from_str::<Value>(text) else {
        return Ok(text.to_owned());
    };
    let mut known = BTreeMap::new();
    let mut bytes = 0;
    // `get_mut`, since indexing a root that is not an object panics.
    let modules = patch.get_mut("modules").and_then(Value::as_array_mut);
    let modules = modules.into_iter().flatten();
    for (index, module) in modules.enumerate() {
        let Some(Value::String(named)) = module.get_mut("sample") else {
            continue;
        };
        let at = |what: String| format!("modules[{index}].sample: {what}");
        if !known.contains_key(named) {
            let (id, len) = take_in_one(named, path, rate_hz, shelf).map_err(at)?;
            bytes += len;
            known.insert(named.clone(), id);
        }
        if bytes > SAMPLE_BYTES_MAX {
            return Err(at(format!(
                "the recordings of the patch are too large together (expected at most {} MiB, \
                 as 32-bit samples at their own rate and at the stack's)",
                SAMPLE_BYTES_MAX >> 20
            )));
        }
        let id = &known[named];
        *named = format!("{}@{id}", name_in(named));
    }
    match known.is_empty() {
        true => Ok(text.to_owned()),
        false => Ok(format!("{patch:#}")),
    }
}

/// The name in `NAME@ID`, or the whole text if there is no ID.
fn name_in(named: &str) -> &str {
    match sample::id_in(named) {
        Some(id) => &named[..named.len() - id.len() - 1],
        None => named,
    }
}

/// The ID of a recording at the stack's rate, and the size of its samples in bytes.
fn take_in_one(
    named: &str,
    patch: &Path,
    rate_hz: u32,
    shelf: &Shelf,
) -> Result<(String, usize), String> {
    let (id, name) = (sample::id_in(named), name_in(named));
    if let Some((id, found)) = id.and_then(|id| Some((id, shelf.find(id)?))) {
        if found.at_rate(rate_hz).rate_hz() == rate_hz {
            return Ok((id.to_owned(), found.bytes()));
        }
        // A stack with another rate has imported the recording, or a build that did not convert.
        let again = recording::at_rate(found.as_recorded(), rate_hz);
        let again = again.map_err(|why| format!("{name}: {why}"))?;
        let bytes = again.bytes();
        let kept = shelf.keep(again);
        return kept
            .map(|id| (id, bytes))
            .map_err(|e| format!("{name} cannot be stored: {e}"));
    }
    let path = patch.parent().unwrap_or(Path::new("")).join(name);
    let read = recording::read(&path, rate_hz);
    shelf.sources.borrow_mut().push(path.clone());
    let read = read.map_err(|why| format!("{}: {why}", path.display()))?;
    if !read.mended.is_empty() {
        let text = format!("{}: repaired: {}", path.display(), read.mended.join("; "));
        output::warning(&text);
    }
    let bytes = read.sample.bytes();
    let found = shelf
        .keep(read.sample)
        .map_err(|e| format!("{} cannot be stored: {e}", path.display()))?;
    match id {
        Some(id) if !sample::same_sound(id, &found) => Err(format!(
            "{} differs from the recording that the patch was saved with; write \"{name}\" to use it as it is now",
            path.display()
        )),
        _ => Ok((found, bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
    };

    fn patch_of(folder: &Path, sample: &str) -> PathBuf {
        let path = folder.join("patch.json");
        let sampler = format!(r#"{{"id":"s","type":"sampler","sample":"{sample}"}}"#);
        let text = format!(
            r#"{{"version":1,"modules":[{sampler},{{"id":"o","type":"out"}}],"cables":[{{"from":"s","to":"o"}}]}}"#
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn wav(path: &Path, samples: &[i16]) {
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 44_100,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        samples
            .iter()
            .for_each(|s| writer.write_sample(*s).unwrap());
        writer.finalize().unwrap();
    }

    #[test]
    fn a_recording_beside_the_patch_is_taken_in_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        wav(&folder.path().join("kick.wav"), &[0, 100, -16_384, 16_384]);
        let path = patch_of(folder.path(), "kick.wav");
        let shelf = Shelf::of_instance(folder.path().join("samples"));
        let (text, patch) = read(&path, CONFIG, &shelf).unwrap();
        let named = patch.modules[0].sample.clone().unwrap();
        let id = sample::id_in(&named).unwrap();
        assert!(named.starts_with("kick.wav@"), "{named}");
        let found = shelf.find(id).unwrap();
        let sound = found.recorded();
        assert_eq!((sound.rate_hz(), sound.frames()), (44_100, 2));
        assert_eq!([sound.side(0)[1], sound.side(1)[1]], [-0.5, 0.5]);
        assert_eq!(found.at_rate(48_000).rate_hz(), 48_000);
        // As it was saved, and without the file.
        std::fs::write(&path, &text).unwrap();
        std::fs::remove_file(folder.path().join("kick.wav")).unwrap();
        let (again, _) = read(&path, CONFIG, &shelf).unwrap();
        assert_eq!(
            Patch::from_json(&again).unwrap().modules[0].sample,
            Some(named.clone())
        );
        // Imported by a stack with another rate: the same sound, converted to this one.
        let other = Config {
            rate_hz: 96_000,
            ..CONFIG
        };
        let (_, patch) = read(&path, other, &shelf).unwrap();
        let elsewhere = patch.modules[0].sample.clone().unwrap();
        let found = shelf.find(sample::id_in(&elsewhere).unwrap()).unwrap();
        assert_eq!(found.at_rate(96_000).rate_hz(), 96_000);
        assert_eq!(found.recorded().side(1)[1], 0.5);
        assert!(elsewhere.starts_with("kick.wav@") && elsewhere != named);
        // Without a stored recording the file is read, for any rate at which the patch was saved.
        wav(&folder.path().join("kick.wav"), &[0, 100, -16_384, 16_384]);
        let empty = Shelf::of_process(folder.path().join("nothing"));
        read(&path, other, &empty).unwrap();
    }

    #[test]
    fn a_root_that_is_no_object_is_refused_and_a_byte_order_mark_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::of_process(folder.path().join("samples"));
        let path = folder.path().join("patch.json");
        for root in [
            "[]",
            "1",
            "\"x\"",
            "null",
            "true",
            "{}",
            "[[]]",
            "",
            "{\"modules\":1}",
            "{\"version\":1,\"modules\":[1]}",
        ] {
            for text in [root.to_owned(), format!("\u{feff}{root}")] {
                std::fs::write(&path, &text).unwrap();
                let failure = read(&path, CONFIG, &shelf).unwrap_err();
                assert!(
                    failure.code == 1 && failure.text.lines().count() == 1,
                    "{text}"
                );
            }
        }
        let good = format!("\u{feff}{}", Patch::default_patch().to_json());
        std::fs::write(&path, good).unwrap();
        assert_eq!(
            read(&path, CONFIG, &shelf).unwrap().1,
            Patch::default_patch()
        );
    }

    #[test]
    fn what_cannot_be_taken_in_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::of_process(folder.path().join("samples"));
        std::fs::write(folder.path().join("text.wav"), "no sound at all").unwrap();
        wav(&folder.path().join("empty.wav"), &[]);
        wav(&folder.path().join("kick.wav"), &[1, 2]);
        let other = format!("kick.wav@{:032x}", 7);
        for (sample, what) in [
            ("nowhere.wav", "modules[0].sample"),
            ("text.wav", "WAV, AIFF, FLAC"),
            ("empty.wav", "no sound"),
            (other.as_str(), "write \"kick.wav\""),
        ] {
            let path = patch_of(folder.path(), sample);
            let text = read(&path, CONFIG, &shelf).unwrap_err().text;
            assert!(text.contains(what), "{sample}: {text}");
        }
    }
}
