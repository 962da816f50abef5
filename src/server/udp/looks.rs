//! What the kernel is asked now and then, since to hear it with every
//! datagram is dear.

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Udp;
use crate::clock::Tick;
use crate::server::listener::Local;
use crate::server::mmsg;

/// Between two batches of which the kernel says how long they have waited: to
/// be told costs it some 50 ns a packet, and to change its mind it interrupts
/// every CPU.
const SAMPLES: Duration = Duration::from_secs(10);
/// Between two looks at how many datagrams the kernel has dropped.
const LOOKS: Duration = Duration::from_secs(1);

impl Udp {
    /// Now and then asks the kernel how many datagrams it has dropped. It
    /// would also say so with each one that it did not drop (SO_RXQ_OVFL), but
    /// that is a fiftieth of what a reply costs.
    pub(super) fn count_drops(&self, local: &Local, now: Tick) {
        if self
            .looked
            .get()
            .is_some_and(|last| now.since(last) < LOOKS)
        {
            return;
        }
        self.looked.set(Some(now));
        // A system that cannot say it has no such number.
        let Ok(count) = mmsg::drops(self.socket.as_fd()) else {
            return;
        };
        // Both wrap at 32 bits.
        let more = count.wrapping_sub(self.dropped.replace(count));
        if more > 0 {
            self.receive_buffer.add(more.into());
            local.tally().dropped(more);
        }
    }

    /// Now and then lets the kernel say how long the datagrams of one batch
    /// have waited in the socket.
    pub(super) fn sample(&self, local: &Local, now: Tick, day: Option<SystemTime>) {
        let Some(received_at) = day else {
            let last = self.sampled.get();
            if last.is_none_or(|last| now.since(last) >= SAMPLES) {
                self.sampled.set(Some(now));
                // A system that cannot say it has no such numbers.
                let on = mmsg::enable_stamps(self.socket.as_fd(), true).is_ok();
                self.stamped.set(on);
            }
            return;
        };
        let received = self.buffers.received.borrow();
        let mut stamps = received.datagrams().filter_map(|d| d.stamp).peekable();
        if stamps.peek().is_none() {
            // Whoever else has the socket, as while an agent hands over, may
            // have had enough of them.
            if self
                .sampled
                .get()
                .is_some_and(|asked| now.since(asked) >= SAMPLES)
            {
                self.stamped.set(false);
            }
            return;
        }
        let received = received_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        for stamp in stamps {
            local.tally().waited(received.saturating_sub(stamp));
        }
        self.sampled.set(Some(now));
        let off = mmsg::enable_stamps(self.socket.as_fd(), false).is_ok();
        self.stamped.set(!off);
    }
}
