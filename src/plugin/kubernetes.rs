//! The cluster's Services, endpoints and pods as DNS.

pub mod index;
pub mod model;
mod objects;
pub mod slim;
pub mod snapshot;
mod table;
