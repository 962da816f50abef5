//! The same tables, put to CoreDNS.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::{accepted, broken, case::Case};

#[test]
fn coredns_refuses_the_broken_ones_with_the_same_line() {
    let Some(bin) = coredns() else { return };
    let mut wrong = Vec::new();
    for case in broken::CASES {
        let folder = case.write();
        let output = command(&bin, case, "1053")
            .current_dir(&folder.path)
            .output()
            .unwrap();
        let got = folder.hide(&String::from_utf8_lossy(&output.stderr));
        if got.strip_suffix('\n') != Some(case.want) {
            wrong.push(format!("{case:?}\n  is refused with {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn coredns_hashes_the_accepted_ones_the_same() {
    let Some(bin) = coredns() else { return };
    let mut wrong = Vec::new();
    for case in accepted::CASES {
        let folder = case.write();
        let child = command(&bin, case, "0")
            .current_dir(&folder.path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let got = hash(Running(child));
        if !got.starts_with(case.want) {
            wrong.push(format!("{case:?}\n  has the hash {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn coredns() -> Option<OsString> {
    let bin = std::env::var_os("COREDNS_BIN");
    if bin.is_none() {
        eprintln!("skipped: COREDNS_BIN does not name a CoreDNS 1.14.7 to compare with");
    }
    bin
}

fn command(bin: &OsString, case: &Case, port: &str) -> Command {
    let mut command = Command::new(bin);
    command
        .args(["-conf", "Corefile", "-dns.port", port])
        .env_clear()
        .envs(case.env.iter().copied());
    command
}

/// A process that ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The hash that a starting CoreDNS logs, or all that it said instead: its
/// banner comes last.
fn hash(mut server: Running) -> String {
    let mut said = String::new();
    for line in BufReader::new(server.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, hash)) = line.split_once("SHA512 = ") {
            return hash.to_owned();
        }
        said += &line;
        if line.starts_with("CoreDNS-") {
            break;
        }
    }
    said
}
