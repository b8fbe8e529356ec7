//! A patch file as a person writes it: read, the recordings that it names taken in, checked.
//!
//! In the file a module's `sample` is a path, seen from the file; or, in one that was saved, `NAME@ID`.
//! Whoever plays knows ids only, so each recording is decoded here, once, and kept under its id.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
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
use symphonia::core::{
    codecs::audio::AudioDecoderOptions,
    errors::Error,
    formats::{FormatOptions, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

use crate::{failure::Failure, output};

/// Where recordings that were decoded are kept: with the instance, or in this process alone.
pub(crate) struct Shelf {
    kept: Samples,
    /// Those of this process, where it does not play for an instance.
    own: Option<RefCell<BTreeMap<String, Arc<Sample>>>>,
}

impl Shelf {
    /// With the instance that keeps its recordings in that folder.
    pub(crate) const fn of_instance(folder: PathBuf) -> Self {
        Self {
            kept: Samples::within(folder),
            own: None,
        }
    }

    /// In this process; what the instance has can be used.
    pub(crate) const fn of_process(folder: PathBuf) -> Self {
        Self {
            kept: Samples::within(folder),
            own: Some(RefCell::new(BTreeMap::new())),
        }
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

/// A patch file, found good: its text, in which recordings have their ids.
pub(crate) fn read(path: &Path, config: Config, shelf: &Shelf) -> Result<(String, Patch), Failure> {
    let wrong = |what: String| Failure::no(format!("{}: {what}", path.display()));
    let text = take_in(&output::read_text(path)?, path, shelf).map_err(wrong)?;
    if text.len() > PATCH_BYTES_MAX {
        return Err(wrong(format!(
            "a patch has at most {PATCH_BYTES_MAX} bytes, this one {}",
            text.len()
        )));
    }
    let patch = Patch::from_json(&text).map_err(|e| wrong(e.to_string()))?;
    let patch = patch.fetched(&|id| shelf.find(id));
    Engine::new(&patch, config).map_err(|e| wrong(e.to_string()))?;
    Ok((text, patch))
}

/// Takes in the recordings that a patch names; what is no patch comes out as it is, to be refused with
/// its line and column.
fn take_in(text: &str, path: &Path, shelf: &Shelf) -> Result<String, String> {
    let Ok(mut patch) = serde_json::from_str::<Value>(text) else {
        return Ok(text.to_owned());
    };
    let mut known = BTreeMap::new();
    let mut bytes = 0;
    let modules = patch["modules"].as_array_mut().into_iter().flatten();
    for (index, module) in modules.enumerate() {
        let Some(Value::String(named)) = module.get_mut("sample") else {
            continue;
        };
        let at = |what: String| format!("modules[{index}].sample: {what}");
        if !known.contains_key(named) {
            let (id, len) = take_in_one(named, path, shelf).map_err(at)?;
            bytes += len;
            known.insert(named.clone(), id);
        }
        if bytes > SAMPLE_BYTES_MAX {
            return Err(at(format!(
                "a patch's recordings may take {} MiB together, as 32-bit samples; these take more",
                SAMPLE_BYTES_MAX >> 20
            )));
        }
        let id = &known[named];
        let name = named.strip_suffix(&format!("@{id}")).unwrap_or(named);
        *named = format!("{name}@{id}");
    }
    match known.is_empty() {
        true => Ok(text.to_owned()),
        false => Ok(format!("{patch:#}")),
    }
}

/// The id of a recording, and the bytes of its samples.
fn take_in_one(named: &str, patch: &Path, shelf: &Shelf) -> Result<(String, usize), String> {
    let id = sample::id_in(named);
    if let Some((id, found)) = id.and_then(|id| Some((id, shelf.find(id)?))) {
        return Ok((id.to_owned(), found.bytes()));
    }
    let name = id.map_or(named, |id| &named[..named.len() - id.len() - 1]);
    let path = patch.parent().unwrap_or(Path::new("")).join(name);
    let recording = decode(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    let bytes = recording.bytes();
    let found = shelf
        .keep(recording)
        .map_err(|e| format!("{} cannot be kept: {e}", path.display()))?;
    match id {
        Some(id) if id != found => Err(format!(
            "{} is not the recording that the patch was saved with; write \"{name}\" to take it as it is now",
            path.display()
        )),
        _ => Ok((found, bytes)),
    }
}

/// All of a WAV, AIFF or FLAC file.
fn decode(path: &Path) -> Result<Sample, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let no = |why: Error| format!("it cannot be read as WAV, AIFF or FLAC: {why}");
    let stream = MediaSourceStream::new(Box::new(file), Default::default());
    let (options, meta) = (FormatOptions::default(), MetadataOptions::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, options, meta)
        .map_err(no)?;
    let track = format.default_track(TrackType::Audio);
    let params = track.and_then(|track| Some((track.id, track.codec_params.as_ref()?.audio()?)));
    let (id, params) = params.ok_or("there is no sound in it")?;
    let rate_hz = params.sample_rate.ok_or("it does not say its rate")?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(params, &AudioDecoderOptions::default())
        .map_err(no)?;
    let (mut all, mut some) = (Vec::new(), Vec::new());
    let mut channels = 1;
    while let Some(packet) = format.next_packet().map_err(no)? {
        if packet.track_id != id {
            continue;
        }
        let decoded = decoder.decode(&packet).map_err(no)?;
        channels = decoded.spec().channels().count();
        some.resize(decoded.samples_interleaved(), 0.0_f32);
        decoded.copy_to_slice_interleaved(&mut some);
        all.extend_from_slice(&some);
        if all.len() * 4 > SAMPLE_BYTES_MAX {
            return Err(format!(
                "it takes more than {} MiB as 32-bit samples",
                SAMPLE_BYTES_MAX >> 20
            ));
        }
    }
    Sample::new(rate_hz, channels as u32, all).ok_or_else(|| "there is no sound in it".to_owned())
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
        assert_eq!((found.rate_hz(), found.frames()), (44_100, 2));
        assert_eq!([found.at(1, 0), found.at(1, 1)], [-0.5, 0.5]);
        // As it was saved, and without the file.
        std::fs::write(&path, &text).unwrap();
        std::fs::remove_file(folder.path().join("kick.wav")).unwrap();
        let (again, _) = read(&path, CONFIG, &shelf).unwrap();
        assert_eq!(
            Patch::from_json(&again).unwrap().modules[0].sample,
            Some(named)
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
            ("text.wav", "WAV, AIFF or FLAC"),
            ("empty.wav", "no sound"),
            (other.as_str(), "write \"kick.wav\""),
        ] {
            let path = patch_of(folder.path(), sample);
            let text = read(&path, CONFIG, &shelf).unwrap_err().text;
            assert!(text.contains(what), "{sample}: {text}");
        }
    }
}
