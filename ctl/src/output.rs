//! Standard output (lines and JSON) and WAV files. A closed standard output ends the program silently.

use std::{
    fmt::Display,
    fs::{File, FileType, Metadata, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Instant,
};

use hound::{SampleFormat, WavSpec, WavWriter};
use serde_json::Value;

use crate::failure::Failure;

/// Writes the text unchanged. Ends the program silently if standard output is closed.
pub(crate) fn raw(text: &str) {
    let mut out = io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// Writes a line.
pub(crate) fn line(text: &str) {
    raw(&format!("{text}\n"));
}

/// Writes a warning to standard error, so that standard output remains machine-readable.
pub(crate) fn warning(text: &str) {
    let _ = writeln!(io::stderr(), "warning: {text}");
}

/// The names as a text: `a, b or c`.
pub(crate) fn either(names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        names => names.concat(),
    }
}

/// The text as a cell of a Markdown table.
pub(crate) fn cell(text: impl Display) -> String {
    text.to_string().replace('|', "\\|").replace('\n', " ")
}

/// Writes a JSON value.
pub(crate) fn value(value: &Value) {
    raw(&format!("{value:#}\n"));
}

/// The rendering speed of `frames` frames since `begun`, as a multiple of real time.
pub(crate) fn pace(frames: u64, rate_hz: u32, begun: Instant) -> f64 {
    let seconds = frames as f64 / f64::from(rate_hz);
    let pace = seconds / begun.elapsed().as_secs_f64().max(1e-9);
    (10.0 * pace).round() / 10.0
}

/// Refuses an output file that is also an input, by any path or link.
pub(crate) fn keep_apart<'a>(
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Failure> {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let Some(written) = identity(output) else {
        return Ok(());
    };
    let mut inputs = inputs.into_iter();
    match inputs.find(|input| identity(input) == Some(written)) {
        None => Ok(()),
        Some(input) => Err(Failure::usage(format!(
            "{} would overwrite the input {} (expected another output file)",
            output.display(),
            input.display()
        ))),
    }
}

/// A WAV file of 32-bit floats that is being written.
pub(crate) struct Wav {
    writer: WavWriter<BufWriter<File>>,
    path: PathBuf,
    failed: Option<hound::Error>,
}

impl Wav {
    /// Begins a file.
    pub(crate) fn create(path: &Path, rate_hz: u32, channels: u32) -> Result<Self, Failure> {
        no_pipe(path)?;
        let spec = WavSpec {
            channels: channels as u16,
            sample_rate: rate_hz,
            bits_per_sample: 32,
            sample_format: SampleFormat::Float,
        };
        let writer = WavWriter::create(path, spec).map_err(|e| cannot_write(path, &e))?;
        Ok(Self {
            writer,
            path: path.into(),
            failed: None,
        })
    }

    /// Adds interleaved samples; [`Wav::finish`] reports the first error.
    pub(crate) fn add(&mut self, samples: &[f32]) {
        for sample in samples {
            if self.failed.is_none() {
                self.failed = self.writer.write_sample(*sample).err();
            }
        }
    }

    /// Completes the file.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let done = match self.failed {
            Some(error) => Err(error),
            None => self.writer.finalize(),
        };
        done.map_err(|e| cannot_write(&self.path, &e))
    }
}

fn cannot_write(path: &Path, error: &hound::Error) -> Failure {
    Failure::no(format!("cannot write {}: {error}", path.display()))
}

/// The size limit of a text file, in bytes: a score of several million lines.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// Reads a text file, without the byte order mark that some editors put before the text.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let no = |why: String| Failure::no(format!("cannot read {}: {why}", path.display()));
    let bytes = read_bytes(path, TEXT_BYTES_MAX).map_err(no)?;
    let text =
        String::from_utf8(bytes).map_err(|_| no("it is not text (expected UTF-8)".into()))?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Refuses to write a WAV file to a pipe or a socket: the header is written last, and opening a pipe without a
/// reader would block.
pub(crate) fn no_pipe(path: &Path) -> Result<(), Failure> {
    let kind = std::fs::metadata(path).map(|meta| meta.file_type());
    match kind {
        Ok(kind) if kind.is_fifo() || kind.is_socket() => Err(Failure::no(format!(
            "cannot write {}: the path is a {} (expected a file or a new name)",
            path.display(),
            kind_of(kind)
        ))),
        _ => Ok(()),
    }
}

fn kind_of(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "folder",
        () if kind.is_fifo() => "pipe",
        () if kind.is_socket() => "socket",
        () => "device",
    }
}

/// Reads a whole file of at most `bytes_max` bytes. Refuses pipes, devices and folders at once, since reading one
/// may never end.
pub(crate) fn read_bytes(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let checked = |meta: Metadata| match meta.is_file() {
        true => Ok(()),
        false => Err(format!(
            "the path is a {} (expected a file)",
            kind_of(meta.file_type())
        )),
    };
    let no = |e: io::Error| e.to_string();
    checked(std::fs::metadata(path).map_err(no)?)?;
    // Opening does not block even if a pipe has replaced the file since the check.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(no)?;
    checked(file.metadata().map_err(no)?)?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(no)?;
    match bytes.len() <= bytes_max {
        true => Ok(bytes),
        false => Err(format!(
            "the file is too large (expected at most {} MiB)",
            bytes_max >> 20
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_read_is_not_written_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let [read, hard, soft, copy, new] =
            ["read", "hard", "soft", "copy", "new"].map(|name| folder.path().join(name));
        std::fs::write(&read, "text").unwrap();
        std::fs::hard_link(&read, &hard).unwrap();
        std::os::unix::fs::symlink(&read, &soft).unwrap();
        std::fs::copy(&read, &copy).unwrap();
        let roundabout = folder
            .path()
            .join("../")
            .join(folder.path().file_name().unwrap());
        for output in [&read, &hard, &soft, &roundabout.join("read")] {
            let failure = keep_apart(output, [copy.as_path(), &read]).unwrap_err();
            assert!(failure.code == 2 && failure.text.contains("another output file"));
        }
        keep_apart(&copy, [read.as_path()]).unwrap();
        keep_apart(&new, [read.as_path()]).unwrap();
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let socket = folder.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (pipe.as_path(), "a pipe"),
            (folder.path(), "a folder"),
            (socket.as_path(), "a socket"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/nowhere/at/all"), "No such file"),
        ] {
            let text = read_text(path).unwrap_err().text;
            assert!(text.contains(what), "{text}");
        }
        let file = folder.path().join("file");
        std::fs::write(&file, [b'x'; 1_000]).unwrap();
        assert_eq!(read_bytes(&file, 1_000).unwrap().len(), 1_000);
        assert!(read_bytes(&file, 999).is_err());
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(read_text(&file).unwrap_err().text.contains("UTF-8"));
    }
}
