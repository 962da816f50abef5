//! A worker whose parent is gone.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use pando::app::Request;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::parent::Parent;
use crate::handover::{self, Estate, Listener, Word, give, hear};

/// Ends the worker, at once or when another instance has taken over.
pub(super) fn run(
    parent: &Arc<Parent>,
    listener: Option<OwnedFd>,
    requests: mpsc::Sender<Request>,
    control: &Handle,
) {
    let Some(listener) = listener else {
        error!("The parent is gone; ending");
        // Fails where the end is near already.
        return drop(requests.blocking_send(Request::Stop));
    };
    warn!("The parent is gone; serving on until another instance takes over");
    control.block_on(async {
        if let Err(error) = wait(parent, listener).await {
            error!("Cannot wait for another instance: {error}; ending");
        }
        drop(requests.send(Request::Stop).await);
    });
}

/// Waits until a successor serves.
async fn wait(parent: &Parent, listener: OwnedFd) -> io::Result<()> {
    let copy = listener.try_clone()?;
    let listener = Listener::new(listener)?;
    loop {
        let channel = match listener.accept().await {
            Ok(channel) => channel,
            Err(error) => {
                handover::accept_failed(&error).await;
                continue;
            }
        };
        let estate = Estate {
            sockets: parent.kept().copies()?,
            warm: None,
            listener: Some(copy.try_clone()?),
        };
        if let Err(error) = give(&channel, &estate).await {
            warn!("Cannot hand over: {error}");
            continue;
        }
        loop {
            match hear(&channel).await {
                Ok(Some((Word::Settled { last: true, .. }, _))) => {
                    info!("Another instance has taken over; ending");
                    return Ok(());
                }
                Ok(Some((Word::Settled { .. }, _))) => {}
                _ => {
                    warn!("The other instance is gone before it served; serving on");
                    break;
                }
            }
        }
    }
}
