//! A worker whose parent is gone.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pando::app::Request;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::parent::Parent;
use crate::files;
use crate::handover::{self, Caller, DUMP, Estate, Listener, Word, give, hear, is_relieved};

/// Ends the worker, at once or when another instance serves. `place` is where
/// successors call, and the path of it.
pub(super) fn run(
    parent: &Arc<Parent>,
    place: Option<(OwnedFd, PathBuf)>,
    requests: mpsc::Sender<Request>,
    control: &Handle,
) {
    let Some((listener, path)) = place else {
        error!("The parent is gone; ending");
        // Fails where the end is near already.
        return drop(requests.blocking_send(Request::Stop));
    };
    warn!("The parent is gone; serving on until another instance takes over");
    control.block_on(async {
        if let Err(error) = wait(parent, listener, &path, &requests).await {
            error!("Cannot wait for another instance: {error}; ending");
        }
        drop(requests.send(Request::Stop).await);
    });
}

/// Waits until another instance serves.
async fn wait(
    parent: &Parent,
    listener: OwnedFd,
    path: &Path,
    requests: &mpsc::Sender<Request>,
) -> io::Result<()> {
    // It has the listener, too, and one of both must not take the calls that
    // are for the other.
    if parent.is_backed() && is_relieved(path).await {
        info!("The instance before serves again; ending");
        return Ok(());
    }
    let copy = listener.try_clone()?;
    let mut listener = Listener::new(listener)?;
    loop {
        let channel = match listener.accept().await {
            Ok(Caller::Successor(channel)) => channel,
            // There is one worker without a parent, and it is this one.
            Ok(Caller::Orphan(_)) => continue,
            Err(error) => {
                handover::accept_failed(&error).await;
                continue;
            }
        };
        let warm = dump(requests).await;
        let estate = Estate {
            sockets: parent.kept().copies()?,
            warm,
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

/// What the caches know, if that can be had.
async fn dump(requests: &mpsc::Sender<Request>) -> Option<OwnedFd> {
    let file = File::from(files::memory("cache").ok()?);
    let (reply, written) = oneshot::channel();
    let request = Request::Dump(file.try_clone().ok()?, reply);
    requests.send(request).await.ok()?;
    timeout(DUMP, written).await.ok()?.ok()?.ok()?;
    Some(file.into())
}
