//! Compares the instructions and allocations of each case with those that
//! are checked in, `baseline.json`.
//!
//! ```text
//! cargo run --release -p pando-micro [-- --update]
//! ```
//!
//! Fails where a call takes 5 % more instructions or allocates more often;
//! `--update` writes the baseline anew. The profile is always `release`, what
//! the image ships: without its link-time optimization the same calls take
//! 1.1 to 3.8 times as many instructions, and others. Counts include the C
//! library's, not the kernel's.
#![forbid(unsafe_code)]

mod baseline;
mod callgrind;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};

use baseline::{Baseline, Cost, Verdict};

/// The profile that the baseline was made with.
const PROFILE: &str = "release";

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words == [callgrind::COUNT] {
        callgrind::run_cases()?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json");
    check_profile()?;
    match words[..] {
        [] => compare(&path),
        ["--update"] => update(&path),
        _ => bail!("it takes --update or nothing"),
    }
}

fn check_profile() -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let profile = program.parent().and_then(Path::file_name);
    ensure!(
        profile.is_some_and(|profile| profile == PROFILE),
        "the baseline is of another profile: cargo run --{PROFILE} -p pando-micro"
    );
    Ok(())
}

fn rustc() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("--version").output();
    let output = output.context("cannot run rustc")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn update(path: &Path) -> anyhow::Result<ExitCode> {
    let measured = callgrind::measure()?;
    print(&measured, Baseline::read(path).ok().as_ref());
    let baseline = Baseline {
        rustc: rustc()?,
        arch: std::env::consts::ARCH.to_owned(),
        cases: measured.into_iter().collect(),
    };
    baseline.write(path)?;
    println!("\n{} is of now", path.display());
    Ok(ExitCode::SUCCESS)
}

fn compare(path: &Path) -> anyhow::Result<ExitCode> {
    let baseline = Baseline::read(path)?;
    let measured = callgrind::measure()?;
    if baseline.arch != std::env::consts::ARCH {
        print(&measured, None);
        println!("\nnot compared: the baseline is of {}", baseline.arch);
        return Ok(ExitCode::SUCCESS);
    }
    print(&measured, Some(&baseline));
    let gone = baseline.gone(&measured);
    for name in &gone {
        println!("{name}: in the baseline alone");
    }
    let fails = |(name, cost): &(String, Cost)| {
        Verdict::of(*cost, baseline.cases.get(name).copied()).fails()
    };
    if gone.is_empty() && !measured.iter().any(fails) {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "\nIf it is meant: cargo run --release -p pando-micro -- --update, and say why in the commit."
    );
    let rustc = rustc()?;
    if baseline.rustc != rustc {
        println!("The baseline is by {}, this is {rustc}.", baseline.rustc);
    }
    Ok(ExitCode::FAILURE)
}

/// One table of a line per case; without a baseline it compares nothing.
fn print(measured: &[(String, Cost)], baseline: Option<&Baseline>) {
    println!(
        "{:40} {:>12} {:>9} {:>7} {:>11}",
        "case", "instructions", "baseline", "change", "allocations"
    );
    for (name, cost) in measured {
        let Cost {
            instructions,
            allocations,
        } = cost;
        print!("{name:40} {instructions:>12.0} ");
        let agreed = baseline.and_then(|baseline| baseline.cases.get(name).copied());
        match agreed {
            Some(agreed) => {
                let change = (instructions / agreed.instructions - 1.0) * 100.0;
                print!("{:>9.0} {change:>+6.1}%", agreed.instructions);
            }
            None => print!("{:>9} {:>7}", "", ""),
        }
        print!(" {allocations:>11.2}");
        match baseline {
            Some(_) => println!("  {}", Verdict::of(*cost, agreed)),
            None => println!(),
        }
    }
}
