//! Interface and packet rules, as the supervisor wants them.

use tokio::sync::mpsc;

use crate::event::Event;
use crate::setup::Setup;

/// What is to be done with the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Job {
    /// Claim the addresses; repair what is not as it must be.
    Ensure,
    /// Lead what comes in elsewhere; what is under way still gets out.
    Release,
    /// Give all of it back.
    Remove,
}

/// Does one job after another, for as long as there is somebody to give any.
pub(crate) async fn run(
    mut setup: Setup,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    events: mpsc::UnboundedSender<Event>,
) {
    while let Some(mut job) = jobs.recv().await {
        // The last wish counts.
        while let Ok(next) = jobs.try_recv() {
            job = next;
        }
        let done = match job {
            Job::Ensure => {
                setup.ensure().await;
                Event::Claimed
            }
            Job::Release => {
                setup.release().await;
                Event::Released
            }
            Job::Remove => {
                setup.remove().await;
                Event::Removed
            }
        };
        // Fails where the parent ends.
        let _ = events.send(done);
    }
}
