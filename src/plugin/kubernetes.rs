//! The cluster's Services, endpoints and pods as DNS.

pub mod client;
mod frames;
pub mod index;
mod manifests;
pub mod model;
mod objects;
mod reflect;
// Read from Corefiles by the directive's setup.
#[allow(dead_code)]
mod selector;
pub mod slim;
pub mod snapshot;
mod state_file;
pub mod store;
mod table;
mod watch;
mod writer;
