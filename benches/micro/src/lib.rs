//! The functions on the way of a query, each as something that can be called
//! again and again: by criterion, which takes the time (`benches/micro.rs`),
//! and under callgrind, which counts instructions and allocations
//! (`src/main.rs`).
//!
//! Inputs are real: messages as clients send them, the kubeadm Corefile, a
//! cluster of 1,000 Services and 100 headless ones with ten endpoints each.
//! A case makes sure that it gets the answer it is about, once, when it is
//! made.
#![forbid(unsafe_code)]

mod cases;
mod cluster;
mod server;

pub use cases::all;

/// Something to be measured.
pub struct Case {
    /// What it is, as the table and the baseline name it.
    pub name: &'static str,
    /// Does it once; takes its inputs in turn.
    pub call: Box<dyn FnMut()>,
}

impl Case {
    fn new(name: &'static str, call: impl FnMut() + 'static) -> Self {
        let call = Box::new(call);
        Self { name, call }
    }
}
