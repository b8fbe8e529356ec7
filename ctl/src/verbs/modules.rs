//! `understudy modules [TYPE]`: the module types with every parameter; needs no stack.
//!
//! The text names the input and the amount that every parameter has once, at its end. The JSON lists them for each
//! parameter. The Markdown is the page docs/reference/modules.md.

mod markdown;

use engine::catalog::{self, ModuleType, Param, Scale};
use serde_json::json;

use crate::{Context, failure::Failure, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show only this module type
    #[arg(value_name = "TYPE")]
    kind: Option<String>,
    /// Print the module reference as Markdown
    #[arg(long)]
    markdown: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if context.json && args.markdown {
        return Err(Failure::not_with_json("--markdown"));
    }
    let Some(name) = &args.kind else {
        let all = catalog::all();
        if context.json {
            output::value(&json!(all));
        } else if args.markdown {
            output::raw(&markdown::page(all));
        } else {
            let texts: Vec<String> = all.iter().map(describe).collect();
            output::raw(&texts.join("\n"));
            output::raw(&format!("\n{MODULATION}\n"));
        }
        return Ok(());
    };
    let kind = catalog::find(name).ok_or_else(|| {
        let names: Vec<_> = catalog::all().iter().map(|kind| kind.name).collect();
        Failure::usage(format!(
            "the module type \"{name}\" is unknown (expected one of {})",
            names.join(", ")
        ))
    })?;
    if context.json {
        output::value(&json!(kind));
    } else if args.markdown {
        output::raw(&markdown::section(kind));
    } else {
        output::raw(&describe(kind));
        output::raw(&format!("{MODULATION}\n"));
    }
    Ok(())
}

const MODULATION: &str = "\
Each parameter NAME has an input NAME, which modulates it, and a parameter NAME_amount: how far a signal of 1 moves it, in
octaves where the scale is log, else in its unit.";

fn describe(kind: &ModuleType) -> String {
    let ports = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let mut text = format!(
        "{}: {}\n  inputs {}; outputs {}",
        kind.name,
        kind.help,
        ports(kind.own_inputs()),
        ports(kind.outputs),
    );
    for ability in abilities(kind) {
        text.push_str("; ");
        text.push_str(ability);
    }
    text.push('\n');
    let lines: Vec<Vec<String>> = kind
        .own_params()
        .iter()
        .map(|param| {
            vec![
                format!("  {}", param.name),
                param.unit.to_owned(),
                format!("{} to {}", param.min, param.max),
                format!("default {}", param.default),
                scale(param),
                param.help.to_owned(),
            ]
        })
        .collect();
    text.push_str(&aligned(&lines));
    text
}

/// What modules of the type take besides cables.
fn abilities(kind: &ModuleType) -> impl Iterator<Item = &'static str> {
    let all = [
        (kind.takes_gate, "takes a gate"),
        (kind.takes_notes, "assigns notes to voices"),
        (kind.takes_sample, "takes a sample"),
    ];
    all.into_iter()
        .filter_map(|(has, what)| has.then_some(what))
}

/// The scale of a parameter, or its choices with their numbers.
fn scale(param: &Param) -> String {
    match param.scale {
        Scale::Linear => "linear".to_owned(),
        Scale::Log => "log".to_owned(),
        Scale::Stepped if param.choices.is_empty() => "stepped".to_owned(),
        Scale::Stepped => {
            let named = param.choices.iter().enumerate();
            let named: Vec<_> = named.map(|(n, name)| format!("{n} {name}")).collect();
            named.join(", ")
        }
    }
}

/// Lines of cells, each column as wide as its widest cell.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cell =
        |line: &Vec<String>, column| line.get(column).map_or(0, |c: &String| c.chars().count());
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|l| cell(l, column)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}
