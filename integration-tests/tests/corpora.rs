//! Every file of the fuzzers' corpora runs as an ordinary test.

use std::{fs, path::Path};

use anyhow::Result;
use integration_tests::fuzz;

type Target = fn(&[u8]);

#[test]
fn every_file_of_the_corpora_does_no_harm() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let targets: [(&str, Target); 5] = [
        ("osc", fuzz::osc),
        ("command_log", fuzz::command_log),
        ("patch", fuzz::patch),
        ("segments", fuzz::segments),
        ("readers", fuzz::readers),
    ];
    for (name, target) in targets {
        let mut count = 0;
        for entry in fs::read_dir(folder.join(name))? {
            target(&fs::read(entry?.path())?);
            count += 1;
        }
        println!("FIGURE corpus of {name}: {count} files");
        assert!(count >= 10, "{name} has a corpus");
    }
    Ok(())
}
