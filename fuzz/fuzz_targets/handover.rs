//! What processes of a node say to each other: refused, or understood and said
//! again as it was. The hand-over's socket may have a stranger at its other end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pando_node::control::{Order, Report};
use pando_node::handover::Word;

fuzz_target!(|data: &[u8]| {
    if let Ok(word) = Word::decode(data) {
        assert_eq!(word.encode(), data);
    }
    if let Ok(report) = Report::decode(data) {
        assert_eq!(report.encode(), data);
    }
    if let Ok(order) = Order::decode(data) {
        assert_eq!(order.encode(), data);
    }
});
