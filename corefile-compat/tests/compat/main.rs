//! What is accepted and what is refused, by us and, where `COREDNS_BIN` names
//! one, by CoreDNS.

mod accepted;
mod broken;
mod case;
mod coredns;

use sha2::{Digest, Sha512};

#[test]
fn broken_corefiles_are_refused_with_the_first_line() {
    let mut wrong = Vec::new();
    for case in broken::CASES {
        let folder = case.write();
        match case.load(&folder) {
            Ok(_) => wrong.push(format!("{case:?}\n  is accepted")),
            Err(error) => {
                let got = folder.hide(error.first_line());
                if got != case.want {
                    wrong.push(format!("{case:?}\n  is refused with {got:?}"));
                }
                // Whatever the Corefile, the place can be shown.
                assert!(error.render().starts_with(error.first_line()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn accepted_corefiles_have_the_tree_of_coredns() {
    let mut wrong = Vec::new();
    for case in accepted::CASES {
        match case.load(&case.write()) {
            Ok(tree) => {
                let json = tree.canonical_json();
                let hash = format!("{:x}", Sha512::digest(&json));
                if !hash.starts_with(case.want) {
                    wrong.push(format!("{case:?}\n  is read as {json}"));
                }
            }
            Err(error) => wrong.push(format!("{case:?}\n  is refused: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
