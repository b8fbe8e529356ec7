//! The page docs/reference/modules.md: the module types as Markdown, from the engine's descriptions.
//!
//! The page is generated as a whole, so no type and no parameter can be missing; a test compares the file with it.

use engine::catalog::{ModuleType, Param};

use super::{MODULATION, abilities, scale};
use crate::output::cell;

const HEAD: &str = "\
# Module reference

`understudy modules --markdown` prints this page, `understudy modules TYPE` one type; `--json` prints either for programs.
[The patch format](../patch-format.md) explains how a patch names types, ports and parameters.

The line below the name of a type shows its inputs, its parameters in brackets, and its outputs. A cable that names no port leads to
the first input or from the first output. In a patch a choice is its number; an OSC message may send its name instead.
";

/// The page.
pub(super) fn page(types: &[ModuleType]) -> String {
    let mut text = format!("{HEAD}\n{MODULATION}\n\n| type | what it is |\n|---|---|\n");
    for kind in types {
        let (name, help) = (kind.name, cell(kind.help));
        text.push_str(&format!("| [`{name}`](#{name}) | {help} |\n"));
    }
    for kind in types {
        text.push('\n');
        text.push_str(&section(kind));
    }
    text
}

/// The part of the page about one type.
pub(super) fn section(kind: &ModuleType) -> String {
    let mut text = format!("## {}\n\n{}\n", kind.name, sentence(kind.help));
    for ability in abilities(kind) {
        text.push_str(&format!("{}\n", sentence(ability)));
    }
    text.push_str(&format!("\n```text\n{}\n```\n", picture(kind)));
    let rows = kind.own_params().chunk_by(alike).map(row);
    let rows: Vec<String> = rows.collect();
    if !rows.is_empty() {
        text.push_str("\n| parameter | range | default | scale or choices | effect |\n");
        text.push_str("|---|---|---|---|---|\n");
        text.push_str(&rows.concat());
    }
    text
}

/// The signal's path in one line: inputs, the type with its parameters, outputs.
fn picture(kind: &ModuleType) -> String {
    let params: Vec<&str> = kind.own_params().iter().map(|param| param.name).collect();
    let module = match params.is_empty() {
        true => kind.name.to_owned(),
        false => format!("{} ({})", kind.name, listed(&params)),
    };
    let mut path = vec![listed(kind.own_inputs()), module, listed(kind.outputs)];
    path.retain(|part| !part.is_empty());
    path.join(" → ")
}

/// The names. Of more than four that differ in their number only, the first and the last.
fn listed(names: &[&str]) -> String {
    let runs = names.chunk_by(|a, b| stem(a) == stem(b));
    let texts: Vec<String> = runs
        .map(|run| match run {
            [first, .., last] if run.len() > 4 => format!("{first} … {last}"),
            run => run.join(", "),
        })
        .collect();
    texts.join(", ")
}

/// A name without its number.
fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Whether two parameters differ in their number only.
fn alike(a: &Param, b: &Param) -> bool {
    stem(a.name) == stem(b.name) && *b == Param { name: b.name, ..*a }
}

/// The row of parameters that are alike.
fn row(params: &[Param]) -> String {
    let [param, others @ ..] = params else {
        return String::new();
    };
    let name = match others.last() {
        None => format!("`{}`", param.name),
        Some(last) => format!("`{}` … `{}`", param.name, last.name),
    };
    let range = format!("{} to {} {}", param.min, param.max, param.unit);
    format!(
        "| {name} | {} | {} | {} | {} |\n",
        range.trim_end(),
        param.default,
        cell(scale(param)),
        cell(param.help)
    )
}

/// A description as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let sentence: String = first.into_iter().chain(letters).collect();
    format!("{sentence}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_what_the_program_prints() {
        let same =
            include_str!("../../../../docs/reference/modules.md") == page(engine::catalog::all());
        assert!(
            same,
            "docs/reference/modules.md differs from the engine's descriptions \
             (expected the output of `cargo run -p understudy-ctl -- modules --markdown`)"
        );
    }

    #[test]
    fn a_picture_shortens_what_is_numbered() {
        let of = |name| picture(engine::catalog::find(name).unwrap());
        assert_eq!(of("svf"), "in → svf (cutoff, q) → low, band, high, notch");
        assert_eq!(of("merge"), "in1 … in16 → merge → out");
        let out = "in, left, right, ch3 … ch32 → out (gain, safety)";
        assert_eq!(of("out"), out);
        assert_eq!(of("noise"), "noise (gain, seed, color) → out");
    }
}
