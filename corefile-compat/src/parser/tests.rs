use super::*;
use crate::host::tests::Fake;

#[test]
fn a_block() {
    let host = Fake::default().dir("/work/d");
    let tree = parse("Corefile", "a.org, b.org {\n log\n}\n", &["log"], &host).unwrap();
    let keys: Vec<_> = tree.blocks[0].keys.iter().map(|k| &*k.text).collect();
    assert_eq!(keys, ["a.org", "b.org"]);
}
