//! Whether the workers still have their turn.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::worker::Command;

/// By which the workers are asked for a sign of life, from any thread and for
/// as long as one likes.
#[derive(Clone)]
pub struct Pulse(Vec<UnboundedSender<Command>>);

/// Told when the last worker lets go of it.
pub(super) struct Beat(Box<dyn Fn() + Send + Sync>);

impl Pulse {
    pub(super) fn of(workers: &[UnboundedSender<Command>]) -> Self {
        Self(workers.to_vec())
    }

    /// Has `alive` called once each worker's thread has had its turn; a worker
    /// that was stopped needs none. It is called on one of these threads, and
    /// so must not wait for anything.
    pub fn ask(&self, alive: impl Fn() + Send + Sync + 'static) {
        let beat = Arc::new(Beat(Box::new(alive)));
        for worker in &self.0 {
            // Fails where it was stopped.
            let _ = worker.send(Command::Beat(beat.clone()));
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn all_must_have_their_turn() {
        let (one, mut first) = unbounded_channel();
        let (other, mut second) = unbounded_channel();
        let (said, heard) = mpsc::channel();
        let pulse = Pulse::of(&[one, other]);
        pulse.ask(move || said.send(()).unwrap());
        assert!(matches!(first.try_recv(), Ok(Command::Beat(_))));
        assert_eq!(heard.try_recv(), Err(mpsc::TryRecvError::Empty));
        assert!(matches!(second.try_recv(), Ok(Command::Beat(_))));
        heard.recv_timeout(Duration::from_secs(5)).unwrap();

        // One that was stopped has nothing to say.
        drop(second);
        let (said, heard) = mpsc::channel();
        pulse.ask(move || said.send(()).unwrap());
        drop(first.try_recv());
        heard.recv_timeout(Duration::from_secs(5)).unwrap();
    }
}
