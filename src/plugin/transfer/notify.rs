//! Tells copies that a zone has changed (RFC 1996, over UDP).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{TARGET, Transfer};
use crate::chain::Plugin;
use crate::plugin::Builder;
use crate::wire::{NameBuf, Rcode, Request, flags, opcode, rtype};

/// How often one change is told to one that does not answer, and how long
/// each answer is waited for.
const TRIES: usize = 3;
const ANSWER: Duration = Duration::from_secs(2);
/// Between two changes that are told: what happens meanwhile is told at once.
const GAP: Duration = Duration::from_millis(100);

/// One that is told, and of what.
struct Told {
    zone: NameBuf,
    serial: watch::Receiver<Option<u32>>,
    to: SocketAddr,
    source: Option<IpAddr>,
    /// Whether the last try failed: then that has been logged.
    deaf: bool,
}

/// Why somebody could not be told.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("i/o timeout")]
    Timeout,
    #[error("rcode was {}", .0.mnemonic().unwrap_or("unknown"))]
    Rcode(Rcode),
}

/// Has everybody told from the time that the configuration is in force to its end.
pub(super) fn start(transfer: &Arc<Transfer>, builder: &mut Builder<'_>) {
    if transfer.rules.iter().all(|rule| rule.told.is_empty()) {
        return;
    }
    let found: Arc<Mutex<Vec<Teller>>> = Arc::default();
    let (transfer, list) = (Arc::clone(transfer), Arc::clone(&found));
    builder.when_assembled(move |block| {
        let plugins = block.chain.iter();
        let sources = plugins.filter(|plugin| plugin.transferer().is_some());
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        list.extend(sources.map(|source| Teller {
            transfer: Arc::clone(&transfer),
            source: Arc::clone(source),
        }));
    });
    let tasks: Arc<Mutex<JoinSet<()>>> = Arc::default();
    let (started, control) = (Arc::clone(&tasks), builder.control.clone());
    builder.on_started(move || {
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut started = started.lock().unwrap_or_else(PoisonError::into_inner);
        for teller in found.drain(..) {
            started.spawn_on(teller.run(), &control);
        }
        Box::pin(std::future::ready(Ok(())))
    });
    builder.on_shutdown(move || {
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
        Box::pin(std::future::ready(Ok(())))
    });
}

/// Has the copies of a plugin's zones told, whichever these are.
struct Teller {
    transfer: Arc<Transfer>,
    source: Arc<dyn Plugin>,
}

impl Teller {
    async fn run(self) {
        let Some(source) = self.source.transferer() else {
            return;
        };
        let mut regrouped = source.regrouped();
        let mut known = HashMap::<NameBuf, watch::Receiver<Option<u32>>>::new();
        // They end with their zones.
        let mut tasks = JoinSet::new();
        loop {
            if let Some(regrouped) = &mut regrouped {
                regrouped.mark_unchanged();
            }
            let zones = source.changing();
            for (zone, serial) in &zones {
                let same = |known: &watch::Receiver<_>| known.same_channel(serial);
                if !known.get(zone).is_some_and(same) {
                    for told in self.told(zone, serial) {
                        tasks.spawn(told.follow());
                    }
                }
            }
            known = zones.into_iter().collect();
            while tasks.try_join_next().is_some() {}
            let Some(regrouped) = &mut regrouped else {
                break;
            };
            if regrouped.changed().await.is_err() {
                break;
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    fn told(&self, zone: &NameBuf, serial: &watch::Receiver<Option<u32>>) -> Vec<Told> {
        let rule = self.transfer.rule(zone.name());
        let told = rule.into_iter().flat_map(|rule| {
            rule.told.iter().map(|to| Told {
                zone: zone.clone(),
                serial: serial.clone(),
                to: *to,
                source: rule.source,
                deaf: false,
            })
        });
        told.collect()
    }
}

impl Told {
    /// Tells of the zone as it is, and of each change.
    async fn follow(mut self) {
        loop {
            if self.serial.borrow_and_update().is_some() {
                self.tell().await;
                sleep(GAP).await;
            }
            if self.serial.changed().await.is_err() {
                return;
            }
        }
    }

    async fn tell(&mut self) {
        let mut outcome = Ok(());
        for _ in 0..TRIES {
            outcome = self.try_once().await;
            if outcome.is_ok() {
                break;
            }
        }
        let Self { zone, to, .. } = self;
        match &outcome {
            Ok(()) => tracing::debug!(target: TARGET, "Sent notify for zone \"{zone}\" to {to}"),
            Err(error) if !self.deaf => tracing::warn!(
                target: TARGET,
                "Failed sending notifies: notify for zone \"{zone}\" was not accepted by \"{to}\": {error}"
            ),
            Err(_) => {}
        }
        self.deaf = outcome.is_err();
    }

    async fn try_once(&self) -> Result<(), NotifyError> {
        let any = || match self.to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((self.source.unwrap_or_else(any), 0)).await?;
        socket.connect(self.to).await?;
        let (id, message) = self.message();
        socket.send(&message).await?;
        timeout(ANSWER, accepted(&socket, id))
            .await
            .unwrap_or(Err(NotifyError::Timeout))
    }

    fn message(&self) -> (u16, Vec<u8>) {
        let id = rand::random();
        let mut request = Request::new();
        request.ask(id, self.zone.name(), rtype::SOA);
        request.set_flag(flags::RD, false);
        request.set_flag(flags::AA, true);
        let mut message = Vec::new();
        request.write(id, &mut message);
        if let Some(octet) = message.get_mut(2) {
            *octet |= (opcode::NOTIFY << 3) as u8;
        }
        (id, message)
    }
}

/// Waits for the answer under this id.
async fn accepted(socket: &UdpSocket, id: u16) -> Result<(), NotifyError> {
    let mut octets = [0; 512];
    loop {
        let len = socket.recv(&mut octets).await?;
        let [a, b, high, low, ..] = octets;
        let bits = u16::from_be_bytes([high, low]);
        if len < crate::wire::HEADER_LEN
            || u16::from_be_bytes([a, b]) != id
            || bits & flags::QR == 0
        {
            continue;
        }
        return match Rcode(bits & flags::RCODE) {
            Rcode::NOERROR => Ok(()),
            rcode => Err(NotifyError::Rcode(rcode)),
        };
    }
}
