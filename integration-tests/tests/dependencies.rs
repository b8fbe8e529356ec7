//! Licences, banned crates and sources of the dependencies, as `deny.toml` allows them.
//!
//! cargo-deny reads the same file, but takes minutes to build; this test needs cargo alone and no network. Sources
//! and bans are read from the lock files, so they hold for every platform and every feature. A licence stands in
//! the crate's own manifest, so licences are checked for the crates that are on this machine: those of its platform,
//! with as many features as have been downloaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    iter::Peekable,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use toml::Table;

/// Sets of features to check the licences with; those are used whose crates have been downloaded. `test.sh` builds
/// the second set.
const FEATURES: [&[&str]; 3] = [
    &["--all-features"],
    &[
        "--features",
        "understudy-audio-out/jack,understudy-audio-out/pipewire",
    ],
    &[],
];
const LOCKS: [&str; 2] = ["Cargo.lock", "fuzz/Cargo.lock"];

/// The content of `deny.toml`.
struct Lists {
    target: String,
    allowed: Vec<String>,
    exceptions: BTreeMap<String, Vec<String>>,
    /// Each banned crate, and the crates that may depend on it all the same.
    bans: BTreeMap<String, Vec<String>>,
    registries: Vec<String>,
}

impl Lists {
    fn read(text: &str) -> Result<Self> {
        let table: Table = text.parse()?;
        let part = |section: &str, key: &str| {
            let value = table.get(section).and_then(|section| section.get(key));
            value.with_context(|| format!("deny.toml has no {key} in [{section}]"))
        };
        let by_crate = |section, key, list| -> Result<BTreeMap<String, Vec<String>>> {
            let entries = part(section, key)?.as_array().context("no list")?.iter();
            let entry = |entry: &toml::Value| {
                let name = entry.get("crate").and_then(toml::Value::as_str)?;
                Some((
                    name.to_owned(),
                    entry.get(list).map(texts).unwrap_or_default(),
                ))
            };
            let entries: Option<_> = entries.map(entry).collect();
            entries.with_context(|| format!("an entry of {key} in [{section}] names no crate"))
        };
        let targets = texts(part("graph", "targets")?);
        let ours = |target: &String| target.split('-').next() == Some(env::consts::ARCH);
        Ok(Self {
            target: targets
                .into_iter()
                .find(ours)
                .context("no target of this machine")?,
            allowed: texts(part("licenses", "allow")?),
            exceptions: by_crate("licenses", "exceptions", "allow")?,
            bans: by_crate("bans", "deny", "wrappers")?,
            registries: texts(part("sources", "allow-registry")?),
        })
    }

    fn permits(&self, package: &Package) -> Result<bool> {
        let more = self.exceptions.get(&package.name).into_iter().flatten();
        let lists: Vec<&String> = self.allowed.iter().chain(more).collect();
        satisfied(&package.license, &|name| {
            lists.iter().any(|allowed| **allowed == name)
        })
    }
}

fn texts(list: &toml::Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|text| Some(text.as_str()?.to_owned()))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn lists() -> Result<Lists> {
    Lists::read(&fs::read_to_string(root().join("deny.toml"))?)
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

// ---- licences ----

/// Whether the allowed licences satisfy a licence expression (SPDX, or the older `A/B` for `A OR B`).
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let spaced = spaced.replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words, allowed)?;
    match words.next() {
        None => Ok(met),
        Some(word) => bail!("the licence \"{expression}\" cannot be read at \"{word}\""),
    }
}

type Words<'a, 'b> = &'a mut Peekable<std::str::SplitWhitespace<'b>>;

fn any_of(words: Words<'_, '_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool> {
    let mut met = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed)?;
    }
    Ok(met)
}

fn all_of(words: Words<'_, '_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool> {
    let mut met = licence(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= licence(words, allowed)?;
    }
    Ok(met)
}

fn licence(words: Words<'_, '_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool> {
    let name = words.next().context("a licence is missing")?;
    if name == "(" {
        let met = any_of(words, allowed)?;
        words.next_if_eq(&")").context("a bracket is not closed")?;
        return Ok(met);
    }
    if words.next_if_eq(&"WITH").is_some() {
        let exception = words.next().context("the exception is missing")?;
        return Ok(allowed(&format!("{name} WITH {exception}")));
    }
    Ok(allowed(name))
}

struct Package {
    name: String,
    version: String,
    license: String,
}

/// The crates that are built with those features; `None` if some of them have not been downloaded.
fn packages(target: &str, features: &[&str]) -> Result<Option<Vec<Package>>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", target])
        .args(features)
        .output()?;
    if !output.status.success() {
        println!("{}", String::from_utf8_lossy(&output.stderr));
        return Ok(None);
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("no graph")?;
    let built: BTreeSet<&str> = nodes
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let all = metadata["packages"].as_array().context("no packages")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let built = all
        .iter()
        .filter(|package| built.contains(&*text(&package["id"])));
    let built = built.map(|package| Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        license: text(&package["license"]),
    });
    Ok(Some(built.collect()))
}

fn wrong_licences(lists: &Lists, packages: &[Package]) -> Vec<String> {
    let wrong = |package: &Package| {
        let Package {
            name,
            version,
            license,
        } = package;
        match lists.permits(package) {
            Ok(true) => None,
            Ok(false) => Some(format!(
                "the licence of {name} {version} is {license} (expected one that deny.toml allows)"
            )),
            Err(why) => Some(format!("the licence of {name} {version} is unknown: {why}")),
        }
    };
    packages.iter().filter_map(wrong).collect()
}

/// Licences that are allowed and that no crate names.
fn unused_licences(lists: &Lists, packages: &[Package]) -> Vec<String> {
    let named = |licence: &str| {
        packages.iter().any(|package| {
            let found = std::cell::Cell::new(false);
            let _ = satisfied(&package.license, &|name| {
                found.set(found.get() || name == licence);
                false
            });
            found.get()
        })
    };
    let unused = lists.allowed.iter().filter(|licence| !named(licence));
    unused
        .map(|licence| format!("deny.toml allows {licence}, which no dependency has"))
        .collect()
}

#[test]
fn every_licence_is_allowed_and_every_allowed_licence_is_there() -> Result<()> {
    let lists = lists()?;
    for (number, features) in FEATURES.into_iter().enumerate() {
        let Some(packages) = packages(&lists.target, features)? else {
            continue;
        };
        println!("{} crates, with {features:?}", packages.len());
        assert!(packages.len() > 100, "these are not all");
        assert_none(&wrong_licences(&lists, &packages));
        if number + 1 < FEATURES.len() {
            assert_none(&unused_licences(&lists, &packages));
        }
        return Ok(());
    }
    bail!(
        "cargo metadata has failed with any features (expected the crates of this build to be there)"
    )
}

#[test]
fn no_program_is_under_the_gpl_unless_it_is_asked_for() -> Result<()> {
    let packages = packages(&lists()?.target, &[])?.context("cargo metadata has failed")?;
    assert_none(&under_the_gpl(&packages));
    Ok(())
}

fn under_the_gpl(packages: &[Package]) -> Vec<String> {
    let free = |package: &&Package| {
        satisfied(&package.license, &|name| !name.contains("GPL")).unwrap_or_default()
    };
    let bound = packages.iter().filter(|package| !free(package));
    bound
        .map(|package| {
            format!(
                "{} is in every build (expected: behind a feature)",
                package.name
            )
        })
        .collect()
}

// ---- sources and bans ----

struct Locked {
    name: String,
    source: Option<String>,
    dependencies: Vec<String>,
}

fn locked(lock: &str) -> Result<Vec<Locked>> {
    let table: Table = lock.parse()?;
    let packages = table.get("package").and_then(toml::Value::as_array);
    let packages = packages.context("a lock file without packages")?.iter();
    let text = |value: Option<&toml::Value>| Some(value?.as_str()?.to_owned());
    let package = |package: &toml::Value| {
        let dependencies = package.get("dependencies").map(texts).unwrap_or_default();
        // If there are several versions of a crate, the version follows the name.
        let name = |text: &String| Some(text.split(' ').next()?.to_owned());
        Some(Locked {
            name: text(package.get("name"))?,
            source: text(package.get("source")),
            dependencies: dependencies.iter().filter_map(name).collect(),
        })
    };
    packages
        .map(package)
        .collect::<Option<_>>()
        .context("a package without a name")
}

fn wrong_sources(lists: &Lists, packages: &[Locked]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Locked { name, source, .. } in packages {
        match source {
            None if name.starts_with("understudy-") => {}
            None => complaints.push(format!("{name} comes from a folder (expected a registry)")),
            Some(source) => {
                let registry = source.strip_prefix("registry+");
                if !registry.is_some_and(|at| lists.registries.iter().any(|known| known == at)) {
                    let right = "one of allow-registry in deny.toml";
                    complaints.push(format!("{name} comes from {source} (expected {right})"));
                }
            }
        }
    }
    complaints
}

fn banned(lists: &Lists, packages: &[Locked]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, wrappers) in &lists.bans {
        if wrappers.is_empty() && packages.iter().any(|package| package.name == *name) {
            complaints.push(format!(
                "{name} is in the lock file (expected: banned by deny.toml)"
            ));
            continue;
        }
        let users = packages
            .iter()
            .filter(|package| package.dependencies.contains(name));
        for user in users.filter(|user| !wrappers.contains(&user.name)) {
            let user = &user.name;
            complaints.push(format!(
                "{user} depends on {name} (expected only {wrappers:?})"
            ));
        }
    }
    complaints
}

#[test]
fn every_crate_comes_from_an_allowed_source_and_none_is_banned() -> Result<()> {
    let lists = lists()?;
    for lock in LOCKS {
        let packages = locked(&fs::read_to_string(root().join(lock))?)?;
        assert_none(&wrong_sources(&lists, &packages));
        assert_none(&banned(&lists, &packages));
    }
    Ok(())
}

#[test]
fn every_exception_is_for_a_crate_that_is_there() -> Result<()> {
    let lists = lists()?;
    let packages = locked(&fs::read_to_string(root().join(LOCKS[0]))?)?;
    let names: BTreeSet<&String> = packages.iter().map(|package| &package.name).collect();
    let named = lists.exceptions.keys().chain(lists.bans.values().flatten());
    let gone = named.filter(|name| !names.contains(name));
    let complaints =
        gone.map(|name| format!("deny.toml names {name}, which is not in the lock file"));
    assert_none(&complaints.collect::<Vec<_>>());
    Ok(())
}

// ---- that they can fail ----

const LISTS: &str = r#"
graph.targets = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]
licenses.allow = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"]
licenses.exceptions = [{ crate = "link", allow = ["GPL-2.0-or-later"] }]
bans.deny = [{ crate = "link", wrappers = ["understudy-a"] }, { crate = "bad" }]
sources.allow-registry = ["https://good/index"]
"#;

#[test]
fn a_licence_expression_means_what_it_says() -> Result<()> {
    let allowed = |name: &str| ["MIT", "Zlib", "A WITH B"].contains(&name);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("Zlib AND MIT", true),
        ("(GPL-3.0 OR MIT) AND Zlib", true),
        ("(GPL-3.0 OR MIT) AND ISC", false),
        ("GPL-3.0 OR MIT AND ISC", false),
        ("MIT OR GPL-3.0 AND ISC", true),
        ("A WITH B", true),
        ("A", false),
        ("A WITH C OR ISC", false),
    ] {
        assert_eq!(satisfied(expression, &allowed)?, met, "{expression}");
    }
    for expression in ["", "MIT MIT", "MIT OR", "(MIT", "MIT)", "A WITH"] {
        assert!(satisfied(expression, &allowed).is_err(), "{expression}");
    }
    Ok(())
}

#[test]
fn a_wrong_licence_is_found() -> Result<()> {
    let lists = Lists::read(LISTS)?;
    let package = |name: &str, license: &str| Package {
        name: name.into(),
        version: "1.0.0".into(),
        license: license.into(),
    };
    let right = [
        package("a", "MIT OR ISC"),
        package("b", "Apache-2.0 WITH LLVM-exception"),
        package("link", "GPL-2.0-or-later"),
    ];
    assert_none(&wrong_licences(&lists, &right));
    assert_eq!(under_the_gpl(&right).len(), 1);
    let unused = unused_licences(&lists, &right);
    assert_eq!(unused, ["deny.toml allows Zlib, which no dependency has"]);
    let wrong = [
        package("other", "GPL-2.0-or-later"),
        package("b", "Apache-2.0"),
        package("silent", ""),
    ];
    let complaints = wrong_licences(&lists, &wrong);
    assert_eq!(complaints.len(), 3, "{complaints:?}");
    assert!(complaints[0].starts_with("the licence of other 1.0.0 is GPL-2.0-or-later (expected"));
    Ok(())
}

#[test]
fn a_wrong_source_and_a_banned_crate_are_found() -> Result<()> {
    let lists = Lists::read(LISTS)?;
    let lock = r#"
[[package]]
name = "understudy-a"
dependencies = ["link 2.0.0"]
[[package]]
name = "understudy-b"
dependencies = ["link"]
[[package]]
name = "link"
source = "registry+https://good/index"
[[package]]
name = "bad"
source = "git+https://good/index"
[[package]]
name = "copy"
"#;
    let packages = locked(lock)?;
    let starts = |complaints: Vec<String>, starts: &[&str]| {
        assert_eq!(complaints.len(), starts.len(), "{complaints:?}");
        for (complaint, start) in complaints.iter().zip(starts) {
            assert!(complaint.starts_with(start), "{complaint}");
        }
    };
    starts(
        wrong_sources(&lists, &packages),
        &[
            "bad comes from git+https://good/index",
            "copy comes from a folder",
        ],
    );
    starts(
        banned(&lists, &packages),
        &["bad is in the lock file", "understudy-b depends on link"],
    );
    Ok(())
}
