use super::*;
use crate::{host::tests::Fake, parse};

#[test]
fn a_key() {
    let tree = parse(
        "Corefile",
        "tls://Example.org:5353 {\n}\n",
        &[],
        &Fake::default(),
    )
    .unwrap();
    let keys = inspect(&tree, 53).unwrap();
    assert_eq!(keys[0][0].to_string(), "tls://example.org.:5353");
}
