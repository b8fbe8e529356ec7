//! Numbers the build: by all that processes have to agree on, so that nobody has to remember to.
//!
//! `BUILD` is a hash of the sources of the layouts, the rules and the engine. Shared memory that a program of
//! another number has made is refused.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

/// What replicas must have in common, beside this crate.
const SOURCES: [&str; 3] = ["src", "../failover/src", "../engine/src"];

fn main() {
    let mut files = Vec::new();
    for folder in SOURCES {
        println!("cargo::rerun-if-changed={folder}");
        collect(Path::new(folder), &mut files);
    }
    files.sort();
    // What another toolchain has built may have another number: it is another build.
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(&file).unwrap_or_default().hash(&mut hasher);
    }
    println!("cargo::rustc-env=UNDERSTUDY_BUILD={}", hasher.finish());
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
